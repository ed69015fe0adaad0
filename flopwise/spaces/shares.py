"""What is found of the feasible part of a space: how many candidates, and some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

__all__ = ["Sample", "Share"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many candidates are feasible, of all.

    Attributes:
        size: How many sets of picks there are; infinite where a target has endlessly many values.
        low: At least so many of them are feasible; targets without end are not counted here.
        high: At most so many.
        estimate: An unbiased estimate; the number itself where it is exact.
        error: Its standard error.
        drawn: Draws the estimate comes from; 0 where it is exact.
        of: What low, high and estimate are a part of.
    """

    size: float
    low: float
    high: float
    estimate: float
    error: float = 0.0
    drawn: int = 0
    of: float = 1.0

    @property
    def exact(self) -> bool:
        """Whether the number is known to the last digit."""
        return self.low == self.high

    @property
    def share(self) -> float:
        """The estimate as a part of the space."""
        return self.estimate / self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Feasible candidates.

    Attributes:
        codes: (targets, candidates), as cost tables write them.
        costs: (metrics, candidates).
        whole: Whether these are all there are, instead of uniform draws.
        drawn: How many draws it took.
    """

    codes: Array
    costs: Array
    whole: bool
    drawn: int

    @property
    def kept(self) -> float:
        """The part of the draws that is feasible; the others are thrown away."""
        return self.codes.shape[1] / self.drawn if self.drawn else 1.0
