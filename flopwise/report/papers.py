"""The tables of papers: what every row costs beside the printed figures, and how they compare.

A figure that is not what was counted, at the precision it is printed with, is *explained* where
another row shows the reason, *unresolved* where the file says what was tried, and *open* where it
says nothing. Explanations are checked here: a row must really print, or count, the other figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from flopwise.cost import PARAM_CONVENTIONS, Cost, cost
from flopwise.dsl import Spec
from flopwise.dsl.figures import Figure
from flopwise.dsl.rows import MEASURED, Reason, Row
from flopwise.errors import Fault, SpecError
from flopwise.report.tables import Cell, Table

__all__ = ["Judged", "Score", "judge_rows", "paper_facts", "paper_table", "reasons"]

Verdict: TypeAlias = Literal["reproduced", "explained", "unresolved", "open"]
Reader: TypeAlias = Callable[[str], Spec]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How many printed figures were compared, and what came out.

    Attributes:
        reproduced: Equal at the printed precision, under the conventions of their rows.
        explained: Different, for a reason that another row shows.
        unresolved: Different; what was tried is written down.
        open: Different, and nothing is written down.
    """

    reproduced: int = 0
    explained: int = 0
    unresolved: int = 0
    open: int = 0

    @property
    def compared(self) -> int:
        """All of them."""
        return self.reproduced + self.explained + self.unresolved + self.open

    def __add__(self, other: Score) -> Score:
        return Score(
            reproduced=self.reproduced + other.reproduced,
            explained=self.explained + other.explained,
            unresolved=self.unresolved + other.unresolved,
            open=self.open + other.open,
        )

    def __str__(self) -> str:
        return (
            f"{self.compared} figures compared = {self.reproduced} reproduced + "
            f"{self.explained} explained + {self.unresolved} unresolved + {self.open} open"
        )

    def as_dict(self) -> dict[str, int]:
        """Returns plain data."""
        names = ("compared", "reproduced", "explained", "unresolved", "open")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A row of a table beside its printed figures.

    Attributes:
        row: What the table says.
        hash: Identity of its network; empty where it has only printed figures.
        counts: Its costs in the conventions of the row, by metric; empty likewise.
        verdicts: What came out, by compared column.
    """

    row: Row
    hash: str
    counts: dict[str, int]
    verdicts: dict[str, Verdict]

    @property
    def score(self) -> Score:
        """How its figures compare."""
        found = list(self.verdicts.values())
        return Score(
            reproduced=found.count("reproduced"),
            explained=found.count("explained"),
            unresolved=found.count("unresolved"),
            open=found.count("open"),
        )


def judge_rows(spec: Spec, read: Reader) -> list[Judged]:
    """Counts the rows of a spec's table and compares them with its figures.

    Args:
        spec: The spec that holds the table.
        read: Reads the spec of another table that an explanation names.

    Raises:
        SpecError: The spec has no table, or an explanation does not hold.
    """
    if spec.table is None:
        fact = f"'{spec.name}' has no table"
        help_ = "write  table: {rows: {wide: {set: {w: 96}}}}"
        raise SpecError([Fault(code="E410", message=fact, helps=(help_,))])
    judge = _Judge(spec, read)
    rows = [judge.row(row) for row in spec.table.rows.values() if not row.skip or row.ref]
    if judge.faults:
        raise SpecError(judge.faults)
    return rows


class _Judge:
    """Compares the rows of one table."""

    def __init__(self, spec: Spec, read: Reader):
        self.spec, self.read = spec, read
        self.faults: list[Fault] = []

    def row(self, row: Row) -> Judged:
        if row.skip:
            return Judged(row=row, hash="", counts={}, verdicts={})
        counts = _counts(self.spec, row)
        verdicts = {
            column: self.verdict(row, column, figure, _counted(counts, column))
            for column, figure in row.ref.items()
            if figure and column in MEASURED
        }
        network = self.spec.row(row.name).network()
        return Judged(row=row, hash=network.hash, counts=counts, verdicts=verdicts)

    def verdict(self, row: Row, column: str, figure: Figure, count: float) -> Verdict:
        reason = row.reasons.get(column)
        if figure.agrees(count):
            if reason:
                fact = f"row '{row.name}' gives a reason for '{column}', which is what is counted"
                self.refuse(fact, reason, "delete the reason")
            return "reproduced"
        if reason is None:
            return "open"
        if reason.explains:
            self.check(row, column, count, reason)
        return "explained" if reason.explains else "unresolved"

    def check(self, row: Row, column: str, count: float, reason: Reason) -> None:
        """Refuses an explanation that the row it names does not bear out."""
        where = reason.printed or reason.counted
        table, _, name = where.rpartition("#")
        spec = self.read(table) if table else self.spec
        other = spec.table.rows.get(name) if spec.table else None
        figure = other.ref.get(column) if other else None
        if other is None or (reason.printed and figure is None):
            fact = f"there is no figure '{column}' of a row '{where}' to explain '{row.name}' with"
            self.refuse(fact, reason, "name a row that prints it")
        elif reason.printed and figure and not figure.agrees(count):
            fact = f"'{where}' prints {figure.text}, which is not what '{row.name}' counts"
            self.refuse(fact, reason, f"what is counted is {count:g}")
        elif reason.counted and (written := row.ref[column]):
            there = _counted(_counts(spec, other), column)
            if not written.agrees(there):
                fact = f"'{where}' counts {there:g}, which is not what '{row.name}' prints"
                self.refuse(fact, reason, f"what is printed is {written.text}")

    def refuse(self, fact: str, reason: Reason, help_: str) -> None:
        self.faults.append(Fault(code="E419", message=fact, place=reason.place, helps=(help_,)))


def _counts(spec: Spec, row: Row) -> dict[str, int]:
    graph = spec.row(row.name).network().graph
    costs: Cost = cost(graph, convention=row.convention)
    params = PARAM_CONVENTIONS[row.params_convention](graph)
    return {"macs": costs.macs, "params": params, "activations": costs.activations}


def _counted(counts: dict[str, int], column: str) -> float:
    metric, unit = MEASURED[column]
    return counts[metric] / unit


def paper_table(spec: Spec, rows: Sequence[Judged]) -> Table:
    """Returns a line per row: its counts, each beside the figure that is printed for it."""
    columns = spec.table.columns if spec.table else ()
    params = any(each.row.params_convention != "learned" for each in rows)
    return Table(
        heads=(
            *("row", "MACs as"),
            *(("params as",) if params else ()),
            *(head for metric in _METRICS for head in _heads(metric, columns)),
            *(f"{column} in paper" for column in columns if column not in MEASURED),
            "verdict",
        ),
        rows=tuple(tuple(_cells(each, columns, params)) for each in rows),
        left=3 if params else 2,
    )


_METRICS = {"macs": "MACs", "params": "params", "activations": "activations"}


def _printed(metric: str, columns: Sequence[str]) -> list[str]:
    return [each for each in columns if each in MEASURED and MEASURED[each][0] == metric]


def _heads(metric: str, columns: Sequence[str]) -> Iterator[str]:
    yield _METRICS[metric]
    yield from (f"{each} in paper" for each in _printed(metric, columns))


def _cells(each: Judged, columns: Sequence[str], params: bool) -> Iterator[Cell]:
    yield each.row.name
    yield each.row.convention if each.counts else ""
    if params:
        yield each.row.params_convention if each.counts else ""
    for metric in _METRICS:
        yield each.counts.get(metric, "")
        yield from (_text(each.row.ref.get(column)) for column in _printed(metric, columns))
    yield from (_text(each.row.ref.get(column)) for column in columns if column not in MEASURED)
    yield _verdict(each)


def _text(figure: Figure | None) -> str:
    return figure.text if figure else ""


def _verdict(each: Judged) -> str:
    if not each.counts:
        return "printed only"
    others = [f"{c} {v}" for c, v in each.verdicts.items() if v != "reproduced"]
    return ", ".join(others) or ("reproduced" if each.verdicts else "")


def reasons(rows: Sequence[Judged]) -> Iterator[str]:
    """Yields a line for every figure that is not what was counted, and for every note."""
    for each in rows:
        for column, verdict in each.verdicts.items():
            reason = each.row.reasons.get(column)
            if verdict != "reproduced":
                why = f"{reason.why}{_shown(reason)}" if reason else "nobody has looked at it"
                yield f"{each.row.name}, {column} {verdict}: {why}"
        if each.row.note:
            yield f"{each.row.name}: {each.row.note}"


def _shown(reason: Reason) -> str:
    if not reason.explains:
        return ""
    word = "printed" if reason.printed else "counted"
    return f" ({word} in {reason.printed or reason.counted})"


def paper_facts(spec: Spec, rows: Sequence[Judged]) -> dict[str, Any]:
    """Returns a table as plain data, with exact integers and its own score."""
    table = spec.table
    score = sum((each.score for each in rows), Score())
    return {
        "table": spec.name,
        "title": table.title if table else "",
        "source": table.source if table else "",
        **score.as_dict(),
        "rows": [_facts(each) for each in rows],
    }


def _facts(each: Judged) -> dict[str, Any]:
    row = each.row
    return {
        "name": row.name,
        "hash": each.hash,
        "convention": row.convention,
        "params_convention": row.params_convention,
        **{metric: each.counts.get(metric) for metric in _METRICS},
        "ref": {c: {"text": f.text, "value": f.value} if f else None for c, f in row.ref.items()},
        "verdicts": each.verdicts,
        "reasons": {
            column: {"why": reason.why, "printed": reason.printed, "counted": reason.counted}
            for column, reason in row.reasons.items()
        },
        "note": row.note,
    }
