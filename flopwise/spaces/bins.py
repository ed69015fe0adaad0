"""Cost tables with their costs in bins, and their cells sorted by where they lead.

Every entry of a table is rounded down to a multiple of the bin's width. A path of binned total b
costs from b * width to b * width plus what rounding may have cut off, which is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Window
from flopwise.spaces.costs import METRICS, CostTables

__all__ = ["Binned", "Edges", "Kinds", "edges_of", "kinds_of", "listed"]

Array: TypeAlias = NDArray[Any]

ENOUGH = 10
"""Fewest candidates that say how costs are spread."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The cells of a level that lead to an end that is wanted, those alike taken together.

    Attributes:
        state: (kinds of steps,): the state before; they are sorted by it.
        after: The state after.
        bins: The bins of each cost.
        many: How many choices are alike.
        members: (cells,): the choices, kind after kind.
    """

    state: Array
    after: Array
    bins: tuple[Array, ...]
    many: Array
    members: Array


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of steps from every state, (states, kinds) each; `many` is 0 where there is none.

    Attributes:
        after: The state after.
        bins: The bins of each cost.
        many: How many choices are alike.
        first: Where these begin among all members.
        members: The choices, kind after kind.
        known: (states,): how many kinds there are.
    """

    after: Array
    bins: tuple[Array, ...]
    many: Array
    first: Array
    members: Array
    known: Array


class Binned:
    """Tables with costs of one metric in bins, for the paths to allowed ends.

    Attributes:
        width: The width of a bin.
        low: The smallest binned total that may lie in the window.
        high: The largest.
        inner: The smallest and largest binned total that surely lie in the window.
        bins: For every level (states, choices), the binned cost.
        useful: For every level (states, choices), whether a wanted end can follow.
        cut: The most that rounding cuts off a total.
        inside: The smallest and largest total in the window, above the least of all.
    """

    def __init__(self, tables: CostTables, metric: str, window: Window, limit: int) -> None:
        """Takes the tables, a window on one metric, and how many bins there may be at most."""
        self.tables, self.metric = tables, metric
        alive = tables.compiled.allowed
        self.useful: list[Array] = []
        for level in reversed(tables.levels):
            self.useful.insert(0, level.told & alive[level.next])
            alive = np.asarray(self.useful[0].any(axis=1))
        self.costs = self._above_least(METRICS.index(metric))
        span = sum(int(cost.max(initial=0)) for cost in self.costs)
        low = 0 if window.low is None else max(window.low - self.least, 0)
        high = span if window.high is None else min(window.high - self.least, span)
        unit = gcd(*(int(np.gcd.reduce(cost, axis=None)) for cost in self.costs)) or 1
        self.width = unit * max(-(-(high + 1) // (unit * limit)), 1)
        self.bins = [cost // self.width for cost in self.costs]
        cut = sum(int((cost % self.width).max(initial=0)) for cost in self.costs)
        self.low = max(-(-(low - cut) // self.width), 0)
        self.high = high // self.width  # below 0 where the window lies below all
        self.inner = -(-low // self.width), (high - cut) // self.width
        self.cut, self.inside = cut, (low, high)

    def kept(self, costs: Array) -> float:
        """Returns about which part of what is counted lies in the window.

        Args:
            costs: What some candidates cost; where none is near, they count as spread evenly.
        """
        low, high = self.inside
        above = costs - self.least
        binned = (above - self.cut // 2) // self.width
        near = int(((binned >= self.low) & (binned <= self.high)).sum())
        if near >= ENOUGH:
            return float(((above >= low) & (above <= high)).sum() / near)
        counted = (self.high - self.low + 1) * self.width
        return (high - low + 1) / counted if counted > 0 else 0.0

    def _above_least(self, column: int) -> list[Array]:
        """Returns the costs of every level above the least of it; these add up to `least`."""
        self.least, found = 0, []
        for level, useful in zip(self.tables.levels, self.useful, strict=True):
            cost = level.cost[..., column]
            least = int(cost[useful].min()) if useful.any() else 0
            self.least += least
            found.append(np.where(useful, cost - least, 0))
        return found


def edges_of(axes: Sequence[Binned], at: int) -> Edges:
    """Returns the kinds of steps of a level that may stay in all windows."""
    useful = axes[0].useful[at]
    for axis in axes:
        useful = useful & (axis.bins[at] <= max(axis.high, 0))
    state, choice = np.nonzero(useful)
    after = axes[0].tables.levels[at].next[state, choice]
    columns = [state, after, *(axis.bins[at][state, choice] for axis in axes)]
    rows, kind, many = np.unique(
        np.stack(columns, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    members = choice[np.argsort(kind.reshape(-1), kind="stable")]
    return Edges(rows[:, 0], rows[:, 1], tuple(rows[:, 2:].T), many, members)


def kinds_of(edges: Edges, states: int, nowhere: int) -> Kinds:
    """Returns the kinds of steps by the state before; where there is none leads to `nowhere`."""
    count = np.bincount(edges.state, minlength=states)
    place = np.arange(len(edges.state)) - np.repeat(np.cumsum(count) - count, count)
    shape = states, max(int(count.max()), 1)

    def spread(values: Array, rest: int) -> Array:
        found = np.full(shape, rest, values.dtype)
        found[edges.state, place] = values
        return found

    first = np.cumsum(edges.many) - edges.many
    return Kinds(
        spread(edges.after, nowhere),
        tuple(spread(bins, 0) for bins in edges.bins),
        spread(edges.many, 0),
        spread(first, 0),
        edges.members,
        count,
    )


def listed(edges: Edges) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Yields steps: the state before, the state after, how many, and the bins of each cost."""
    steps = zip(*(bins.tolist() for bins in edges.bins), strict=True)
    yield from zip(
        edges.state.tolist(), edges.after.tolist(), edges.many.tolist(), steps, strict=True
    )
