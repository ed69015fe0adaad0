"""What is known of a space, as data: what `flopwise space` prints and its JSON says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias

from flopwise.export.tiers import Tiers
from flopwise.spaces import Share

__all__ = ["Explored", "Marginal"]

Ranges: TypeAlias = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marginal:
    """How often each value of a target is met among the feasible.

    Attributes:
        target: Its path.
        values: Each value, spelled, and its share of those in which the target counts.
        counts: The share of the feasible in which the target counts.
    """

    target: str
    values: Sequence[tuple[str, float]]
    counts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What is known of a space under one budget.

    Attributes:
        name: The spec's name.
        budget: The windows, by metric, spelled; requirements and a fit among them.
        share: Size and feasible part.
        how: How candidates are drawn: listed, counted, thrown or judged.
        counted: The costs whose windows are counted; draws that miss another are thrown away.
        kept: Which part of the draws is feasible, as measured; 1 where all are.
        why: Why there are no tables, if there are none.
        ranges: Smallest and largest cost of all that can be built, by metric.
        inside: The same of the feasible, as far as they were met.
        all_ranges: Whether `ranges` is of all instead of those met.
        all_inside: Whether `inside` is of all feasible instead of those met.
        marginals: The values among the feasible, target by target.
        met: How many feasible candidates `inside` and `marginals` come from.
        rates: What was measured, a second of CPU time: `batch`, `single`, `draws`.
        tiers: What the networks can be shipped as.
    """

    name: str
    budget: Mapping[str, str]
    share: Share
    how: str
    counted: tuple[str, ...]
    kept: float
    why: str
    ranges: Ranges
    inside: Ranges
    all_ranges: bool
    all_inside: bool
    marginals: Sequence[Marginal]
    met: int
    rates: Mapping[str, float]
    tiers: Tiers

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as `flopwise space --json` prints it; null is endless."""
        share = self.share
        return {
            "name": self.name,
            "budget": dict(self.budget),
            "size": _plain(share.size),
            "feasible": {
                "exact": share.exact,
                "low": _plain(share.low),
                "high": _plain(share.high),
                "estimate": _plain(share.estimate),
                "error": share.error,
                "drawn": share.drawn,
            },
            "feasible_share": share.share,
            "ranges": {
                "space": {m: list(ends) for m, ends in self.ranges.items()},
                "feasible": {m: list(ends) for m, ends in self.inside.items()},
                "exact": {"space": self.all_ranges, "feasible": self.all_inside},
            },
            "marginals": {each.target: dict(each.values) for each in self.marginals},
            "method": self.how,
            "counted": list(self.counted),
            "kept": self.kept,
            "no_tables": self.why,
            "rates": {name: round(rate) for name, rate in self.rates.items()},
            **self.tiers.as_dict(),
        }


def _plain(number: float) -> int | float | None:
    if not isfinite(number):
        return None
    return int(number) if number == int(number) and number < 2**53 else number
