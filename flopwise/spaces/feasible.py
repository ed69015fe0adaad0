"""The feasible part of a space: how large it is, what it costs, and uniform draws from it.

Three ways, each exact. A small space is listed. In a larger one the paths that may lie in one
window, or in two, are counted and drawn from (see `draws.py`), and what misses a window, or a
requirement that no table holds, is thrown away. Without any window all paths are drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import inf, isfinite, prod, sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Dice, Spec, Value, Window
from flopwise.dsl.fitting import Look, solve
from flopwise.dsl.probe import impossible
from flopwise.dsl.space import Search
from flopwise.errors import Fault, SpecError
from flopwise.spaces.costs import METRICS, CostTables, cost_tables
from flopwise.spaces.draws import BINS, Bracket, PathDraws, bracket, every_path
from flopwise.spaces.levels import Tell
from flopwise.spaces.shares import Sample, Share

__all__ = ["FeasibleSpace", "feasible_space"]

Array: TypeAlias = NDArray[Any]
Picks: TypeAlias = Mapping[str, Value]

LISTED = 200_000
"""Spaces of at most so many sets of picks are listed."""
JUDGED = 20_000
"""Most listed candidates that are judged one by one, where a requirement or a fit asks for it."""
COARSE = 512
"""Bins in which windows are compared, to draw inside the one that leaves least."""
ENOUGH = 0.25
"""Share of draws inside one window that must meet another, or both are counted at once."""
PIECE = 4096
"""Paths that are drawn at once, where more than a few are wanted."""
TRIES = 1_000_000
"""Most paths that are drawn in search of feasible ones."""


def feasible_space(spec: Spec, budget: int = 0, tell: Tell | None = None) -> FeasibleSpace:
    """Returns the feasible part of a spec's space under one of its budgets.

    Args:
        spec: A spec with a search section.
        budget: Which of its budgets.
        tell: Told how far the tables are, where they take long.

    Raises:
        Unsteady: The space cannot be compiled to tables; it says why.
    """
    assert spec.search, "there is a space"
    return FeasibleSpace(cost_tables(spec, tell), spec.search, budget)


class FeasibleSpace:
    """What of a space meets one budget and all requirements.

    Attributes:
        tables: The cost tables of the space.
        windows: Metric -> what it may be, from the budget, the fit, and requirements.
    """

    def __init__(
        self, tables: CostTables, search: Search, budget: int = 0, *, most: int = LISTED
    ) -> None:
        """Takes the tables of a space, its search section, and which budget.

        A space of at most `most` sets of picks is listed.
        """
        self.tables, self.search, self.most, self.budget = tables, search, most, budget
        self.windows = _joined([*search.windows(budget), *tables.route.windows])
        self.free = tables.compiled.free
        late = tables.compiled.late or tables.route.others
        self.judged = bool(late or search.fit)

    @property
    def method(self) -> str:
        """How candidates are drawn: `listed`, `counted` in bins, or `thrown` away if they miss."""
        if self.listed is not None:
            return "listed"
        return "counted" if self._draws.bins > 1 or not self.windows else "thrown"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The costs whose windows draws are made in; what misses another is thrown away."""
        counted = self.listed is None and self._draws.bins > 1
        return self._draws.metrics if counted else ()

    @property
    def order(self) -> tuple[str, ...]:
        """The targets that tables hold, in the order of the space."""
        return tuple(name for name in self.tables.route.domains if name not in self.free)

    @cached_property
    def size(self) -> float:
        """How many sets of picks there are, those that cannot be built included."""
        return inf if any(not isfinite(d.size) for d in self.free.values()) else self.counted

    @cached_property
    def counted(self) -> float:
        """The size without targets that have endlessly many values."""
        solved = len(self.search.fit.values()) if self.search.fit else 1
        known = prod(int(d.size) for n, d in self.free.items() if isfinite(d.size))
        return self.tables.size // solved * known

    def inside(self, costs: Array) -> Array:
        """Returns which candidates lie in all windows, by their costs (metrics, candidates)."""
        found = np.ones(costs.shape[1], np.bool_)
        for metric, window in self.windows.items():
            found &= _within(window, costs[METRICS.index(metric)])
        return found

    def feasible(self, codes: Array) -> tuple[Array, Array]:
        """Returns which candidates are feasible, and what all of them cost."""
        found = self.tables.batch(codes)
        good = found.allowed & self.inside(found.costs)
        if self.judged:
            at = np.flatnonzero(good)
            picks = self.tables.decode(codes[:, at])
            good[at] = [self._whole(each) for each in picks]
        return good, found.costs

    def draw(self, rng: np.random.Generator, count: int, tries: int = TRIES) -> Sample:
        """Draws candidates, each feasible one as likely as any other.

        Args:
            rng: Where random numbers come from.
            count: How many; fewer come back when `tries` does not suffice.
            tries: Most paths that are drawn.
        """
        if self.listed is not None:
            many = self.listed.codes.shape[1]
            at = rng.integers(many, size=count if many else 0)
            return Sample(
                codes=self.listed.codes[:, at],
                costs=self.listed.costs[:, at],
                whole=False,
                drawn=count,
            )
        codes, costs = [np.zeros((len(self.tables.targets), 0), np.int64)], []
        found = drawn = 0
        while found < count and drawn < tries and self._draws.count:
            rate = (found + 1) / (drawn + 1)
            piece = min(PIECE, 16 + int(1.1 * (count - found) / rate))
            paths = self._draws.draw(rng, piece)
            good, cost = self.feasible(paths)
            codes.append(paths[:, good])
            costs.append(cost[:, good])
            found, drawn = found + int(good.sum()), drawn + piece
        every = np.concatenate([np.zeros((len(METRICS), 0), np.int64), *costs], axis=1)
        return Sample(
            codes=np.concatenate(codes, axis=1)[:, :count],
            costs=every[:, :count],
            whole=False,
            drawn=drawn,
        )

    def picks(self, codes: Array, rng: np.random.Generator) -> list[dict[str, Value]]:
        """Returns candidates as picks; targets without end are drawn by their domains."""
        found = self.tables.decode(codes)
        dice = Dice(lambda n: int(rng.integers(n)), lambda a, b: float(rng.uniform(a, b)))
        for each in found if self.free else ():
            for name, domain in self.free.items():
                if self.tables.route.counts(name, each):
                    each[name] = domain.draw(dice)
        return found

    def share(self, draws: int = 20_000, seed: int = 0) -> Share:
        """Returns how much of the space is feasible, exactly or between bounds."""
        if self.listed is not None:
            count = float(self.listed.codes.shape[1])
            return Share(size=self.size, of=self.counted, low=count, high=count, estimate=count)
        bounds = self._bounds()
        if bounds.exact:
            low = bounds.low
            return Share(size=self.size, of=self.counted, low=low, high=low, estimate=low)
        good = 0
        if self._draws.count:
            paths = self._draws.draw(np.random.default_rng(seed), draws)
            good = int(self.feasible(paths)[0].sum())
        rate = good / draws
        error = self._draws.count * sqrt(rate * (1 - rate) / draws)
        if not good and self._draws.count:  # 95 % of such samples hold one of 3 in `draws`
            error = self._draws.count * 3 / draws
        return Share(
            size=self.size,
            of=self.counted,
            low=bounds.low,
            high=bounds.high,
            estimate=self._draws.count * rate,
            error=error,
            drawn=draws,
        )

    def impossible(self) -> Fault:
        """Tells that nothing is feasible (E501), with the true ends of every cost."""
        ranges = self.tables.ranges
        spans = ", ".join(
            f"{metric} from {low} to {high}" for metric, (low, high) in ranges.items()
        )
        many = f"all {self.tables.buildable:,} networks of the space were counted"
        return impossible(self.search, self.budget, ranges, [f"{many}: {spans or 'none'}"])

    def sample(self, count: int = 10_000, seed: int = 0, tries: int = 200_000) -> Sample:
        """Returns all feasible candidates where these are listed, else uniform draws."""
        if self.listed is not None:
            return self.listed
        return self.draw(np.random.default_rng(seed), count, tries)

    def _bounds(self) -> Bracket:
        found = [bracket(self.tables, m, w, BINS) for m, w in self.windows.items()]
        high = min([each.high for each in found] or [float(self.tables.allowed)])
        high = min(high, self.counted, self._draws.count if len(found) > 1 else high)
        if self.judged or len(found) > 1:
            return Bracket(0.0, high)
        return found[0] if found else Bracket(high, high)

    @cached_property
    def listed(self) -> Sample | None:
        """All feasible candidates of a small space."""
        if self.tables.size > self.most:
            return None
        codes = every_path(self.tables)
        batch = self.tables.batch(codes)
        good = batch.allowed & self.inside(batch.costs)
        if self.judged and good.sum() > JUDGED:
            return None
        codes, costs = codes[:, good], batch.costs[:, good]
        if self.judged:
            good, costs = self.feasible(codes)
            codes, costs = codes[:, good], costs[:, good]
        return Sample(codes=codes, costs=costs, whole=True, drawn=0)

    @cached_property
    def _draws(self) -> PathDraws:
        """Draws inside the window that leaves the fewest paths, and another that few of them meet.

        Both are counted at once where that leaves fewer than half as many paths to draw from.
        """
        bounds = {m: bracket(self.tables, m, w, COARSE).high for m, w in self.windows.items()}
        caps = {m: None in (w.low, w.high) for m, w in self.windows.items()}
        # a cap comes second: how many bins it needs is seen from draws that do not know it
        order = [(m, self.windows[m]) for m in sorted(bounds, key=lambda m: (caps[m], bounds[m]))]
        one = PathDraws(self.tables, *order[:1])
        if len(order) < 2 or not one.count:
            return one
        costs = self.tables.batch(one.draw(np.random.default_rng(0), PIECE)).costs
        kept = {m: _within(w, costs[METRICS.index(m)]).mean() for m, w in order[1:]}
        second = min(kept, key=kept.__getitem__)
        if kept[second] > ENOUGH:
            return one
        both = order[0][0], second
        met = [costs[0, :0], costs[METRICS.index(second)]]  # all of these meet the first
        two = PathDraws(self.tables, *[(m, self.windows[m]) for m in both], met=met)
        return two if two.count < one.count / 2 else one

    def _whole(self, picks: Picks) -> bool:
        """Whether picks meet what no table holds, and have what a fit solves."""
        if not self._meets(picks):
            return False
        fit = self.search.fit
        if fit is None:
            return True
        found = solve(fit, lambda value: self._look({**picks, fit.vary: value}))
        return found is not None and found.picks[fit.vary] == picks[fit.vary]

    def _meets(self, picks: Picks) -> bool:
        costs = self.tables.costs(picks)
        assert costs, "only networks are judged"
        try:
            checks = all(check.met(picks) for check in self.tables.compiled.late)
            return checks and self.tables.route.met(picks, costs)
        except SpecError:
            return False

    def _look(self, picks: Picks) -> Look | None:
        """Returns what a fit needs to know of one value."""
        costs, allowed = self.tables.look(picks)
        if costs is None:
            return None
        good = allowed and all(w.contains(costs[m]) for m, w in self.windows.items())
        reasons = () if good and self._meets(picks) else ("outside",)
        return Look(picks=picks, costs=costs, reasons=reasons)


def _within(window: Window, values: Array) -> Array:
    """Returns which of some numbers lie in a window."""
    found = np.ones(values.shape, np.bool_)
    found &= values >= window.low if window.low is not None else True
    found &= values <= window.high if window.high is not None else True
    return found


def _joined(windows: Sequence[tuple[str, Window]]) -> dict[str, Window]:
    """Returns one window for each metric, what lies in all of its windows."""
    found: dict[str, Window] = {}
    for metric, window in windows:
        other = found.get(metric, Window())
        lows = [w.low for w in (window, other) if w.low is not None]
        highs = [w.high for w in (window, other) if w.high is not None]
        low, high = max(lows, default=None), min(highs, default=None)
        found[metric] = Window(low, high)
    return {m: w for m, w in found.items() if w.low is not None or w.high is not None}
