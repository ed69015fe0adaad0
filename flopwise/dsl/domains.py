"""The values one target may take: one of several, a range, some of a set, an order.

A domain is made of literals, so a study means the same thing for ever. It says how many values it
has, lists them, draws one evenly, and tells whether a value is one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import ceil, comb, exp, factorial, inf, isclose, isfinite, log
from typing import TypeAlias

from flopwise.dsl.expr import Value
from flopwise.dsl.functions import show

__all__ = ["Choice", "Dice", "Domain", "Permutation", "Range", "Subset", "spell"]

Scalar: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Dice:
    """Where random numbers come from: a whole number below `n`, a number between two others."""

    below: Callable[[int], int]
    between: Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    options: tuple[Value, ...]

    def __str__(self) -> str:
        return "{" + ", ".join(spell(value) for value in self.options) + "}"

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.options)

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return all(isinstance(v, int) and not isinstance(v, bool) for v in self.options)

    def values(self) -> tuple[Value, ...]:
        """Returns all values."""
        return self.options

    def contains(self, value: Value) -> bool:
        """Whether a value is one of them."""
        return any(_same(value, option) for option in self.options)

    def draw(self, dice: Dice) -> Value:
        """Draws one, each as likely as the others."""
        return self.options[dice.below(len(self.options))]

    def ends(self) -> tuple[Value, Value]:
        """Returns the smallest and the largest; the first and the last where there is no order."""
        numbers = [v for v in self.options if isinstance(v, int | float)]
        if len(numbers) == len(self.options):
            return min(numbers), max(numbers)
        return self.options[0], self.options[-1]


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
        step = f"/{spell(self.step)}" if self.step is not None else ""
        return f"{spell(self.low)}..{spell(self.high)}{step}{' log' if self.log else ''}"

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

    def draw(self, dice: Dice) -> int | float:
        """Draws one evenly; on a logarithmic scale, evenly in the logarithm."""
        if self.log or not isfinite(self.size):
            low, high = (log(v) if self.log else v for v in (self.low, self.high))
            value = dice.between(low, high)
            value = min(max(exp(value) if self.log else value, self.low), self.high)
            return round(value) if self.whole else value
        return self._value(dice.below(int(self.size)))

    def ends(self) -> tuple[int | float, int | float]:
        """Returns the smallest and the largest."""
        return self.low, self.high

    def _value(self, index: int) -> int | float:
        if self.whole:
            return int(self.low) + index * int(self.step or 1)
        value = float(self.low) + index * float(self.step or 0)
        return round(value, 12 - ceil(log(max(abs(self.high), 1), 10)))


@dataclass(frozen=True, slots=True)
class Subset:
    """From `least` to `most` of these elements, in the order they are written; a list."""

    elements: tuple[Scalar, ...]
    least: int
    most: int

    def __str__(self) -> str:
        inner = ", ".join(spell(value) for value in self.elements)
        return f"{self.least}..{self.most} of {{{inner}}}"

    @property
    def size(self) -> float:
        """How many lists there are."""
        return sum(self._counts())

    def values(self) -> tuple[Value, ...]:
        """Returns all lists, the short ones first."""
        return tuple(self._all())

    def contains(self, value: Value) -> bool:
        """Whether a value is a list of these elements, in their order and of a length allowed."""
        if not isinstance(value, tuple) or not self.least <= len(value) <= self.most:
            return False
        rest = iter(self.elements)
        return all(any(_same(each, element) for element in rest) for each in value)

    def draw(self, dice: Dice) -> Value:
        """Draws a list, each as likely as the others."""
        at, length = dice.below(int(self.size)), self.least
        for count in self._counts():
            if at < count:
                break
            at, length = at - count, length + 1
        left = list(range(len(self.elements)))
        chosen = sorted(left.pop(dice.below(len(left))) for _ in range(length))
        return tuple(self.elements[index] for index in chosen)

    def ends(self) -> tuple[Value, Value]:
        """Returns a shortest and a longest list."""
        return self.elements[: self.least], self.elements[: self.most]

    def _counts(self) -> list[int]:
        return [comb(len(self.elements), k) for k in range(self.least, self.most + 1)]

    def _all(self) -> Iterator[Value]:
        for length in range(self.least, self.most + 1):
            yield from combinations(self.elements, length)


@dataclass(frozen=True, slots=True)
class Permutation:
    """These elements in some order; a list."""

    elements: tuple[Scalar, ...]

    def __str__(self) -> str:
        return f"orders of {{{', '.join(spell(value) for value in self.elements)}}}"

    @property
    def size(self) -> float:
        """How many orders there are."""
        return factorial(len(self.elements))

    def values(self) -> tuple[Value, ...]:
        """Returns all orders, the written one first."""
        return tuple(permutations(self.elements))

    def contains(self, value: Value) -> bool:
        """Whether a value is a list of exactly these elements."""
        if not isinstance(value, tuple) or len(value) != len(self.elements):
            return False
        return all(any(_same(each, element) for element in value) for each in self.elements)

    def draw(self, dice: Dice) -> Value:
        """Draws an order, each as likely as the others."""
        left = list(self.elements)
        return tuple(left.pop(dice.below(len(left))) for _ in self.elements)

    def ends(self) -> tuple[Value, Value]:
        """Returns the written order and its reverse."""
        return self.elements, self.elements[::-1]


Domain: TypeAlias = Choice | Range | Subset | Permutation


def spell(value: Value | Sequence[Value]) -> str:
    """Spells a value for people: as the language writes it, texts without quotes unless empty.

    >>> spell(True), spell("gelu"), spell((3, 3, 9, 3)), spell("")
    ('true', 'gelu', '[3, 3, 9, 3]', "''")
    """
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(spell, value))}]"
    return show(value)  # type: ignore[arg-type]


def _same(a: Value, b: Value) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)
