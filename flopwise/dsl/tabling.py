"""Reading the `table` section: what a table says, its rows, and their reference figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flopwise.dsl.checker import Checker
from flopwise.dsl.figures import Figure, read_figure
from flopwise.dsl.matrix import read_matrix
from flopwise.dsl.reasons import check_reasons, read_reasons
from flopwise.dsl.rows import (
    Row,
    Table,
    Tolerance,
    no_row,
    read_changes,
    refuse_dots,
    too_many,
)
from flopwise.dsl.shipped import MAX_ROWS
from flopwise.dsl.tables import EVALUATE, ROW, TABLE
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Rule
from flopwise.errors import Place, nearest

__all__ = ["read_table"]

COLUMN = Rule(name="columns", type="text")


def read_table(tree: Section, checker: Checker) -> Table | None:
    """Returns the table of a merged spec; None where it has none, or where it has faults."""
    node = tree.entries.get("table")
    tolerance = _tolerance(checker, tree.entries.get("evaluate"))
    if not isinstance(node, Section):
        return None
    before = len(checker.faults)
    facts = checker.literals(node, TABLE, "'table'", tree.keys["table"])
    columns = _columns(node, checker)
    reader = _Rows(facts, columns, checker)
    if rows := _map(node, "rows", TABLE, checker):
        reader.read(rows, node.keys["rows"])
        check_reasons(reader.rows, checker)
    if matrix := _map(node, "matrix", TABLE, checker):
        read_matrix(matrix, node.keys["matrix"], reader.rows, reader.convention, checker)
    if len(checker.faults) > before:
        return None
    if not reader.rows:
        help_ = "add  rows: {wide: {set: {w: 96}}}"
        checker.fault("E106", "'table' has no rows", tree.keys["table"], help_)
        return None
    used = dict.fromkeys(name for row in reader.rows.values() for name in row.ref)
    title, source = (str(facts.get(key, "")) for key in ("title", "source"))
    shown = tuple(columns or used)
    return Table(title=title, source=source, columns=shown, rows=reader.rows, tolerance=tolerance)


def _tolerance(checker: Checker, node: Node | None) -> dict[str, Tolerance]:
    """Returns how far each column may be off, from the `evaluate` section."""
    if not isinstance(node, Section):
        return {}
    checker.keys(node, EVALUATE, "'evaluate'", node.place)
    found: dict[str, Tolerance] = {}
    section = _map(node, "tolerance", EVALUATE, checker)
    for column, written in section.entries.items() if section else ():
        rule = Rule(name=column, type="percent", low=0)
        value = checker.literal(written, rule, f"the tolerance of '{column}'")
        if isinstance(value, float):
            share = isinstance(written, Scalar) and isinstance(written.value, str)
            found[column] = Tolerance(share=value) if share else Tolerance(within=value)
    return found


def _map(node: Section, key: str, rules: Mapping[str, Rule], checker: Checker) -> Section | None:
    """Returns the section below a key, if it is there and is one."""
    below = node.entries.get(key)
    return checker.section(below, rules[key]) if below is not None else None


def _columns(node: Section, checker: Checker) -> list[str]:
    columns = node.entries.get("columns")
    if columns is None or not checker.shape(columns, TABLE["columns"]):
        return []
    found: list[str] = []
    for item in columns.items if isinstance(columns, Items) else ():
        name = checker.literal(item, COLUMN, "a column")
        if name in found:
            fact = f"column '{name}' is listed twice"
            checker.fault("E412", fact, item.place, "keep one of them")
        elif isinstance(name, str):
            found.append(name)
    return found


class _Rows:
    """Reads the rows that are written out, one after another."""

    def __init__(
        self, facts: Mapping[str, object], columns: Sequence[str], checker: Checker
    ) -> None:
        self.columns, self.checker = columns, checker
        self.chained = facts.get("inherit", "previous") == "previous"
        self.convention = str(facts.get("convention", "macs"))
        self.rows: dict[str, Row] = {}

    def read(self, rows: Section, place: Place) -> None:
        if len(rows.entries) > MAX_ROWS:
            too_many(self.checker, len(rows.entries), place)
            return
        for name, node in rows.entries.items():
            refuse_dots("row", name, rows.keys[name], self.checker)
            rule = Rule(name=name, type="map", example=f"{name}: {{set: {{w: 96}}}}")
            if section := self.checker.section(node, rule):
                self.rows[name] = self.row(name, section, rows)

    def row(self, name: str, node: Section, rows: Section) -> Row:
        what, place = f"row '{name}'", rows.keys[name]
        facts = self.checker.literals(node, ROW, what, place)
        if "from" in facts and "spec" in facts:
            fact = f"{what} has both 'from' and 'spec'"
            self.checker.fault("E415", fact, node.keys["spec"], "keep the one it starts from")
        start = node.entries.get("spec")
        return Row(
            name=name,
            place=place,
            parent=None if start else self.parent(name, node.entries.get("from"), rows),
            start=start if isinstance(start, Scalar) else None,
            against=self.against(facts, node),
            changes=read_changes(node, self.checker),
            ref=dict(self.ref(node)),
            convention=str(facts.get("convention", self.convention)),
            params_convention=str(facts.get("params_convention", "learned")),
            reasons=read_reasons(node, self.checker),
            expect=_map(node, "expect", ROW, self.checker),
            note=str(facts.get("note", "")),
            skip=facts.get("skip") is True,
        )

    def against(self, facts: Mapping[str, object], node: Section) -> str | None:
        """Returns the row that the training of a row is compared with, if one is named."""
        wanted = facts.get("against")
        earlier = [row.name for row in self.rows.values() if row.has_network]
        if not isinstance(wanted, str) or wanted in earlier:
            return wanted if isinstance(wanted, str) else None
        where = "the networks above this row"
        self.checker.faults.append(no_row(wanted, earlier, node.entries["against"].place, where))
        return None

    def parent(self, name: str, node: object, rows: Section) -> str | None:
        """Returns the row that a row starts from; None for the spec itself."""
        wanted = node.value if isinstance(node, Scalar) else None
        if not isinstance(node, Scalar) or not isinstance(wanted, str):
            above = next((row.name for row in [*self.rows.values()][::-1] if row.has_network), None)
            return above if self.chained else None
        if wanted in self.rows and self.rows[wanted].has_network:
            return wanted
        if wanted in self.rows:
            fact = f"row '{wanted}' has only printed figures; no row can start from it"
            self.checker.fault("E411", fact, node.place, "name a row that is a network, or base")
        elif wanted in rows.entries:
            self.later(name, wanted, node.place, rows)
        elif wanted != "base":
            self.checker.faults.append(no_row(wanted, rows.entries, node.place, "this table"))
        return None

    def later(self, name: str, wanted: str, place: Place, rows: Section) -> None:
        """Refuses a row that starts from itself or from a row below it."""
        if wanted == name:
            fact, help_ = f"row '{name}' starts from itself", "name an earlier row, or base"
            self.checker.fault("E411", fact, place, help_)
            return
        fact = f"row '{name}' starts from '{wanted}', which stands below it"
        help_ = f"move row '{wanted}' above '{name}', or name an earlier row"
        also = ((rows.keys[wanted], "it stands here"),)
        self.checker.fault("E411", fact, place, help_, also=also)

    def ref(self, node: Section) -> Iterator[tuple[str, Figure | None]]:
        section = _map(node, "ref", ROW, self.checker)
        for name, value in section.entries.items() if section else ():
            if section and self.columns and name not in self.columns:
                near = nearest(name, self.columns)
                help_ = f"did you mean '{near}'?" if near else f"add {name} to 'columns'"
                fact, note = f"the table has no column '{name}'", ", ".join(self.columns)
                place = section.keys[name]
                self.checker.fault("E416", fact, place, help_, note=f"columns: {note}")
                continue
            figure = read_figure(value) if isinstance(value, Scalar) else None
            if figure is None and not (isinstance(value, Scalar) and value.value is None):
                fact = f"'{name}' of 'ref' must be a number, a quantity such as 4.5G, or null"
                self.checker.fault("E417", fact, value.place, "write null where there is none")
            yield name, figure
