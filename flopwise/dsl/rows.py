"""Tables: named networks that are each a few changes away from another.

A row starts from the row above it, from the spec itself, from an earlier row or from another file,
and lays values on paths. Its tree is a whole spec, so everything that holds for a spec holds for a
row. Rows start only from earlier rows, so that no circle can arise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from flopwise.dsl.checker import Checker
from flopwise.dsl.figures import Figure
from flopwise.dsl.files import File
from flopwise.dsl.merge import NOT_INHERITED, Change, apply_changes, inherited
from flopwise.dsl.shipped import MAX_ROWS
from flopwise.dsl.tables import ROW
from flopwise.dsl.tree import Scalar, Section
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = [
    "MEASURED",
    "Opened",
    "Opener",
    "Reason",
    "Row",
    "Table",
    "Tolerance",
    "Trees",
    "in_row",
    "no_row",
    "read_changes",
    "refuse_dots",
    "too_many",
]

Opened = tuple[tuple[File, ...], Section]
Opener = Callable[[Scalar], Opened]

MEASURED: Mapping[str, tuple[str, int]] = {
    "macs": ("macs", 1),
    "gmacs": ("macs", 10**9),
    "flops": ("macs", 1),  # what papers call FLOPs are multiply-adds
    "gflops": ("macs", 10**9),
    "params": ("params", 1),
    "activations": ("activations", 1),
}
"""Reference columns that can be counted: the metric, and the unit the column is written in."""

OWN = (*(key for key in NOT_INHERITED if key not in ("spec", "search", "export")), "use")
"""What a row may not change, and does not take over from its own spec."""
LEFT = ("name", "doc", "extends", "expect", "inferred", "table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a figure of a reference is not what is counted.

    Attributes:
        why: The reason, or what was tried to find one.
        place: Where it stands.
        printed: A row whose printed figure is what is counted here; empty if none.
        counted: A row whose count is what is printed here; empty if none.
    """

    why: str
    place: Place
    printed: str = ""
    counted: str = ""

    @property
    def explains(self) -> bool:
        """Whether it names the row that shows it; otherwise the figure is unresolved."""
        return bool(self.printed or self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
        name: Its name, and the name of its network.
        place: Where the name stands.
        parent: The row it starts from; None for the spec that holds the table.
        start: The value of its `spec`, where it starts from another file.
        against: The row that its training is compared with; None for its parent, or the first.
        changes: What it lays on that, in order.
        ref: Published figures by column; None where the source has none.
        convention: How the MACs among them are counted.
        params_convention: What is counted as parameters.
        reasons: Why a figure differs from what is counted, by column.
        expect: Costs its network must have.
        note: Its free text.
        skip: Whether nothing of it is counted and compared.
    """

    name: str
    place: Place
    parent: str | None = None
    start: Scalar | None = None
    against: str | None = None
    changes: tuple[Change, ...] = ()
    ref: Mapping[str, Figure | None] = field(default_factory=dict)
    convention: str = "macs"
    params_convention: str = "learned"
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    expect: Section | None = None
    note: str = ""
    skip: bool = False

    @property
    def has_network(self) -> bool:
        """Whether it is a network, and not only printed figures of one."""
        return not (self.skip and self.ref and not self.changes and self.start is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a figure may be off: a share of it, or a number in the unit of its column."""

    share: float = 0.0
    within: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of networks.

    Attributes:
        title: What it shows.
        source: Where its reference figures come from.
        columns: The reference columns.
        rows: Its rows by name, in order; those of the matrix last.
        tolerance: How far the figures of a column may be off, beyond their written precision.
    """

    title: str
    source: str
    columns: tuple[str, ...]
    rows: Mapping[str, Row]
    tolerance: Mapping[str, Tolerance]


class Trees:
    """The merged trees of a table's rows, each made once."""

    def __init__(self, table: Table, base: Section, files: tuple[File, ...], opener: Opener):
        """Takes a table, the spec that holds it, and what reads the file of a `spec`."""
        self.table, self.opener = table, opener
        self.base = inherited(base, LEFT)
        self.files = files
        self.made: dict[str, Opened] = {}

    def chain(self, name: str) -> list[Row]:
        """Returns a row and the rows it comes from, the eldest first."""
        row = self.table.rows[name]
        rows = [row]
        while row.start is None and row.parent is not None:
            row = self.table.rows[row.parent]
            rows.append(row)
        return rows[::-1]

    def row(self, name: str) -> Opened:
        """Returns the files a row was read from and its tree, a whole spec.

        Raises:
            SpecError: A change cannot be laid, or the file of a `spec` cannot be read.
        """
        files, tree = self.start(self.chain(name)[0])
        for row in self.chain(name):
            if row.name not in self.made:
                try:
                    tree = self.changed(tree, row)
                except SpecError as error:
                    raise in_row(error, row) from None
                self.made[row.name] = files, tree
            files, tree = self.made[row.name]
        return files, _named(tree, self.table.rows[name])

    def start(self, eldest: Row) -> Opened:
        """Returns what a chain of rows starts from."""
        if eldest.name in self.made or eldest.start is None:
            return self.files, self.base
        try:
            files, tree = self.opener(eldest.start)
        except SpecError as error:
            raise in_row(error, eldest) from None
        return files, inherited(tree)

    def changed(self, tree: Section, row: Row) -> Section:
        """Returns a tree with the changes of a row laid on it."""
        return apply_changes(tree, row.changes, what="the spec this row changes", closed=OWN)


def _named(tree: Section, row: Row) -> Section:
    """Returns the tree of a row with its own name, text and expected costs."""
    own = {
        "spec": tree.entries.get("spec", Scalar(1, row.place, row.place)),
        "name": Scalar(row.name, row.place, row.place),
        "doc": Scalar(row.note, row.place, row.place) if row.note else None,
        "expect": row.expect,
    }
    entries = {key: node for key, node in own.items() if node is not None}
    keys = {key: tree.keys.get(key, row.place) for key in entries}
    return Section({**tree.entries, **entries}, {**tree.keys, **keys}, tree.place)


def in_row(error: SpecError, row: Row) -> SpecError:
    """Names the row that faults were found in, and what it starts from."""
    parent = f"row '{row.parent}'" if row.parent else "the spec that holds the table"
    parent = f"'{row.start.value}'" if row.start else parent
    note = f"row '{row.name}' starts from {parent}"
    return SpecError(_in_row(fault, row, note) for fault in error.faults)


def _in_row(fault: Fault, row: Row, note: str) -> Fault:
    if note in fault.notes:
        return fault
    also = fault.also
    if fault.place is None:
        fault = replace(fault, place=row.place)
    elif (fault.place.source, fault.place.line) != (row.place.source, row.place.line):
        also = (*also, (row.place, "in this row"))
    return replace(fault, also=also, notes=(*fault.notes, note))


def no_row(name: str, known: Iterable[str], place: Place | None, where: str) -> Fault:
    """Says that a table has no row of a name."""
    names = list(known)
    near = nearest(name, names)
    helps = (f"did you mean '{near}'?",) if near else ()
    if name.startswith(("std/", "./")):
        helps = (f"a row that starts from a file says  spec: {name}",)
    shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    return Fault(
        code="E410",
        message=f"there is no row called '{name}' in {where}",
        place=place,
        helps=helps,
        notes=(f"rows: {shown}" if names else "it has no table",),
    )


def read_changes(node: Section, checker: Checker) -> tuple[Change, ...]:
    """Returns what the `set` of a row, or of a label, changes."""
    below = node.entries.get("set")
    section = checker.section(below, ROW["set"]) if below is not None else None
    if section is None:
        return ()
    return tuple(Change(path, value, section.keys[path]) for path, value in section.entries.items())


def refuse_dots(kind: str, name: str, place: Place, checker: Checker) -> None:
    """Refuses a name that would read like a path."""
    if "." in name:
        fact, label = f"a {kind} cannot be called '{name}'", "a dot is for places"
        checker.fault("E108", fact, place, f"write  {name.replace('.', '_')}", label=label)


def too_many(checker: Checker, count: int, place: Place) -> None:
    """Refuses a table that nobody could read."""
    fact = f"this table has {count} rows; at most {MAX_ROWS} are allowed"
    checker.fault("E414", fact, place, "split it into several files")
