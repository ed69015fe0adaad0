"""Uniform draws from the paths of cost tables whose total lies in a window.

Costs are whole numbers up to 1e10, so they are counted in bins: every entry of a table is rounded
down to a multiple of the bin's width. A path of binned total b costs from b * width to b * width
plus what rounding may have cut off, which is known. So the paths whose binned total may lie in the
window contain all that truly do. Their number is found from the last level back to the first
(for every state and every binned cost so far, in how many ways it can be completed), and a path is
drawn level by level with these numbers as weights: each path of that larger set is as likely as any
other. A draw that misses the window by its exact cost is thrown away. What is left is uniform over
exactly the paths inside; only the rounding of the weights (a part in 10^13) is not exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Window
from flopwise.spaces.costs import METRICS, CostTables

__all__ = ["Bracket", "PathDraws", "bracket", "every_path"]

Array: TypeAlias = NDArray[Any]

ENTRIES = 16_000_000
"""Most counts that are kept: states times bins, 8 bytes each."""
WORK = 400_000_000
"""Most additions that the counts take: kinds of steps times bins."""
BINS = 50_000
"""Most bins of a window's upper end."""
FEWEST = 64
"""Fewest bins that are worth the work."""
AT_ONCE = 1 << 20
"""Most weights that are looked at in one piece while drawing."""
WHOLE = 2.0**53
"""Up to here floats are exact whole numbers."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """How many paths lie in a window: never fewer than `low`, never more than `high`."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether the number is known to the last digit."""
        return self.low == self.high < WHOLE


@dataclass(frozen=True, slots=True)
class _Edges:
    """The cells of a level that lead to an end that is wanted, those alike taken together."""

    state: Array
    after: Array
    bins: Array
    many: Array


class _Binned:
    """Tables with costs of one metric in bins, for the paths to allowed ends.

    Attributes:
        width: The width of a bin.
        low: The smallest binned total that may lie in the window.
        high: The largest.
        inner: The smallest and largest binned total that surely lie in the window.
        bins: For every level (states, choices), the binned cost.
        useful: For every level (states, choices), whether a wanted end can follow.
    """

    def __init__(self, tables: CostTables, metric: str, window: Window, limit: int) -> None:
        """Takes the tables, a window on one metric, and how many bins there may be at most."""
        self.tables = tables
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

    def _above_least(self, column: int) -> list[Array]:
        """Returns the costs of every level above the least of it; these add up to `least`."""
        self.least, found = 0, []
        for level, useful in zip(self.tables.levels, self.useful, strict=True):
            cost = level.cost[..., column]
            least = int(cost[useful].min()) if useful.any() else 0
            self.least += least
            found.append(np.where(useful, cost - least, 0))
        return found

    def edges(self, at: int) -> _Edges:
        """Returns the kinds of steps of a level that may stay in the window."""
        state, choice = np.nonzero(self.useful[at] & (self.bins[at] <= max(self.high, 0)))
        after, bins = self.tables.levels[at].next[state, choice], self.bins[at][state, choice]
        rows, many = np.unique(np.stack([state, after, bins], axis=1), axis=0, return_counts=True)
        return _Edges(rows[:, 0], rows[:, 1], rows[:, 2], many)


def bracket(tables: CostTables, metric: str, window: Window, bins: int = BINS) -> Bracket:
    """Returns between which numbers the count of paths in a window surely lies."""
    work = sum(level.next.size for level in tables.levels)
    binned = _Binned(tables, metric, window, max(min(bins, WORK // work), FEWEST))
    if binned.high < 0:
        return Bracket(0.0, 0.0)
    top = binned.high + 1
    count = np.zeros((1, top))
    count[0, 0] = 1.0
    for at, level in enumerate(tables.levels):
        after = np.zeros((int(level.next.max()) + 1, top))
        edges = binned.edges(at)
        for state, to, step, many in zip(*map(np.ndarray.tolist, _fields(edges)), strict=True):
            after[to, step:] += many * count[state, : top - step]
        count = after
    ends = count[tables.compiled.allowed[: len(count)]].sum(axis=0)
    first, last = binned.inner
    inside = float(ends[first : last + 1].sum()) if last >= first else 0.0
    return Bracket(inside, float(ends[binned.low :].sum()))


def _fields(edges: _Edges) -> tuple[Array, Array, Array, Array]:
    return edges.state, edges.after, edges.bins, edges.many


class PathDraws:
    """Uniform draws among the paths to allowed ends that may lie in a window of one metric.

    Attributes:
        count: How many paths there are to draw from.
        bins: How many bins the costs are counted in; 1 counts all paths, whatever they cost.
    """

    def __init__(self, tables: CostTables, metric: str = "macs", window: Window | None = None):
        """Counts completions; without a window all allowed paths are drawn from."""
        states = sum(len(level.next) for level in tables.levels) + len(tables.compiled.built)
        work = sum(level.next.size for level in tables.levels)
        limit = min(BINS, ENTRIES // states, WORK // work)
        limited = window is not None and limit >= FEWEST
        self.tables = tables
        self._binned = _Binned(tables, metric, window or Window(), limit if limited else 1)
        self.bins = self._binned.high + 1
        self._counts = self._counted() if self.bins > 0 else []
        self.count = float(self._counts[0][0, 0]) if self.bins > 0 else 0.0
        # a choice that leads nowhere leads to a row of zeros behind the others
        self._next = [
            np.where(useful, level.next, len(count) - 1)
            for level, useful, count in zip(
                tables.levels, self._binned.useful, self._counts[1:], strict=False
            )
        ]

    def _counted(self) -> list[Array]:
        """Returns for every level (states, binned cost so far): the number of completions.

        A last column of zeros stands for all costs above the window, a last row for no state.
        """
        binned, top = self._binned, self._binned.high + 1
        allowed = self.tables.compiled.allowed
        last = np.zeros((len(allowed) + 1, top + 1))
        last[np.flatnonzero(allowed), binned.low : top] = 1.0
        found = [last]
        for at in range(len(self.tables.levels) - 1, -1, -1):
            after, edges = found[0], binned.edges(at)
            before = np.zeros((len(self.tables.levels[at].next) + 1, top + 1))
            for state, to, step, many in zip(*map(np.ndarray.tolist, _fields(edges)), strict=True):
                before[state, : top - step] += many * after[to, step:top]
            found.insert(0, before)
        return found

    @cached_property
    def _even(self) -> list[bool]:
        """For every level, whether all choices cost the same and lead to one state."""
        pairs = zip(self.tables.levels, self._binned.useful, self._binned.bins, strict=True)
        return [
            bool(level.sizes and useful.all() and not bins.any() and not np.ptp(level.next))
            for level, useful, bins in pairs
        ]

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Returns the codes of that many paths, (targets, candidates)."""
        assert self.count > 0, "there is nothing to draw from"
        widest = max(level.next.shape[1] for level in self.tables.levels)
        size = max(AT_ONCE // widest, 1)
        parts = [self._part(rng, min(size, count - at)) for at in range(0, count, size)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0), np.int64)

    def _part(self, rng: np.random.Generator, count: int) -> Array:
        state, spent = np.zeros(count, np.int64), np.zeros(count, np.int64)
        rows: list[Array] = []
        top = self._binned.high + 1
        for at, level in enumerate(self.tables.levels):
            if self._even[at]:
                choice = rng.integers(level.next.shape[1], size=count)
                rows += np.unravel_index(choice, level.sizes)
                state = level.next[state, choice]
                continue
            steps = np.minimum(spent[:, None] + self._binned.bins[at][state], top)
            weights = self._counts[at + 1][self._next[at][state], steps]
            ends = np.cumsum(weights, axis=1)
            found = rng.random(count) * ends[:, -1]
            choice = (ends <= found[:, None]).sum(axis=1)
            # rounding may end one past the last choice of any weight
            choice = np.minimum(choice, level.next.shape[1] - 1 - (weights > 0)[:, ::-1].argmax(1))
            rows += np.unravel_index(choice, level.sizes) if level.sizes else ()
            spent = steps[np.arange(count), choice]
            state = level.next[state, choice]
        return np.stack(rows) if rows else np.zeros((0, count), np.int64)


def every_path(tables: CostTables) -> Array:
    """Returns the codes of every set of picks, (targets, candidates)."""
    state, rows = np.zeros(1, np.int64), list[Array]()
    for level in tables.levels:
        of, choices = np.nonzero(level.told)
        many = np.bincount(of, minlength=len(level.told))
        first = np.concatenate([[0], np.cumsum(many)[:-1]])
        parent = np.repeat(np.arange(len(state)), many[state])
        begin = np.cumsum(many[state]) - many[state]
        choice = choices[first[state[parent]] + np.arange(len(parent)) - begin[parent]]
        rows = [row[parent] for row in rows]
        rows += np.unravel_index(choice, level.sizes) if level.sizes else ()
        state = level.next[state[parent], choice]
    return np.stack(rows) if rows else np.zeros((0, 1), np.int64)
