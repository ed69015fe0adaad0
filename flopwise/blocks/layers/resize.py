"""Layer kinds that resize a map, lengthen a sequence, or leave an edge out."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from flopwise.blocks.graph import Type
from flopwise.blocks.tensor import Map, Tensor, Tokens
from flopwise.errors import BlockError

__all__ = ["cat_tokens", "padded_avg_pool", "pooled_size", "upsample", "zero"]


def upsample(x: Map, *, scale: int, mode: str) -> Map:
    """(C, H, W) -> (C, scale * H, scale * W)."""
    out = Type("map", (x.channels, x.height * scale, x.width * scale))
    return cast(Map, x.trace.append("upsample", [x], [out], scale=scale, mode=mode)[0])


def padded_avg_pool(x: Map, *, kernel: int, stride: int, pad: int) -> Map:
    """Mean over windows; what lies outside the map does not count."""
    sizes = pooled_size(x, kernel, stride, pad)
    out = Type("map", (x.channels, *sizes))
    (y,) = x.trace.append("padded_avg_pool", [x], [out], kernel=kernel, stride=stride, pad=pad)
    return cast(Map, y)


def pooled_size(x: Map, kernel: int, stride: int, pad: int) -> tuple[int, int]:
    """Returns height and width after pooling.

    Raises:
        BlockError: The padding is more than half the window, or the window does not fit.
    """
    if 2 * pad > kernel:
        raise BlockError(
            "E321",
            f"pad {pad} is more than half of kernel {kernel}",
            setting="pad",
            helps=(f"write at most  pad: {kernel // 2}",),
        )
    height, width = ((size + 2 * pad - kernel) // stride + 1 for size in (x.height, x.width))
    if min(height, width) < 1:
        raise BlockError(
            "E308",
            f"a {kernel}x{kernel} window with stride {stride} does not fit a map of "
            f"{x.height}x{x.width}",
            helps=("raise input.size, or remove a stride",),
        )
    return height, width


def cat_tokens(xs: tuple[Tokens, ...]) -> Tokens:
    """Joins sequences end to end: (L1, C), (L2, C) -> (L1 + L2, C); the grid is lost."""
    first = xs[0]
    out = Type("tokens", (sum(x.length for x in xs), first.channels), first.extra)
    return cast(Tokens, first.trace.append("cat_tokens", list(xs), [out])[0])


def zero(x: Tensor) -> Tensor:
    """An edge that is not there: zeros of the same shape, for those who must read something."""
    return x.trace.append("zero", [x], [replace(x.type, absent=True)])[0]
