"""Layer kinds of attention."""

from __future__ import annotations

from typing import TypeVar, cast

from flopwise.blocks.graph import Type
from flopwise.blocks.tensor import Heads, Map, Tensor, Tokens
from flopwise.errors import BlockError

__all__ = [
    "attend",
    "check_heads",
    "chunk",
    "halves",
    "keys_values",
    "linear_attend",
    "map_heads",
    "merge_heads",
    "near_map",
    "offset_bias",
    "random_features",
    "relative_scores",
    "split_heads",
    "to_heads",
]


Any_ = TypeVar("Any_", bound=Tensor)


def split_heads(x: Tokens, *, heads: int) -> tuple[Heads, Heads, Heads]:
    """(L, 3 * C) -> queries, keys and values of (heads, L, C / heads)."""
    width = x.channels // 3
    check_heads(heads, width)
    out = Type("heads", (heads, x.length, width // heads), x.extra, x.grid)
    return cast(
        tuple[Heads, Heads, Heads], x.trace.append("split_heads", [x], [out] * 3, heads=heads)
    )


def map_heads(x: Map, *, heads: int) -> tuple[Heads, Heads, Heads]:
    """(3 * C, H, W) -> queries, keys and values of (heads, H * W, C / heads).

    The channels of a head lie together: its queries, keys and values.
    Source: timm `Attention2d`.
    """
    grid, width = (x.height, x.width), x.channels // 3
    out = Type("heads", (heads, x.height * x.width, width // heads), grid=grid)
    return cast(
        tuple[Heads, Heads, Heads], x.trace.append("map_heads", [x], [out] * 3, heads=heads)
    )


def near_map(x: Tokens, near: Map) -> Map:
    """(H * W, C) -> (C, H, W), with the rows and columns of `near`."""
    out = Type("map", (x.channels, near.height, near.width))
    return cast(Map, x.trace.append("near_map", [x, near], [out])[0])


def to_heads(x: Tokens, *, heads: int) -> Heads:
    """(L, C) -> (heads, L, C / heads)."""
    check_heads(heads, x.channels)
    out = Type("heads", (heads, x.length, x.channels // heads), x.extra, x.grid)
    return cast(Heads, x.trace.append("to_heads", [x], [out], heads=heads)[0])


def merge_heads(x: Heads) -> Tokens:
    """(heads, L, d) -> (L, heads * d)."""
    heads, length, depth = x.shape
    out = Type("tokens", (length, heads * depth), x.type.extra, x.type.grid)
    return cast(Tokens, x.trace.append("merge_heads", [x], [out])[0])


def chunk(x: Tokens) -> tuple[Tokens, Tokens, Tokens]:
    """(L, 3 * C) -> three sequences of (L, C)."""
    out = Type("tokens", (x.length, x.channels // 3), x.extra, x.grid)
    return cast(tuple[Tokens, Tokens, Tokens], x.trace.append("chunk", [x], [out] * 3))


def halves(x: Any_) -> tuple[Any_, Any_]:
    """(L, 2 * C) -> two sequences of (L, C)."""
    shape = (*x.shape[:-1], x.channels // 2)
    out = Type(x.type.kind, shape, x.type.extra, x.type.grid)
    return cast(tuple[Any_, Any_], x.trace.append("halves", [x], [out] * 2))


def keys_values(x: Tokens, *, heads: int) -> tuple[Heads, Heads]:
    """(L, 2 * C) -> keys and values of (heads, L, C / heads)."""
    width = x.channels // 2
    check_heads(heads, width)
    out = Type("heads", (heads, x.length, width // heads), x.extra, x.grid)
    return cast(tuple[Heads, Heads], x.trace.append("keys_values", [x], [out] * 2, heads=heads))


def attend(
    q: Heads, k: Heads, v: Heads, *, over: Tensor | None = None, bias: Tensor | None = None
) -> Tokens:
    """Scaled dot-product attention: softmax(q k^T / sqrt(d) + bias) v, heads merged to (L, C).

    d is the channels of a head, or those of `over` if it is given. `bias` has a number for every
    head, query and key.
    MACs = 2 * heads * L * S * d for S keys: the products q k^T and (.) v.
    """
    heads, length, depth = q.shape
    keys = k.shape[1]
    plain = "attend" if bias is None else "attend_biased"
    (y,) = q.trace.append(
        plain if over is None else "attend_over",
        [q, k, v, *(each for each in (over, bias) if each is not None)],
        [Type("tokens", (length, heads * depth), q.type.extra, q.type.grid)],
        macs=2 * heads * length * keys * depth,
        activations=heads * length * keys + length * heads * depth,
    )
    return cast(Tokens, y)


def offset_bias(
    table: Tensor, *, name: str, grid: tuple[int, int], heads: int, extra: int = 0
) -> Tensor:
    """The bias of every head between two positions of a grid: (offsets, heads) -> (heads, L, L).

    A row of the table for every offset. Of `extra` tokens before the grid, one row more is for what
    they see, one for what sees them, and one for what they see of one another.
    Source: Liu et al. 2021, arXiv:2103.14030, eq. 4; Bao et al. 2022, arXiv:2106.08254 for the
    three rows; timm `RelPosBias`.
    """
    length = extra + grid[0] * grid[1]
    out = Type("table", (heads, length, length))
    return table.trace.append("offset_bias", [table], [out], name=name, grid=grid, extra=extra)[0]


def relative_scores(q: Heads, keys: Tensor, *, over: Tensor | None = None) -> Heads:
    """Queries against one learned key for every distance in the sequence: (heads, L, L).

    The score of i and j is q_i r / sqrt(d) with the key r of j - i; `keys` (2 * L - 1, d) begins
    with the most negative distance. d is as in `attend`.
    MACs = heads * L * L * d.
    Source: Shaw et al. 2018, arXiv:1803.02155, eq. 5.
    """
    heads, length, depth = q.shape
    (y,) = q.trace.append(
        "relative_scores",
        [q, keys, *([] if over is None else [over])],
        [Type("heads", (heads, length, length))],
        macs=heads * length * length * depth,
        activations=heads * length * length,
    )
    return cast(Heads, y)


def random_features(x: Tokens, w: Tensor) -> Tokens:
    """exp(w x - |x|^2 / 2) / sqrt(m): features whose products estimate exp(q k).

    `w` holds m fixed random directions. MACs = L * C * m: the product w x.
    """
    features = w.shape[0]
    (y,) = x.trace.append(
        "random_features",
        [x, w],
        [Type("tokens", (x.length, features), x.extra, x.grid)],
        macs=x.length * x.channels * features,
        activations=x.length * features,
    )
    return cast(Tokens, y)


def linear_attend(q: Tokens, k: Tokens, v: Tokens) -> Tokens:
    """Attention over random features: q (k^T v) / (q sum(k)), linear in the length.

    MACs = 2 * L * m * C + L * m: the products k^T v, q (.) and q sum(k).
    """
    length, features = q.shape
    (y,) = q.trace.append(
        "linear_attend",
        [q, k, v],
        [v.type],
        macs=2 * length * features * v.channels + length * features,
        activations=features * v.channels + length * v.channels + length,
    )
    return cast(Tokens, y)


def check_heads(heads: int, width: int) -> None:
    """Refuses heads that do not divide the channels they share."""
    if width % heads:
        raise BlockError(
            "E303",
            f"{heads} heads do not divide dim {width}",
            setting="heads",
            helps=(_nearest_heads(heads, width),),
        )


def _nearest_heads(heads: int, dim: int) -> str:
    below, above = dim // heads * heads, (dim // heads + 1) * heads
    dims = " or ".join(str(d) for d in (below, above) if d > 0)
    fits = sorted((h for h in range(1, dim + 1) if dim % h == 0), key=lambda h: abs(h - heads))[:2]
    return (
        f"nearest that work: dim {dims} with {heads} heads; "
        f"heads {' or '.join(map(str, sorted(fits)))} with dim {dim}"
    )
