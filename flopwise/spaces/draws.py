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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Window
from flopwise.spaces.bins import Binned, Edges, edges_of, kinds_of, listed
from flopwise.spaces.costs import CostTables

__all__ = ["Bracket", "PathDraws", "bracket", "every_path"]

Array: TypeAlias = NDArray[Any]

ENTRIES = 16_000_000
"""Most counts that are kept: states times bins, 8 bytes each."""
WORK = 400_000_000
"""Most additions that the counts take: kinds of steps times bins."""
PLANE_ENTRIES, PLANE = 32_000_000, 4_000_000_000
"""The same where two costs are counted at once."""
BINS = 50_000
"""Most bins of a window's upper end."""
FEWEST = 64
"""Fewest bins that are worth the work."""
FEW = 16
"""Fewest bins of one of two costs."""
AT_ONCE = 1 << 20
"""Most weights that are looked at in one piece while drawing."""
PARTS = 6
"""How many parts paths are drawn in, by the number of choices that their states leave."""
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


def bracket(tables: CostTables, metric: str, window: Window, bins: int = BINS) -> Bracket:
    """Returns between which numbers the count of paths in a window surely lies."""
    work = sum(level.next.size for level in tables.levels)
    binned = Binned(tables, metric, window, max(min(bins, WORK // work), FEWEST))
    if binned.high < 0:
        return Bracket(0.0, 0.0)
    top = binned.high + 1
    count = np.zeros((1, top))
    count[0, 0] = 1.0
    for at, level in enumerate(tables.levels):
        after = np.zeros((int(level.next.max()) + 1, top))
        for state, to, many, (step,) in listed(edges_of([binned], at)):
            after[to, step:] += many * count[state, : top - step]
        count = after
    ends = count[tables.compiled.allowed[: len(count)]].sum(axis=0)
    first, last = binned.inner
    inside = float(ends[first : last + 1].sum()) if last >= first else 0.0
    return Bracket(inside, float(ends[binned.low :].sum()))


def _axes(
    tables: CostTables, windows: Sequence[tuple[str, Window]], met: Sequence[Array]
) -> list[Binned]:
    """Returns the costs that are counted in bins, and how many there are of each.

    Of two costs the numbers of bins are those with which the fewest draws miss.
    """
    states = sum(len(level.next) for level in tables.levels) + len(tables.compiled.built)
    work = sum(level.next.size for level in tables.levels)
    limit = min(BINS, ENTRIES // states, WORK // work)
    if not windows or limit < FEWEST:
        return [Binned(tables, *(windows or [("macs", Window())])[0], 1)]
    if len(windows) == 1:
        return [Binned(tables, *windows[0], limit)]
    cells, splits = min(PLANE_ENTRIES // states, PLANE // work), list[list[Binned]]()
    first = FEW
    while first * FEW <= cells:
        bins = first, cells // first
        splits.append([Binned(tables, *w, b) for w, b in zip(windows, bins, strict=True)])
        first = first * 3 // 2
    alone = [Binned(tables, *windows[0], limit)]

    def kept(pair: Sequence[Binned]) -> float:
        return prod(axis.kept(costs) for axis, costs in zip(pair, met, strict=True))

    return max(splits, key=kept, default=alone)


class PathDraws:
    """Uniform draws among the paths to allowed ends that may lie in windows of one cost or two.

    Attributes:
        count: How many paths there are to draw from.
        metrics: The costs that are counted in bins.
        bins: How many bins these are; 1 counts all paths, whatever they cost.
    """

    def __init__(
        self, tables: CostTables, *windows: tuple[str, Window], met: Sequence[Array] = ()
    ) -> None:
        """Counts completions; without a window all allowed paths are drawn from.

        Args:
            tables: The cost tables.
            windows: At most two metrics and what each may be.
            met: For each window what some candidates cost that were drawn without it, or none.
        """
        self.tables = tables
        none = [np.zeros(0, np.int64)] * len(windows)
        self._binned = _axes(tables, windows, met or none)
        self.metrics = tuple(axis.metric for axis in self._binned) if windows else ()
        self._tops = tuple(axis.high + 1 for axis in self._binned)
        self._known: dict[int, Edges] = {}
        self.bins = prod(self._tops) if min(self._tops) > 0 else 0
        self._counts = self._counted() if self.bins > 0 else []
        self.count = float(self._counts[0].flat[0]) if self.bins > 0 else 0.0
        # a step that is none leads to a row of zeros behind the others
        self._kinds = [
            kinds_of(self._edges(at), len(level.next), len(count) - 1)
            for at, (level, count) in enumerate(zip(tables.levels, self._counts[1:], strict=False))
        ]

    def _edges(self, at: int) -> Edges:
        if at not in self._known:
            self._known[at] = edges_of(self._binned, at)
        return self._known[at]

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
            for state, to, many, steps in listed(self._edges(at)):
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
        widest = max(kinds.many.shape[1] for kinds in self._kinds)
        size = max(AT_ONCE // widest, 1)
        parts = [self._part(rng, min(size, count - at)) for at in range(0, count, size)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0), np.int64)

    def _part(self, rng: np.random.Generator, count: int) -> Array:
        state = np.zeros(count, np.int64)
        spent = np.zeros((len(self._binned), count), np.int64)
        rows: list[Array] = []
        for at, level in enumerate(self.tables.levels):
            if self._even[at]:
                choice = rng.integers(level.next.shape[1], size=count)
            else:
                choice = np.empty(count, np.int64)
                for some in self._alike(at, state):
                    found = self._step(rng, at, state[some], spent[:, some])
                    choice[some], spent[:, some] = found
            rows += np.unravel_index(choice, level.sizes) if level.sizes else ()
            state = level.next[state, choice]
        return np.stack(rows) if rows else np.zeros((0, count), np.int64)

    def _alike(self, at: int, state: Array) -> list[Array]:
        """Returns the paths in a few parts of about as many kinds of steps each."""
        kinds = self._kinds[at].known[state]
        return np.array_split(np.argsort(kinds), PARTS if np.ptp(kinds) else 1)

    def _step(
        self, rng: np.random.Generator, at: int, state: Array, spent: Array
    ) -> tuple[Array, Array]:
        """Returns the choices of some paths at a level, and what they have spent after it."""
        kinds, each = self._kinds[at], np.arange(len(state))
        wide = int(kinds.known[state].max(initial=1))
        steps = [
            np.minimum(so_far[:, None] + bins[state, :wide], top)
            for so_far, bins, top in zip(spent, kinds.bins, self._tops, strict=True)
        ]
        many = kinds.many[state, :wide]
        weights = self._counts[at + 1][(kinds.after[state, :wide], *steps)] * many
        ends = np.cumsum(weights, axis=1)
        found = rng.random(len(state)) * ends[:, -1]
        kind = (ends <= found[:, None]).sum(axis=1)
        # rounding may end one past the last kind of any weight
        kind = np.minimum(kind, wide - 1 - (weights > 0)[:, ::-1].argmax(1))
        one = (rng.random(len(state)) * many[each, kind]).astype(np.int64)
        choice = kinds.members[kinds.first[state, kind] + one]
        return choice, np.stack([step[each, kind] for step in steps])


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
