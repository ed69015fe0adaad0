"""What generated networks compute on windows of a map. This file imports torch only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "OffsetBias",
    "Offsets",
    "WindowAttend",
    "from_windows",
    "merge_patches",
    "to_windows",
]


def to_windows(x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """(B, H, W, C) -> (B, windows, window area, C), rolled and padded first."""
    if shift[0] or shift[1]:
        x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
    rows, columns = -x.shape[1] % window[0], -x.shape[2] % window[1]
    x = F.pad(x, (0, 0, 0, columns, 0, rows))
    x = x.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(
    x: Tensor, near: Tensor, window: tuple[int, int], shift: tuple[int, int]
) -> Tensor:
    """Undoes `to_windows`; `near` (B, H, W, C) is what the windows were cut from."""
    height, width = near.shape[1], near.shape[2]
    columns = (width + window[1] - 1) // window[1]
    x = x.unflatten(2, (window[0], window[1])).unflatten(1, (-1, columns))
    x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]
    if shift[0] or shift[1]:
        x = torch.roll(x, (shift[0], shift[1]), (1, 2))
    return x


def merge_patches(x: Tensor, stride: int) -> Tensor:
    """(B, H, W, C) -> (B, H / stride, W / stride, C * stride^2), padded first.

    The columns of a patch come before its rows, as in Swin.
    """
    x = F.pad(x, (0, 0, 0, -x.shape[2] % stride, 0, -x.shape[1] % stride))
    x = x.unflatten(2, (-1, stride)).unflatten(1, (-1, stride))
    return x.permute(0, 1, 3, 4, 2, 5).flatten(3)


class Offsets(nn.Module):
    """What reads a table with a row for every offset between two positions of a window.

    `size` is the map that the windows lie on; `extra` tokens stand before each window. The index
    follows from these numbers and is no part of the checkpoint.
    """

    def __init__(
        self, window: tuple[int, int], shift: tuple[int, int], size: tuple[int, int], extra: int = 0
    ) -> None:
        super().__init__()
        self.window, self.shift, self.size, self.extra = window, shift, size, extra
        self.register_buffer("index", None, persistent=False)

    def reset_parameters(self) -> None:
        """Computes the index."""
        self.index = _offsets(self.window, self.extra)


class OffsetBias(Offsets):
    """The bias of every head between two positions of a grid.

    Source: Liu et al. 2021, arXiv:2103.14030, eq. 4; timm `RelPosBias`.
    """

    def __init__(self, grid: tuple[int, int], extra: int = 0) -> None:
        super().__init__(grid, (0, 0), grid, extra)
        self.reset_parameters()

    def forward(self, table: Tensor) -> Tensor:
        """(offsets, heads) -> (heads, L, L)."""
        return table[self.index].permute(2, 0, 1).contiguous()


class WindowAttend(Offsets):
    """Attention inside windows, with a bias per offset and a mask at the border of a map.

    Source: Liu et al. 2021, arXiv:2103.14030, section 3.2; timm `WindowAttention`. Index and mask
    follow from the sizes and are no part of the checkpoint.
    """

    def __init__(
        self, heads: int, window: tuple[int, int], shift: tuple[int, int], size: tuple[int, int]
    ) -> None:
        super().__init__(window, shift, size)
        self.heads = heads
        self.register_buffer("mask", None, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Computes index and mask."""
        super().reset_parameters()
        self.mask = _border(self.window, self.shift, self.size) if any(self.shift) else None

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """(B, windows, N, 3 * C) and (offsets, heads) -> (B, windows, N, C)."""
        batch, windows, length, width = x.shape
        x = x.reshape(batch * windows, length, 3, self.heads, width // (3 * self.heads))
        q, k, v = x.permute(2, 0, 3, 1, 4).unbind(0)
        bias = table[self.index].permute(2, 0, 1).unsqueeze(0)
        mask = self.mask
        if mask is not None:
            bias = bias + mask.unsqueeze(1).repeat(batch, 1, 1, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return y.transpose(1, 2).reshape(batch, windows, length, width // 3)


def _offsets(window: tuple[int, int], extra: int) -> Tensor:
    """For every two positions of a window, the row of the bias table of their offset.

    The last three rows are for tokens before the window: what they see, what sees them, and what
    they see of one another.
    """
    rows = torch.arange(window[0]).repeat_interleave(window[1])
    columns = torch.arange(window[1]).repeat(window[0])
    down = rows[:, None] - rows + window[0] - 1
    right = columns[:, None] - columns + window[1] - 1
    index = F.pad(down * (2 * window[1] - 1) + right, (extra, 0, extra, 0))
    count = (2 * window[0] - 1) * (2 * window[1] - 1)
    index[:extra], index[:, :extra], index[:extra, :extra] = count, count + 1, count + 2
    return index


def _border(window: tuple[int, int], shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(windows, N, N): -100 between positions that only the roll has brought together."""
    parts = []
    for axis in (0, 1):
        whole = -(-size[axis] // window[axis]) * window[axis]
        place = torch.arange(whole)
        edge = place >= whole - window[axis]
        parts.append(edge.long() + (place >= whole - shift[axis]).long())
    region = (3 * parts[0][:, None] + parts[1]).view(1, *(len(part) for part in parts), 1)
    region = to_windows(region, window, (0, 0)).squeeze(-1).squeeze(0)
    return (region[:, None] != region[:, :, None]).float() * -100.0
