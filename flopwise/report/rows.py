"""A table of networks: what each row costs, beside the figures its source prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flopwise.cost import PARAM_CONVENTIONS, Cost, cost
from flopwise.dsl import Spec
from flopwise.dsl.figures import Figure
from flopwise.dsl.rows import MEASURED, Row, Tolerance
from flopwise.errors import Fault, SpecError
from flopwise.report.tables import Cell, Table

__all__ = ["Compared", "compare_rows", "row_facts", "row_table"]

COUNTED = ("macs", "params", "activations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A row of a table, counted.

    Attributes:
        row: What the table says.
        hash: Identity of its network.
        costs: What it costs, in the row's convention.
        differs: The reference columns whose figure is not what was counted, at the precision it
            is written with.
    """

    row: Row
    hash: str
    costs: Cost
    differs: tuple[str, ...]


def compare_rows(spec: Spec) -> list[Compared]:
    """Counts the rows of a spec's table, but for those it skips.

    Raises:
        SpecError: The spec has no table.
    """
    if spec.table is None:
        fact = f"'{spec.name}' has no table"
        help_ = "write  table: {rows: {wide: {set: {w: 96}}}}"
        raise SpecError([Fault(code="E410", message=fact, helps=(help_,))])
    return [_compared(spec, row) for row in spec.table.rows.values() if not row.skip]


def _compared(spec: Spec, row: Row) -> Compared:
    network = spec.row(row.name).network()
    costs = cost(network.graph, convention=row.convention)
    costs = replace(costs, params=PARAM_CONVENTIONS[row.params_convention](network.graph))
    slack = spec.table.tolerance if spec.table else {}
    differs = tuple(
        column
        for column, figure in row.ref.items()
        if figure and _differs(costs, column, figure, slack.get(column, Tolerance()))
    )
    return Compared(row=row, hash=network.hash, costs=costs, differs=differs)


def _differs(costs: Cost, column: str, figure: Figure, slack: Tolerance) -> bool:
    if column not in MEASURED:
        return False
    metric, unit = MEASURED[column]
    counted = getattr(costs, metric) / unit
    return not figure.agrees(counted, share=slack.share, within=slack.within)


def row_table(spec: Spec) -> Table:
    """Returns a line per row: what was counted, then the reference columns as they are written.

    The last column names the figures that are not what was counted.
    """
    rows = compare_rows(spec)
    columns = spec.table.columns if spec.table else ()
    mixed = len({each.row.convention for each in rows}) > 1
    return Table(
        heads=(
            "row",
            *(("counted as",) if mixed else ()),
            *("MACs", "params", "activations"),
            *(f"ref {column}" for column in columns),
            *(("differs",) if columns else ()),
        ),
        rows=tuple(tuple(_cells(each, columns, mixed)) for each in rows),
        left=2 if mixed else 1,
    )


def _cells(each: Compared, columns: tuple[str, ...], mixed: bool) -> Iterator[Cell]:
    yield each.row.name
    if mixed:
        yield each.row.convention
    yield from (getattr(each.costs, metric) for metric in COUNTED)
    for column in columns:
        figure = each.row.ref.get(column)
        yield figure.text if figure else ""
    if columns:
        yield ", ".join(each.differs)


def row_facts(spec: Spec) -> dict[str, Any]:
    """Returns what `flopwise show --rows --json` prints: plain values, exact integers."""
    rows = compare_rows(spec)
    table = spec.table
    return {
        "name": spec.name,
        "title": table.title if table else "",
        "source": table.source if table else "",
        "columns": list(table.columns if table else ()),
        "rows": [_facts(each) for each in rows],
    }


def _facts(each: Compared) -> Mapping[str, Any]:
    row = each.row
    return {
        "name": row.name,
        "starts_from": str(row.start.value) if row.start else row.parent,
        "hash": each.hash,
        "convention": row.convention,
        **{metric: getattr(each.costs, metric) for metric in COUNTED},
        "ref": {c: {"text": f.text, "value": f.value} if f else None for c, f in row.ref.items()},
        "differs": list(each.differs),
        "note": row.note,
    }
