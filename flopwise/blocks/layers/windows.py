"""Layer kinds on windows of a map: cutting, attention inside each, joining, merging of patches."""

from __future__ import annotations

from math import prod
from typing import cast

from flopwise.blocks.graph import Type
from flopwise.blocks.layers.attention import check_heads
from flopwise.blocks.tensor import MapLast, Tensor, Windows

__all__ = ["from_windows", "merge_patches", "to_windows", "window_attend"]

Pair = tuple[int, int]


def to_windows(x: MapLast, *, window: Pair, shift: Pair) -> Windows:
    """(H, W, C) -> (windows, window area, C); the map is rolled by `shift` and padded first."""
    out = Type("windows", (_count(x, window), prod(window), x.channels))
    y = x.trace.append("to_windows", [x], [out], window=window, shift=shift)[0]
    return cast(Windows, y)


def from_windows(x: Windows, near: MapLast, *, window: Pair, shift: Pair) -> MapLast:
    """Undoes `to_windows`; `near` is the map the windows were cut from."""
    out = Type("map_last", (*near.shape[:2], x.channels))
    y = x.trace.append("from_windows", [x, near], [out], window=window, shift=shift)[0]
    return cast(MapLast, y)


def window_attend(
    x: Windows, bias: Tensor, *, name: str, heads: int, window: Pair, shift: Pair, size: Pair
) -> Windows:
    """Attention inside each window: softmax(q k^T / sqrt(d) + bias + mask) v.

    `x` holds queries, keys and values (windows, N, 3 * C). `bias` has a number per head for every
    offset between two positions. Where windows were shifted over the border of a map of `size`, the
    mask keeps apart what does not lie side by side.
    MACs = 2 * windows * heads * N * N * d: the products q k^T and (.) v.
    """
    windows, length, width = x.shape
    dim = width // 3
    check_heads(heads, dim)
    (y,) = x.trace.append(
        "window_attend",
        [x, bias],
        [Type("windows", (windows, length, dim))],
        name=name,
        macs=2 * windows * length * length * dim,
        activations=windows * (heads * length * length + length * dim),
        heads=heads,
        window=window,
        shift=shift,
        size=size,
    )
    return cast(Windows, y)


def merge_patches(x: MapLast, *, stride: int) -> MapLast:
    """(H, W, C) -> (H / stride, W / stride, C * stride^2); the map is padded first."""
    rows, columns = (-(-size // stride) for size in x.shape[:2])
    out = Type("map_last", (rows, columns, x.channels * stride * stride))
    return cast(MapLast, x.trace.append("merge_patches", [x], [out], stride=stride)[0])


def _count(x: MapLast, window: Pair) -> int:
    return prod(-(-size // step) for size, step in zip(x.shape[:2], window, strict=True))
