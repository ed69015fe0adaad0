"""A look at a space before anything is trained: does any candidate meet the budget?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from random import Random
from typing import TypeAlias

from flopwise.dsl.expr import Value
from flopwise.dsl.space import Choice, Domain, Search, Window
from flopwise.errors import Fault, SpecError

__all__ = ["Look", "Probe", "probe"]

Picks: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What arithmetic says about one candidate: its picks, costs, and why it is refused."""

    picks: Picks
    costs: Mapping[str, int]
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was seen of a space.

    Attributes:
        looked: Candidates looked at.
        feasible: How many of them meet the budget and the requirements.
        ranges: Smallest and largest value of each cost among those that can be built.
    """

    looked: int
    feasible: int
    ranges: Mapping[str, tuple[int, int]]


def probe(
    search: Search,
    look: Callable[[Picks], Look | None],
    draws: int,
    seed: int,
    budget: int = 0,
) -> Probe:
    """Looks at the written network, the smallest, the largest, and random candidates.

    Args:
        search: The space.
        look: Evaluates picks; None where they make no network.
        draws: How many random candidates.
        seed: Seed of the draws.
        budget: Which budget, if there are several.

    Raises:
        SpecError: None of them is feasible (E501).
    """
    points = list(_points(search.space, draws, Random(seed)))
    seen = [found for picks in points if (found := look(picks))]
    feasible = sum(not found.reasons for found in seen)
    metrics = seen[0].costs if seen else ()
    ranges = {
        metric: (min(s.costs[metric] for s in seen), max(s.costs[metric] for s in seen))
        for metric in metrics
    }
    if not feasible:
        raise SpecError([_impossible(search, budget, seen, ranges, len(points))])
    return Probe(looked=len(points), feasible=feasible, ranges=ranges)


def _points(space: Mapping[str, Domain], draws: int, random: Random) -> Iterator[Picks]:
    yield {}
    yield {target: _ends(domain)[0] for target, domain in space.items()}
    yield {target: _ends(domain)[1] for target, domain in space.items()}
    for _ in range(draws):
        yield {target: _draw(domain, random) for target, domain in space.items()}


def _ends(domain: Domain) -> tuple[Value, Value]:
    if not isinstance(domain, Choice):
        return domain.low, domain.high
    numbers = [v for v in domain.options if isinstance(v, int | float)]
    if len(numbers) == len(domain.options):
        return min(numbers), max(numbers)
    return domain.options[0], domain.options[-1]


def _draw(domain: Domain, random: Random) -> Value:
    if isinstance(domain, Choice):
        return random.choice(domain.options)
    if domain.log:
        value = exp(random.uniform(log(domain.low), log(domain.high)))
        value = min(max(value, domain.low), domain.high)
        return round(value) if domain.whole else value
    if isfinite(domain.size):
        return random.choice(domain.values())
    return random.uniform(domain.low, domain.high)


def _impossible(
    search: Search,
    budget: int,
    seen: Sequence[Look],
    ranges: Mapping[str, tuple[int, int]],
    looked: int,
) -> Fault:
    windows = search.budget[budget] if search.budget else {}
    wanted = ", ".join(f"{metric} {window}" for metric, window in windows.items())
    spans = ", ".join(f"{metric} from {low} to {high}" for metric, (low, high) in ranges.items())
    notes = [f"of {looked} candidates looked at, {len(seen)} can be built: {spans or 'none'}"]
    if seen:
        smallest = min(seen, key=lambda found: found.costs["macs"])
        at = ", ".join(f"{k}={v}" for k, v in smallest.picks.items()) or "the written network"
        notes.append(f"the smallest is {at}")
    required = [reason for found in seen for reason in found.reasons if reason.startswith("not")]
    if required:
        notes.append(f"{max(set(required), key=required.count)} in most of them")
    return Fault(
        code="E501",
        message=f"no candidate meets the budget ({wanted or 'the requirements'})",
        place=search.place,
        helps=tuple(_advice(windows, ranges))
        or ("widen the budget, or give the space finer steps",),
        notes=tuple(notes),
    )


def _advice(windows: Mapping[str, Window], ranges: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for metric, window in windows.items():
        low, high = ranges.get(metric, (0, 0))
        if window.high is not None and low > window.high:
            yield f"lower the ranges of the space, or raise {metric} to at least {low}"
        if window.low is not None and high < window.low:
            yield f"raise the ranges of the space, or lower {metric} to at most {high}"
