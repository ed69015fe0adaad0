"""Layer kinds of attention."""

from __future__ import annotations

from typing import cast

from flopwise.blocks.graph import Type
from flopwise.blocks.tensor import Heads, Tokens
from flopwise.errors import BlockError

__all__ = ["attend", "split_heads"]


def split_heads(x: Tokens, *, heads: int) -> tuple[Heads, Heads, Heads]:
    """(L, 3 * C) -> queries, keys and values of (heads, L, C / heads)."""
    width = x.channels // 3
    if width % heads:
        raise BlockError(
            "E303",
            f"{heads} heads do not divide dim {width}",
            setting="heads",
            helps=(_nearest_heads(heads, width),),
        )
    out = Type("heads", (heads, x.length, width // heads))
    return cast(
        tuple[Heads, Heads, Heads], x.trace.append("split_heads", [x], [out] * 3, heads=heads)
    )


def attend(q: Heads, k: Heads, v: Heads) -> Tokens:
    """Scaled dot-product attention: softmax(q k^T / sqrt(d)) v, heads merged to (L, C).

    MACs = 2 * heads * L * L * d: the products q k^T and (.) v.
    """
    heads, length, depth = q.shape
    (y,) = q.trace.append(
        "attend",
        [q, k, v],
        [Type("tokens", (length, heads * depth))],
        macs=2 * heads * length * length * depth,
        activations=heads * length * length + length * heads * depth,
    )
    return cast(Tokens, y)


def _nearest_heads(heads: int, dim: int) -> str:
    below, above = dim // heads * heads, (dim // heads + 1) * heads
    dims = " or ".join(str(d) for d in (below, above) if d > 0)
    fits = sorted((h for h in range(1, dim + 1) if dim % h == 0), key=lambda h: abs(h - heads))[:2]
    return (
        f"nearest that work: dim {dims} with {heads} heads; "
        f"heads {' or '.join(map(str, sorted(fits)))} with dim {dim}"
    )
