"""What generated networks compute in attention: heads, random features, fixed tables.

Like the runtime beside it, this file imports torch and timm only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "attend_biased",
    "attend_over",
    "grid_table",
    "linear_attend",
    "map_heads",
    "orthogonal_",
    "random_features",
    "relative_scores",
    "sinusoid_",
    "split_heads",
]


def split_heads(x: Tensor, heads: int) -> list[Tensor]:
    """(B, L, 3 * C) -> queries, keys and values of (B, heads, L, C / heads)."""
    batch, length, channels = x.shape
    x = x.reshape(batch, length, 3, heads, channels // (3 * heads))
    q, k, v = x.permute(2, 0, 3, 1, 4).unbind(0)
    return [q, k, v]


def map_heads(x: Tensor, heads: int) -> list[Tensor]:
    """(B, 3 * C, H, W) -> queries, keys and values of (B, heads, H * W, C / heads).

    The channels of a head lie together.
    """
    x = x.flatten(2).unflatten(1, (heads, -1)).transpose(2, 3).contiguous()
    q, k, v = x.chunk(3, dim=3)
    return [q, k, v]


def attend_biased(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention of heads (B, heads, L, d), merged to (B, L, C).

    `bias` (heads, L, L), or one for each image, is added to q k^T / sqrt(d).
    """
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    return y.transpose(1, 2).flatten(2)


def attend_over(q: Tensor, k: Tensor, v: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention of heads (B, heads, L, d), merged to (B, L, C).

    q k^T is divided by the root of the channels of x instead of those of a head.
    """
    mask = None if bias is None else bias.to(q.dtype)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=x.shape[-1] ** -0.5)
    return y.transpose(1, 2).flatten(2)


def relative_scores(q: Tensor, keys: Tensor, x: Tensor | None = None) -> Tensor:
    """Queries (B, heads, L, d) and a key (2 * L - 1, d) per distance -> (B, heads, L, L).

    Query i meets the key of j - i for every j; products are divided by the root of d, or of the
    channels of x if it is given.
    """
    batch, heads, length, _ = q.shape
    scale = (q if x is None else x).shape[-1] ** -0.5
    near = keys.unfold(0, length, 1).flip(0)  # (L, d, L): the keys of query i for every j
    own = q.permute(2, 0, 1, 3).flatten(1, 2) * scale  # (L, B * heads, d)
    return torch.bmm(own, near).view(length, batch, heads, length).permute(1, 2, 0, 3)


def random_features(x: Tensor, w: Tensor) -> Tensor:
    """(B, L, C) and m directions -> (B, L, m), all positive.

    exp(w x - |x|^2 / 2) / sqrt(m); the product of two of them estimates exp(q k).
    """
    half_norm = (x * x).sum(-1, keepdim=True) / 2
    return torch.exp(x @ w.t() - half_norm) / math.sqrt(w.shape[0])


def linear_attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over features (B, L, m) of queries and keys: linear in the length."""
    total = q @ k.sum(1).unsqueeze(-1)
    return q @ (k.transpose(1, 2) @ v) / (total + 1e-8)


def grid_table(columns: Tensor, rows: Tensor) -> Tensor:
    """Tables (1, W, C / 2) and (1, H, C / 2) -> (1, H * W, C), row by row."""
    height, width = rows.shape[1], columns.shape[1]
    x = columns.unsqueeze(1).expand(-1, height, -1, -1)
    y = rows.unsqueeze(2).expand(-1, -1, width, -1)
    return torch.cat([x, y], dim=-1).flatten(1, 2)


def sinusoid_(table: Tensor) -> None:
    """Fills a table (1, L, C) with sines (even channels) and cosines (odd ones) of the position.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    _, length, dim = table.shape
    position = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    channel = torch.arange(dim, dtype=torch.float64)
    angle = position / 10000 ** (2 * (channel // 2) / dim)
    table.copy_(torch.where(channel % 2 == 0, angle.sin(), angle.cos()))


def orthogonal_(table: Tensor) -> None:
    """Fills a table (m, C) with random orthogonal directions of length sqrt(m)."""
    nn.init.orthogonal_(table)
    table.mul_(math.sqrt(table.shape[0]))
