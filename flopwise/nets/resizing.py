"""Networks of one image size, and how they are fitted to another.

Like the runtime, this file imports torch and timm only and never flopwise.
"""

# ruff: noqa: RUF012  (these class attributes are never changed, only replaced)

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, lcm

import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table, to_2tuple
from torch import Tensor, nn

from flopwise.nets.runtime import Network
from flopwise.nets.windows import Offsets

__all__ = ["FixedSize", "ToMap", "Windowed"]

Pair = tuple[int, int]


class ToMap(nn.Module):
    """Lays tokens out on their grid, without the first `extra` of them."""

    def __init__(self, grid: Pair, extra: int = 0) -> None:
        super().__init__()
        self.grid, self.extra = grid, extra

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, C, H, W)."""
        y: Tensor = x[:, self.extra :].transpose(1, 2).unflatten(2, self.grid)
        return y


class FixedSize(Network):
    """A network with tables of positions or grids that belong to one size of images.

    `GRIDS` names the tables, and the rows and columns of each at `input_size`; 0 if it has no such
    axis.
    """

    GRIDS: dict[str, Pair] = {}

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__(num_classes, in_chans)
        self.img_size = self.input_size[1:]

    @torch.no_grad()
    def set_input_size(self, img_size: int | Pair | None = None) -> None:
        """Fits the network to images of another size, in pixels; None keeps it.

        Tables of positions are interpolated, as timm does.

        Raises:
            ValueError: A grid would not be whole there.
        """
        old = self.img_size
        size = old if img_size is None else _pair(img_size)
        axes = zip(self._axes(), old, strict=True)
        steps = [lcm(*(side // gcd(each, side) for each in axis)) for axis, side in axes]
        if any(n < 1 or n % step for n, step in zip(size, steps, strict=True)):
            told, wanted = (" x ".join(map(str, each)) for each in (size, steps))
            raise ValueError(f"images of {told}: their size must be a multiple of {wanted}")
        for name, grid in self.GRIDS.items() if size != old else ():
            owner, _, word = name.rpartition(".")
            module = self.get_submodule(owner)
            before, after = self._at(grid, old), self._at(grid, size)
            _replace(module, word, _resampled(getattr(module, word), before, after))
        for module in self.modules():
            if isinstance(module, ToMap):
                module.grid = _scaled(module.grid, old, size)
        self.img_size = size

    def _axes(self) -> Iterator[list[int]]:
        """Yields the rows of every grid, then the columns."""
        maps = [module.grid for module in self.modules() if isinstance(module, ToMap)]
        tables = [self._at(grid, self.img_size) for grid in self.GRIDS.values()]
        for axis in (0, 1):
            yield [grid[axis] for grid in (*maps, *tables) if grid[axis]]

    def _at(self, grid: Pair, size: Pair) -> Pair:
        """What a grid at `input_size` is at another size of images."""
        return _scaled(grid, self.input_size[1:], size)

    def fitted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns a checkpoint made at `input_size` as the network takes it at its own size."""
        own = self.state_dict()
        if self.in_chans != self.input_size[0]:
            state = {key: self._recoloured(key, value) for key, value in state.items()}
        for name, grid in self.GRIDS.items():
            if name in state and state[name].shape != own[name].shape:
                state[name] = _resampled(state[name], grid, self._at(grid, self.img_size))
        return state

    def _recoloured(self, key: str, value: Tensor) -> Tensor:
        """What reads pixels, for images of other channels than it was made for: their mean.

        timm does this for convolutions, which `FIRST_CONV` names.
        """
        places = (key.removesuffix(".weight"), key.rpartition(".")[0])
        wanted = self.state_dict().get(key, value).shape
        if {self.FIRST_CONV, self.CLASSIFIER} & {*places} or wanted == value.shape:
            return value
        axis = min(1, value.ndim - 1)
        if wanted[axis] * self.input_size[0] != value.shape[axis] * self.in_chans:
            return value
        mean = value.unflatten(axis, (self.input_size[0], -1)).mean(axis, keepdim=True)
        found: Tensor = mean.repeat_interleave(self.in_chans, axis).flatten(axis, axis + 1)
        return found * (self.input_size[0] / self.in_chans) if value.ndim > 1 else found


class Windowed(FixedSize):
    """A network with a bias for every offset in windows, or a grid, that grow with the images."""

    @torch.no_grad()
    def set_input_size(self, img_size: int | Pair | None = None) -> None:
        """Fits the network to images of another size, in pixels; None keeps it.

        As in timm's Swin, the windows keep their share of the map, their tables are interpolated,
        and the masks are made again.

        Raises:
            ValueError: A grid would not be whole there.
        """
        old = self.img_size
        super().set_input_size(img_size)
        for _, block, attend in self._attends() if self.img_size != old else ():
            window = _rounded(attend.window, old, self.img_size)
            for name, table in block.named_parameters(recurse=False):
                if len(table) == _count_offsets(attend.window, attend.extra):
                    _replace(block, name, _resized(table, attend.window, window))
            rows, columns = attend.shift
            shift = (window[0] // 2 if rows else 0, window[1] // 2 if columns else 0)
            attend.size = _scaled(attend.size, old, self.img_size)
            for holder in (attend, block):  # a block that cuts the windows knows them too
                for key, value in (("window", window), ("shift", shift)):
                    if hasattr(holder, key):
                        setattr(holder, key, value)
            with torch.device(attend.index.device):
                attend.reset_parameters()

    def _attends(self) -> Iterator[tuple[str, nn.Module, Offsets]]:
        """Yields every block with a table of offsets, by name, and what reads the table."""
        for name, block in self.named_modules():
            for child in block.children():
                if isinstance(child, Offsets):
                    yield name, block, child

    def _axes(self) -> Iterator[list[int]]:
        """Yields the rows of every grid, then the columns."""
        for axis, others in enumerate(super()._axes()):
            yield [*others, *(attend.size[axis] for _, _, attend in self._attends())]

    def fitted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns a checkpoint made at `input_size` as the network takes it at its own size."""
        state = super().fitted(state)
        for path, block, attend in self._attends():
            old = _rounded(attend.window, self.img_size, self.input_size[1:])
            for name, _ in block.named_parameters(recurse=False):
                key = f"{path}.{name}"
                rows = _count_offsets(old, attend.extra)
                if key in state and old != attend.window and len(state[key]) == rows:
                    state[key] = _resized(state[key], old, attend.window)
        return state


def _pair(size: int | Pair) -> Pair:
    rows, columns = to_2tuple(size)
    return rows, columns


def _scaled(grid: Pair, old: Pair, new: Pair) -> Pair:
    return grid[0] * new[0] // old[0], grid[1] * new[1] // old[1]


def _rounded(window: Pair, old: Pair, new: Pair) -> Pair:
    rows, columns = (max(1, round(w * n / o)) for w, n, o in zip(window, new, old, strict=True))
    return rows, columns


def _count_offsets(window: Pair, extra: int = 0) -> int:
    """Rows of a table of offsets; three more where tokens stand before the window."""
    return (2 * window[0] - 1) * (2 * window[1] - 1) + (3 if extra else 0)


def _replace(module: nn.Module, name: str, fresh: Tensor) -> None:
    """Puts a tensor in the place of a learned or a fixed table."""
    table = getattr(module, name)
    learned = isinstance(table, nn.Parameter)
    setattr(module, name, nn.Parameter(fresh, table.requires_grad) if learned else fresh)


def _resampled(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """A table of positions (1, L, C) on another grid; what stands before the grid stays."""
    before, after = (tuple(max(1, side) for side in grid) for grid in (old, new))
    prefix = table.shape[1] - before[0] * before[1]
    found: Tensor = resample_abs_pos_embed(
        table.detach(), new_size=after, old_size=before, num_prefix_tokens=prefix
    )
    return found


def _resized(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """A table of offsets (offsets, heads) for other windows; what stands behind them stays."""
    heads, count = table.shape[1], _count_offsets(old)
    square = table[:count].detach().t().reshape(heads, 2 * old[0] - 1, 2 * old[1] - 1)
    shape = (heads, 2 * new[0] - 1, 2 * new[1] - 1)
    fresh: Tensor = resize_rel_pos_bias_table(square, new, shape)
    return torch.cat([fresh.flatten(1).t(), table[count:].detach()])
