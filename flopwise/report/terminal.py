"""The table of stages in the terminal, and unfolded in a pipe."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from flopwise.cost import Cost, StageCost

__all__ = ["describe", "quantity", "show_cost"]

_NAMES = ("stage", "block")
_NUMBERS = ("output", "width", "depth", "kernel", "stride", "MACs", "params", "activations")
_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K"))


def show_cost(cost: Cost) -> None:
    """Prints the table of stages and the totals, with the convention they are counted in."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for head in (*_NAMES, *_NUMBERS):
        table.add_column(head, justify="left" if head in _NAMES else "right")
    for stage in cost.stages:
        table.add_row(*_cells(stage))
    table.add_section()
    totals = (quantity(n) for n in (cost.macs, cost.params, cost.activations))
    table.add_row("total", *[""] * 6, *totals)
    # a pipe has no width: nothing is folded or cut
    Console(highlight=False, width=None if terminal else 1000).print(table)
    print(f"\n{describe(cost)}")


def describe(cost: Cost) -> str:
    """Says the totals exactly, in one line."""
    return (
        f"{cost.macs:,} MACs (convention '{cost.convention}'), {cost.params:,} parameters, "
        f"{cost.activations:,} activations"
    )


def quantity(count: int) -> str:
    """Writes a count with four digits and a unit, exactly below ten thousand.

    >>> quantity(4_455_531_264), quantity(23_712), quantity(9_536)
    ('4.456G', '23.71K', '9536')
    """
    if count < 10_000:
        return str(count)
    for scale, unit in _UNITS:
        if count >= scale:
            value = count / scale
            return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}{unit}"
    return str(count)


def _cells(stage: StageCost) -> tuple[str, ...]:
    return (
        stage.name,
        stage.block,
        "x".join(map(str, stage.output)),
        str(stage.width),
        str(stage.depth),
        str(stage.kernel or ""),
        str(stage.stride),
        *(quantity(n) for n in (stage.macs, stage.params, stage.activations)),
    )
