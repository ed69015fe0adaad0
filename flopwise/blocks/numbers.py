"""Many numbers in the place of one, so that a block is traced once for many candidates.

A block is a function of whole numbers such as a width. Given `Numbers`, one for each candidate, it
does its arithmetic for all of them. Where it asks a question, such as whether two widths are equal,
and the answer is not the same for all, it stops with `Apart`: the candidates are then traced in
groups that agree. So what comes out for each is what it would be alone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

__all__ = ["Apart", "Numbers", "numbers"]


class Apart(Exception):  # noqa: N818  no failure: the candidates need one trace for each answer
    """The candidates go different ways.

    Attributes:
        ways: The answer of each candidate.
    """

    def __init__(self, ways: Sequence[Any]) -> None:
        """Takes the answers."""
        super().__init__("the candidates go different ways")
        self.ways = tuple(ways)


def numbers(values: Sequence[Any]) -> Any:
    """Returns a number for each candidate, or the one that all of them have.

    >>> numbers([8, 8]), numbers([8, 16]) // 4
    (8, Numbers(2, 4))
    """
    first = values[0]
    return first if all(value == first for value in values) else Numbers(tuple(values))


def _arithmetic(operation: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """Returns the methods `self o other` and `other o self` of an operation."""

    def forwards(self: Numbers, other: Any) -> Any:
        others = _others(self, other)
        return NotImplemented if others is None else numbers([*map(operation, self.values, others)])

    def backwards(self: Numbers, other: Any) -> Any:
        others = _others(self, other)
        return NotImplemented if others is None else numbers([*map(operation, others, self.values)])

    return forwards, backwards


def _comparison(operation: Callable[[Any, Any], bool]) -> Any:
    """Returns the method of a comparison, whose answer must be the same for all."""

    def compared(self: Numbers, other: Any) -> Any:
        others = _others(self, other)
        return NotImplemented if others is None else _agreed([*map(operation, self.values, others)])

    return compared


def _alone(operation: Callable[[Any], Any]) -> Any:
    """Returns the method of an operation on each number."""

    def applied(self: Numbers) -> Any:
        return numbers([*map(operation, self.values)])

    return applied


def _others(self: Numbers, other: Any) -> Sequence[Any] | None:
    if isinstance(other, Numbers):
        return other.values
    return (other,) * len(self.values) if isinstance(other, int | float) else None


def _agreed(answers: Sequence[bool]) -> bool:
    if answers.count(answers[0]) != len(answers):
        raise Apart(answers)
    return answers[0]


def _one(self: Numbers) -> NoReturn:
    """Stops where a single number is asked for."""
    raise Apart(self.values)


class Numbers:
    """A number for each of several candidates, not all the same."""

    __slots__ = ("_hash", "values")

    def __init__(self, values: tuple[Any, ...]) -> None:
        """Takes the numbers."""
        self.values, self._hash = values, hash(values)

    def __hash__(self) -> int:
        """Returns the hash of all numbers."""
        return self._hash

    def __repr__(self) -> str:
        """Lists the numbers."""
        return f"Numbers{self.values!r}"

    def __bool__(self) -> bool:
        """Whether they are not 0, which must be the same for all."""
        return _agreed([bool(value) for value in self.values])

    def __round__(self, digits: int | None = None) -> Any:
        """Rounds each."""
        return numbers([round(value, digits) for value in self.values])

    __add__, __radd__ = _arithmetic(operator.add)
    __sub__, __rsub__ = _arithmetic(operator.sub)
    __mul__, __rmul__ = _arithmetic(operator.mul)
    __truediv__, __rtruediv__ = _arithmetic(operator.truediv)
    __floordiv__, __rfloordiv__ = _arithmetic(operator.floordiv)
    __mod__, __rmod__ = _arithmetic(operator.mod)
    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __neg__, __abs__ = _alone(operator.neg), _alone(abs)
    __trunc__, __floor__, __ceil__ = _alone(math.trunc), _alone(math.floor), _alone(math.ceil)
    __int__ = __index__ = __float__ = __str__ = _one
    __pow__ = __rpow__ = __format__ = lambda self, *_: _one(self)
