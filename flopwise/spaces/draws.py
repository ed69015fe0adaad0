"""Uniform draws from the paths of cost tables whose totals lie in one window, or in two.

Costs are whole numbers up to 1e10, so they are counted in bins: every entry of a table is rounded
down to a multiple of the bin's width. A path of binned total b costs from b * width to b * width
plus what rounding may have cut off, which is known. So the paths whose binned total may lie in the
window contain all that truly do. Their number is found from the last level back to the first
(for every state and every binned cost so far, in how many ways it can be completed), and a path is
drawn level by level with these numbers as weights: each path of that larger set is as likely as any
other. A draw that misses the window by its exact cost is thrown away. What is left is uniform over
exactly the paths inside; only the rounding of the weights (a part in 10^13) is not exact.

Two windows are counted in bins of both costs at once: fewer of each, so more draws miss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod
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
PLANE = 2_000_000_000
"""Most additions where two costs are counted at once."""
BINS = 50_000
"""Most bins of a window's upper end."""
FEWEST = 64
"""Fewest bins that are worth the work."""
FEW = 16
"""Fewest bins of one of two costs."""
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
    bins: tuple[Array, ...]
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
        kept: About which part of what is counted lies in the window.
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
        counted = (self.high - self.low + 1) * self.width
        self.kept = (high - low + 1) / counted if counted > 0 else 0.0

    def _above_least(self, column: int) -> list[Array]:
        """Returns the costs of every level above the least of it; these add up to `least`."""
        self.least, found = 0, []
        for level, useful in zip(self.tables.levels, self.useful, strict=True):
            cost = level.cost[..., column]
            least = int(cost[useful].min()) if useful.any() else 0
            self.least += least
            found.append(np.where(useful, cost - least, 0))
        return found


def _edges(axes: Sequence[_Binned], at: int) -> _Edges:
    """Returns the kinds of steps of a level that may stay in all windows."""
    useful = axes[0].useful[at]
    for axis in axes:
        useful = useful & (axis.bins[at] <= max(axis.high, 0))
    state, choice = np.nonzero(useful)
    after = axes[0].tables.levels[at].next[state, choice]
    columns = [state, after, *(axis.bins[at][state, choice] for axis in axes)]
    rows, many = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    return _Edges(rows[:, 0], rows[:, 1], tuple(rows[:, 2:].T), many)


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
        for state, to, many, (step,) in _listed(_edges([binned], at)):
            after[to, step:] += many * count[state, : top - step]
        count = after
    ends = count[tables.compiled.allowed[: len(count)]].sum(axis=0)
    first, last = binned.inner
    inside = float(ends[first : last + 1].sum()) if last >= first else 0.0
    return Bracket(inside, float(ends[binned.low :].sum()))


def _listed(edges: _Edges) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Yields steps: the state before, the state after, how many, and the bins of each cost."""
    steps = zip(*(bins.tolist() for bins in edges.bins), strict=True)
    yield from zip(
        edges.state.tolist(), edges.after.tolist(), edges.many.tolist(), steps, strict=True
    )


def _axes(tables: CostTables, windows: Sequence[tuple[str, Window]]) -> list[_Binned]:
    """Returns the costs that are counted in bins, and how many there are of each.

    Of two costs the numbers of bins are those with which the fewest draws miss.
    """
    states = sum(len(level.next) for level in tables.levels) + len(tables.compiled.built)
    work = sum(level.next.size for level in tables.levels)
    limit = min(BINS, ENTRIES // states, WORK // work)
    if not windows or limit < FEWEST:
        return [_Binned(tables, *(windows or [("macs", Window())])[0], 1)]
    if len(windows) == 1:
        return [_Binned(tables, *windows[0], limit)]
    cells, splits = min(ENTRIES // states, PLANE // work), list[list[_Binned]]()
    first = FEW
    while first * FEW <= cells:
        bins = first, cells // first
        splits.append([_Binned(tables, *w, b) for w, b in zip(windows, bins, strict=True)])
        first = first * 3 // 2
    alone = [_Binned(tables, *windows[0], limit)]
    return max(splits, key=lambda pair: prod(axis.kept for axis in pair), default=alone)


class PathDraws:
    """Uniform draws among the paths to allowed ends that may lie in windows of one cost or two.

    Attributes:
        count: How many paths there are to draw from.
        metrics: The costs that are counted in bins.
        bins: How many bins these are; 1 counts all paths, whatever they cost.
    """

    def __init__(self, tables: CostTables, *windows: tuple[str, Window]) -> None:
        """Counts completions; without a window all allowed paths are drawn from.

        Args:
            tables: The cost tables.
            windows: At most two metrics and what each may be.
        """
        self.tables = tables
        self._binned = _axes(tables, windows)
        self.metrics = tuple(axis.metric for axis in self._binned) if windows else ()
        self._tops = tuple(axis.high + 1 for axis in self._binned)
        self.bins = prod(self._tops) if min(self._tops) > 0 else 0
        self._counts = self._counted() if self.bins > 0 else []
        self.count = float(self._counts[0].flat[0]) if self.bins > 0 else 0.0
        # a choice that leads nowhere leads to a row of zeros behind the others
        self._next = [
            np.where(useful, level.next, len(count) - 1)
            for level, useful, count in zip(
                tables.levels,
                self._binned[0].useful,
                self._counts[1:],
                strict=False,
            )
        ]

    def _counted(self) -> list[Array]:
        """Returns for every level (states, binned costs so far): the number of completions.

        A last place of zeros stands for all costs above the window, a last row for no state.
        """
        allowed = np.flatnonzero(self.tables.compiled.allowed)
        past = tuple(top + 1 for top in self._tops)
        last = np.zeros((len(self.tables.compiled.allowed) + 1, *past))
        window = tuple(slice(axis.low, axis.high + 1) for axis in self._binned)
        inside: Any = (allowed, *window)
        last[inside] = 1.0
        found = [last]
        for at in range(len(self.tables.levels) - 1, -1, -1):
            after = found[0]
            before = np.zeros((len(self.tables.levels[at].next) + 1, *past))
            for state, to, many, steps in _listed(_edges(self._binned, at)):
                pairs = list(zip(steps, self._tops, strict=True))
                here: Any = (state, *(slice(0, top - step) for step, top in pairs))
                there: Any = (to, *(slice(step, top) for step, top in pairs))
                before[here] += many * after[there]
            found.insert(0, before)
        return found

    @cached_property
    def _even(self) -> list[bool]:
        """For every level, whether all choices cost the same and lead to one state."""
        return [
            bool(level.sizes and self._binned[0].useful[at].all() and not np.ptp(level.next))
            and not any(axis.bins[at].any() for axis in self._binned)
            for at, level in enumerate(self.tables.levels)
        ]

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Returns the codes of that many paths, (targets, candidates)."""
        assert self.count > 0, "there is nothing to draw from"
        widest = max(level.next.shape[1] for level in self.tables.levels)
        size = max(AT_ONCE // widest, 1)
        parts = [self._part(rng, min(size, count - at)) for at in range(0, count, size)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0), np.int64)

    def _part(self, rng: np.random.Generator, count: int) -> Array:
        state = np.zeros(count, np.int64)
        spent = [np.zeros(count, np.int64) for _ in self._binned]
        rows: list[Array] = []
        for at, level in enumerate(self.tables.levels):
            if self._even[at]:
                choice = rng.integers(level.next.shape[1], size=count)
                rows += np.unravel_index(choice, level.sizes)
                state = level.next[state, choice]
                continue
            steps = [
                np.minimum(so_far[:, None] + axis.bins[at][state], top)
                for so_far, axis, top in zip(spent, self._binned, self._tops, strict=True)
            ]
            weights = self._counts[at + 1][(self._next[at][state], *steps)]
            ends = np.cumsum(weights, axis=1)
            found = rng.random(count) * ends[:, -1]
            choice = (ends <= found[:, None]).sum(axis=1)
            # rounding may end one past the last choice of any weight
            choice = np.minimum(choice, level.next.shape[1] - 1 - (weights > 0)[:, ::-1].argmax(1))
            rows += np.unravel_index(choice, level.sizes) if level.sizes else ()
            spent = [step[np.arange(count), choice] for step in steps]
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
