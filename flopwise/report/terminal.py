"""Tables in the terminal: boxes and width of the terminal, plain and unfolded in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from flopwise.cost import Cost
from flopwise.report.stages import StageRow

__all__ = ["quantity", "show_stages", "show_table"]

_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K"))


def quantity(count: int) -> str:
    """Writes a count with four digits and a unit.

    >>> quantity(4_455_531_264), quantity(23_712), quantity(640)
    ('4.456G', '23.71K', '640')
    """
    for scale, unit in _UNITS:
        if count >= scale:
            value = count / scale
            return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}{unit}"
    return str(count)


def show_stages(rows: Sequence[StageRow], cost: Cost) -> None:
    """Prints the table of stages, its last line the costs of the whole network."""
    heads = "stage output block width depth kernel stride MACs params activations share".split()
    totals = [quantity(n) for n in (cost.macs, cost.params, cost.activations)]
    foot = ["total", *[""] * 6, *totals, "100.0%"]
    show_table(heads, [_cells(row) for row in rows], foot, left=("stage", "block"))


def show_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    foot: Sequence[str] = (),
    *,
    left: Sequence[str] = (),
) -> None:
    """Prints a table; numbers stand on the right, the columns named in `left` on the left."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right", no_wrap=not terminal)
    for row in rows:
        table.add_row(*row)
    if foot:
        table.add_section()
        table.add_row(*foot, style="bold")
    # a pipe has no width: nothing is folded or cut
    Console(highlight=False, width=None if terminal else 10_000).print(table)


def _cells(row: StageRow) -> list[str]:
    return [
        row.name,
        "x".join(map(str, row.output)),
        row.block,
        str(row.width),
        str(row.depth),
        _numbers(row.kernel),
        _numbers(row.stride),
        quantity(row.macs),
        quantity(row.params),
        quantity(row.activations),
        f"{row.share:.1%}",
    ]


def _numbers(value: int | list[int] | None) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
