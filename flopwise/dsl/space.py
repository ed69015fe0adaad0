"""What may vary: domains, windows of a budget, and the targets they address.

A target is an address like any other: a variable by name, or a dotted place. Domains are literals,
so a study means the same thing for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, floor, inf, isclose, log
from typing import TypeAlias

from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.functions import show
from flopwise.errors import Place

__all__ = ["Choice", "Domain", "Final", "Range", "SamplerChoice", "Search", "Window"]

Pickable: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    options: tuple[Pickable, ...]

    def __str__(self) -> str:
        return "{" + ", ".join(_plain(value) for value in self.options) + "}"

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.options)

    def values(self) -> tuple[Pickable, ...]:
        """Returns all values."""
        return self.options

    def contains(self, value: Value) -> bool:
        """Whether a value is one of them."""
        return any(_same(value, option) for option in self.options)


@dataclass(frozen=True, slots=True)
class Range:
    """Every value from `low` to `high`, both included, in steps if it has any.

    Whole numbers unless one of the bounds is written as a decimal; `log` draws orders of magnitude
    evenly.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    def __str__(self) -> str:
        step = f"/{_plain(self.step)}" if self.step is not None else ""
        return f"{_plain(self.low)}..{_plain(self.high)}{step}{' log' if self.log else ''}"

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> float:
        """How many values there are; infinite for decimals without a step."""
        if self.step is None:
            return self.high - self.low + 1 if self.whole else 1 if self.low == self.high else inf
        return round((self.high - self.low) / self.step) + 1

    def values(self) -> tuple[int | float, ...]:
        """Returns all values.

        Raises:
            ValueError: There are infinitely many.
        """
        if self.size == inf:
            raise ValueError(f"{self} has infinitely many values")
        return tuple(self._value(index) for index in range(int(self.size)))

    def contains(self, value: Value) -> bool:
        """Whether a value lies on the grid, up to rounding."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        slack = 0 if self.whole else 1e-9 * max(abs(self.low), abs(self.high))
        inside = self.low - slack <= value <= self.high + slack
        if not inside or (self.whole and not isinstance(value, int)):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return isclose(steps, round(steps), abs_tol=1e-9)

    def _value(self, index: int) -> int | float:
        if self.whole:
            return int(self.low) + index * int(self.step or 1)
        value = float(self.low) + index * float(self.step or 0)
        return round(value, 12 - ceil(log(max(abs(self.high), 1), 10)))


Domain: TypeAlias = Choice | Range


@dataclass(frozen=True, slots=True)
class Window:
    """An inclusive range of one metric; None is open."""

    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"<= {self.high}" if self.low is None else f">= {self.low}"
        return f"{self.low}..{self.high}"

    def contains(self, value: int) -> bool:
        """Whether a value lies inside."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    @staticmethod
    def around(target: float, within: float) -> Window:
        """Returns the window of a target and a share of it to both sides."""
        return Window(ceil(target * (1 - within)), floor(target * (1 + within)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerChoice:
    """Who proposes candidates, and its seed."""

    kind: str = "tpe"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The last step: the best are trained again and judged on the test split.

    Attributes:
        top: How many of the best.
        seeds: Trainings of each, with seeds the search has not seen.
        epochs: Epochs of each; None is as many as the recipe says.
    """

    top: int = 1
    seeds: int = 3
    epochs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The `search` section.

    Attributes:
        space: Target -> domain.
        budget: Metric -> window; usually one, one study each if there are several.
        require: Expressions that must be true of a candidate.
        objective: `maximize` or `minimize`, and the score.
        trials: How many candidates are trained.
        sampler: Who proposes them.
        final: How the best are judged.
        place: Where the budget is written.
    """

    space: Mapping[str, Domain]
    budget: tuple[Mapping[str, Window], ...] = ()
    require: tuple[Expression, ...] = ()
    objective: tuple[str, str] = ("maximize", "top1")
    trials: int = 100
    sampler: SamplerChoice = SamplerChoice()
    final: Final = Final()
    place: Place | None = field(default=None, repr=False, compare=False)

    def misses(self, costs: Mapping[str, int], budget: int = 0) -> Iterator[str]:
        """Yields why costs miss a budget, one sentence per metric."""
        for metric, window in self.budget[budget].items() if self.budget else ():
            if not window.contains(costs[metric]):
                yield f"{metric} {costs[metric]} misses {window}"


def _same(a: Value, b: Value) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _plain(value: Value) -> str:
    return value if isinstance(value, str) else show(value)
