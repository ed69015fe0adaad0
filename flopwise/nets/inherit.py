"""Weights of one network into a neighbour: by key, and where shapes differ by slice.

A key is a block path, so the same key is the same place in both. What overlaps is copied as it is,
scales of norms included; everything else keeps the values the network began with.

Source of resampling: timm/layers/pos_embed.py, `resample_abs_pos_embed`;
timm/layers/pos_embed_rel.py, `resize_rel_pos_bias_table`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import Tensor, nn

from flopwise.blocks.graph import Graph
from flopwise.dsl import Network
from flopwise.errors import RunError

__all__ = ["Inherited", "Start", "inherit"]

SHOWN = 3
"""Most keys of a kind that are named."""

PARTS = {"split_heads": 3, "window_attend": 3}  # map_heads lays the parts of a head together
"""Layer kind -> how many equal parts it cuts what it reads into: queries, keys and values."""

OFFSETS = {"window_attend": (1, "window"), "offset_bias": (0, "grid")}
"""Layer kind -> which input is its table of offsets, and the setting with their window."""

Grid: TypeAlias = tuple[int, tuple[int, int]]
"""Leading tokens that are no patches, and rows and columns of patches."""

WORDS = {
    "whole": "taken whole",
    "cut": "cut",
    "grown": "grown",
    "resampled": "resampled",
    "new": "new here",
    "left": "left behind",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Weights to begin from.

    Attributes:
        place: Where they lie, for people.
        digest: SHA-256 of their file.
        weights: Under the names of specs.
        network: The network they are of, where that is known.
    """

    place: str
    digest: str
    weights: Mapping[str, Tensor] = field(repr=False)
    network: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a network took from another one's weights, by key.

    Attributes:
        whole: Of the same shape.
        cut: Smaller here, so that a part was taken.
        grown: Larger here in some direction; what is beyond the other one's keeps its own values.
        resampled: Tables of positions on another grid.
        new: Without weights there, or with weights of another meaning; their own values stay.
        left: Keys of the other one that were not used.
    """

    whole: tuple[str, ...]
    cut: tuple[str, ...]
    grown: tuple[str, ...]
    resampled: tuple[str, ...]
    new: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        lines = []
        for name, words in WORDS.items():
            keys: Sequence[str] = getattr(self, name)
            shown = ", ".join(keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")
            more = f": {shown}" if keys and name != "whole" else ""
            lines.append(f"  {words} {len(keys)}{more}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, int]:
        """Returns how many there are of each."""
        return {name: len(getattr(self, name)) for name in WORDS}


@torch.no_grad()
def inherit(model: nn.Module, network: Network, start: Start) -> Inherited:
    """Copies weights of another network into a module of this one, as far as they go.

    Convolution kernels meet at their centres, everything else at index 0; queries, keys and values
    are kept apart. A classifier of another number of classes, and a fixed table of another size,
    stay as they are.

    Args:
        model: A module of the network, with its own first values; changed in place.
        network: The network.
        start: The weights.

    Raises:
        RunError: Not one key is the same.
    """
    here, there = _Tables.of(network), _Tables.of(start.network) if start.network else None
    state = model.state_dict()
    shared = [key for key in state if key in start.weights]
    if not shared:
        raise RunError(
            f"{start.place} fits nothing of '{network.name}': its keys are "
            f"{_some(start.weights)}, and those of the network {_some(state)}"
        )
    fresh = _head(model, state, start.weights)
    found: dict[str, list[str]] = {name: [] for name in WORDS}
    for key in state:
        kind = "new"
        if key in start.weights and key not in fresh:
            kind = _take(key, state[key], start.weights[key], here, there)
        found[kind].append(key)
    found["left"] = [key for key in start.weights if key not in state or key in found["new"]]
    return Inherited(**{name: tuple(keys) for name, keys in found.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """What is to be known about tensors beyond their shapes."""

    fixed: frozenset[str]
    parts: Mapping[str, int]
    grids: Mapping[str, Grid]
    windows: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, network: Network) -> _Tables:
        graph = network.graph
        leaves = list(graph.walk())
        return cls(
            fixed=frozenset(
                path
                for path, layer in leaves  # distances of another length lie elsewhere in a table
                if layer.kind == "fixed" or layer.name == "relative_position_keys"
            ),
            parts=dict(_parts(graph)),
            grids=dict(_grids(graph)),
            windows=dict(_windows(graph)),
        )


def _take(key: str, mine: Tensor, theirs: Tensor, here: _Tables, there: _Tables | None) -> str:
    """Copies what overlaps of one tensor; returns the word for it."""
    before = there.grids.get(key) if there else None
    moved = before is not None and before != here.grids.get(key, before)
    if mine.shape == theirs.shape and not moved:
        mine.copy_(theirs)
        return "whole"
    if mine.ndim != theirs.ndim or key in here.fixed:
        return "new"
    if key in here.grids and (moved or mine.shape[1] != theirs.shape[1]):
        _place(mine, theirs, here.grids[key], before)
        return "resampled"
    if key in here.windows and len(mine) != len(theirs):
        shape = (len(mine), theirs.shape[1])
        with warnings.catch_warnings():  # of the memory layout inside timm's interpolation
            warnings.simplefilter("ignore")
            _copy(mine, resize_rel_pos_bias_table(theirs, here.windows[key], shape))
        return "resampled"
    parts = here.parts.get(key.rpartition(".")[0], 1)
    for own, other in zip(mine.chunk(parts), theirs.chunk(parts), strict=True):
        _copy(own, other)
    smaller = all(a <= b for a, b in zip(mine.shape, theirs.shape, strict=True))
    return "cut" if smaller else "grown"


def _copy(mine: Tensor, theirs: Tensor) -> None:
    """Copies the overlap: kernels from the centre, the rest from index 0."""
    own: list[slice] = []
    other: list[slice] = []
    for axis, (a, b) in enumerate(zip(mine.shape, theirs.shape, strict=True)):
        size, centred = min(a, b), mine.ndim == 4 and axis > 1
        for cut, length in ((own, a), (other, b)):
            start = (length - size) // 2 if centred else 0
            cut.append(slice(start, start + size))
    mine[tuple(own)] = theirs[tuple(other)]


def _place(mine: Tensor, theirs: Tensor, after: Grid, before: Grid | None) -> None:
    """Fills a table of positions from one for another grid; an unknown grid is a square one."""
    extra, grid = after
    lead, old = before or (extra, None)
    if old is None and 1 in grid:  # a table of rows or of columns alone
        old = (theirs.shape[1] if grid[0] > 1 else 1, theirs.shape[1] if grid[0] == 1 else 1)
    patches = resample_abs_pos_embed(
        theirs[:, lead:], list(grid), list(old) if old else None, num_prefix_tokens=0
    )
    _copy(mine[:, :extra], theirs[:, :lead])
    _copy(mine[:, extra:], patches)


def _head(model: Any, state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> set[str]:
    """Returns the keys of the classifier if the number of classes differs."""
    last = model.get_classifier()
    name = next((path for path, module in model.named_modules() if module is last), "")
    keys = {f"{name}.weight", f"{name}.bias"} & state.keys() & weights.keys() if name else set()
    return keys if any(len(state[key]) != len(weights[key]) for key in keys) else set()


def _parts(graph: Graph, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yields the layers whose outputs are cut into equal parts."""
    makers = [None] * len(graph.inputs) + [each for each in graph.layers for _ in each.outputs]
    for layer in graph.layers:
        maker = makers[layer.inputs[0]] if layer.kind in PARTS else None
        if maker is not None:
            yield f"{prefix}{maker.name}", PARTS[layer.kind]
        if layer.graph:
            yield from _parts(layer.graph, f"{prefix}{layer.name}.")


def _grids(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Grid]]:
    """Yields tables of positions with the leading tokens and the grid they are for."""
    for layer in graph.layers:
        out = layer.outputs[0]
        for inner in layer.graph.layers if layer.graph else ():
            shape = inner.outputs[0].shape
            if inner.kind != "parameter" or len(shape) != 3 or out.grid is None:
                continue
            sides = {"pos_embed_y": (out.grid[0], 1), "pos_embed_x": (1, out.grid[1])}
            if inner.name in sides:
                yield f"{prefix}{layer.name}.{inner.name}", (0, sides[inner.name])
            elif shape[1] == out.shape[0]:  # one vector per token
                yield f"{prefix}{layer.name}.{inner.name}", (out.extra, out.grid)
        if layer.graph:
            yield from _grids(layer.graph, f"{prefix}{layer.name}.")


def _windows(graph: Graph, prefix: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields tables of biases between two positions of a window, with the window."""
    makers = [None] * len(graph.inputs) + [each for each in graph.layers for _ in each.outputs]
    for layer in graph.layers:
        place, word = OFFSETS.get(layer.kind, (0, ""))
        table = makers[layer.inputs[place]] if word else None
        if table is not None:
            yield f"{prefix}{table.name}", layer.settings[word]
        if layer.graph:
            yield from _windows(layer.graph, f"{prefix}{layer.name}.")


def _some(keys: Mapping[str, object]) -> str:
    shown = ", ".join(list(keys)[:SHOWN])
    return shown + (", ..." if len(keys) > SHOWN else "")
