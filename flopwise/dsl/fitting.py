"""`fit`: one whole number solved for a cost instead of being sampled.

Costs nearly always grow with a width, so the value is found by halving. Where the numbers on the
way contradict that, every value is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeAlias

from flopwise.dsl.expr import Value
from flopwise.dsl.space import Fit

__all__ = ["MOST", "Look", "monotone", "solve"]

MOST = 100_000
"""Most values that a fit chooses from."""

SAMPLE = 64
"""Values whose costs are compared to see whether they only grow, or only fall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What arithmetic says about one candidate: its picks, costs, and why it is refused."""

    picks: Mapping[str, Value]
    costs: Mapping[str, int]
    reasons: Sequence[str]


LookAt: TypeAlias = Callable[[int], Look | None]


def solve(fit: Fit, look: LookAt) -> Look | None:
    """Returns the candidate nearest to the goal, of those that may be trained if there are any.

    Args:
        fit: What is solved.
        look: What arithmetic says about one value; None where it makes no network.

    Returns:
        The candidate; None where no value makes a network.
    """
    return _Solver(fit, look).best()


def monotone(fit: Fit, look: LookAt) -> bool:
    """Whether the cost only grows, or only falls, over (a sample of) the values."""
    values = fit.values()
    step = -(-len(values) // SAMPLE)
    seen = [found.costs[fit.metric] for value in values[::step] if (found := look(value))]
    return _one_way(seen)


class _Solver:
    """One solution; remembers what it has looked at."""

    def __init__(self, fit: Fit, look: LookAt) -> None:
        self.fit, self.look, self.values = fit, look, fit.values()
        self.seen: dict[int, Look | None] = {}

    def best(self) -> Look | None:
        edges = self._halved()
        if edges is None:
            return None
        if _one_way([self._cost(at) for at in sorted(self.seen) if self.seen[at]]):
            order = self._outward(*edges)
        else:
            order = self._by_distance(range(len(self.values)))
        good = next((at for at in order if not self._known(at).reasons), None)
        if good is None:
            good = next(self._by_distance(sorted(self.seen)))
        return self._known(good)

    def _halved(self) -> tuple[int, int] | None:
        """Returns two neighbours among the values that make networks, the goal between them."""
        last = len(self.values) - 1
        low, high = self._first(range(last + 1)), self._first(range(last, -1, -1))
        if low is None or high is None:
            return None
        grows = self._cost(low) <= self._cost(high)
        while high - low > 1:
            middle = (low + high) // 2
            at = self._first(chain(range(middle, high), range(middle - 1, low, -1)))
            if at is None:
                break
            if (self._cost(at) < self.fit.goal) == grows:
                low = at
            else:
                high = at
        return low, high

    def _outward(self, low: int, high: int) -> Iterator[int]:
        """Yields what may lie in the window, from the goal outwards, nearest first."""
        sides = [self._side(range(low, -1, -1)), self._side(range(high, len(self.values)))]
        if low == high:
            sides.pop()
        heads = [next(side, None) for side in sides]
        while any(head is not None for head in heads):
            distance = [float("inf") if at is None else self._distance(at) for at in heads]
            nearest = distance.index(min(distance))
            at = heads[nearest]
            assert at is not None, "an empty side is infinitely far"
            yield at
            heads[nearest] = next(sides[nearest], None)

    def _side(self, order: Iterable[int]) -> Iterator[int]:
        for at in order:
            if self._at(at) is not None:
                if not self.fit.window.contains(self._cost(at)):
                    return
                yield at

    def _by_distance(self, order: Iterable[int]) -> Iterator[int]:
        yield from sorted((at for at in order if self._at(at)), key=self._distance)

    def _first(self, order: Iterable[int]) -> int | None:
        return next((at for at in order if self._at(at) is not None), None)

    def _at(self, at: int) -> Look | None:
        if at not in self.seen:
            self.seen[at] = self.look(self.values[at])
        return self.seen[at]

    def _known(self, at: int) -> Look:
        found = self._at(at)
        assert found is not None, "only values that make a network are asked for"
        return found

    def _cost(self, at: int) -> int:
        return self._known(at).costs[self.fit.metric]

    def _distance(self, at: int) -> float:
        return abs(self._cost(at) - self.fit.goal)


def _one_way(costs: Sequence[int]) -> bool:
    steps = [b - a for a, b in pairwise(costs)]
    return all(step >= 0 for step in steps) or all(step <= 0 for step in steps)
