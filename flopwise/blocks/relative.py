"""Relative positions: what attention adds for the way from one position to another."""

from __future__ import annotations

from typing import Literal

from flopwise.blocks.layers import offset_bias, parameter, relative_scores
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Heads, Tensor
from flopwise.errors import BlockError

__all__ = ["Relative", "relative_position"]

Relative = Literal["none", "bias", "keys"]
"""What of the way between two positions attention adds to the product of query and key."""


def relative_position(q: Heads, how: str, *, over: Tensor | None = None) -> Tensor | None:
    """Returns what is added to q k^T / sqrt(d) for every head and pair of positions, if anything.

    The names are those of timm's `RelPosAttention`.
    """
    if how == "keys":
        return _relative_keys(q, *([] if over is None else [over]), name="rel_pos")
    return _relative_bias(q, name="rel_pos") if how == "bias" else None


@piece
def _relative_bias(q: Heads) -> Tensor:
    """A learned number for each head and every offset between two positions of the grid.

    Source: Liu et al. 2021, arXiv:2103.14030, section 3.2; timm `RelPosBias`.
    """
    heads, grid, extra = q.shape[0], q.type.grid, q.type.extra
    if grid is None:
        raise BlockError(
            "E646",
            f"a relative bias needs patches on a grid, and these {q.shape[1]} tokens lie on none",
            setting="relative",
            helps=("write relative: keys, which only needs a sequence, or relative: none",),
        )
    rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + (3 if extra else 0)
    name = "relative_position_bias_table"
    table = parameter(q, (rows, heads), name=name, init="trunc_normal")
    return offset_bias(table, name="offsets", grid=grid, heads=heads, extra=extra)


@piece
def _relative_keys(q: Heads, *over: Tensor) -> Tensor:
    """A learned key for every distance in the sequence, the same for all heads.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, appendix D.4, which takes its attention from
    Shaw et al. 2018, arXiv:1803.02155; heads share the keys as there, section 3.3.
    """
    _, length, depth = q.shape
    shape = (2 * length - 1, depth)
    keys = parameter(q, shape, name="relative_position_keys", init="trunc_normal")
    return relative_scores(q, keys, over=over[0] if over else None)
