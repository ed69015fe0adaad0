"""Costs in words. `check` needs no more than this, and no rich."""

from __future__ import annotations

from flopwise.blocks import Graph
from flopwise.cost import Cost

__all__ = ["describe", "quantity"]

_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K"))


def describe(counts: Cost | Graph) -> str:
    """Says the totals exactly, in one line; those of a graph need no table of costs."""
    convention = counts.convention if isinstance(counts, Cost) else "macs"
    return (
        f"{counts.macs:,} MACs (convention '{convention}'), {counts.params:,} parameters, "
        f"{counts.activations:,} activations"
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
