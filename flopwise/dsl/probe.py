"""A look at a space before anything is trained: does any candidate meet the budget?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from time import process_time
from typing import TypeAlias

from flopwise.dsl.domains import Dice, Domain, Range, spell
from flopwise.dsl.expr import Value
from flopwise.dsl.fitting import MOST, Look, monotone, solve
from flopwise.dsl.space import Fit, Search, Window
from flopwise.errors import Fault, SpecError

__all__ = ["Count", "Counted", "Probe", "impossible", "probe"]

Picks: TypeAlias = Mapping[str, Value]
LookAt: TypeAlias = Callable[[Picks], Look | None]

FEW = 0.01
"""Share of feasible candidates below which most draws of a search are for nothing."""
LEAST = 50
"""Candidates that are looked at even if that takes three times as long as it should."""
TRIED = 6
"""Candidates that a suggestion is tried on before it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was seen of a space.

    Attributes:
        looked: Candidates looked at.
        feasible: How many of them meet the budget and the requirements.
        ranges: Smallest and largest value of each cost among those that can be built.
        warnings: What makes this space a slow one to search.
    """

    looked: int
    feasible: int
    ranges: Mapping[str, tuple[int, int]]
    warnings: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How much of a space is feasible, from tables of costs instead of a few draws.

    Attributes:
        size: How many candidates there are; infinite where a target has endlessly many values.
        share: Which part of them is feasible.
        exact: Whether that is known to the last one, instead of an estimate.
    """

    size: float
    share: float
    exact: bool


Count: TypeAlias = Callable[[int], Counted | None]
"""Counts what is feasible under a budget; None where that cannot be."""


def probe(
    search: Search,
    look: LookAt,
    draws: int,
    seed: int,
    budget: int = 0,
    *,
    seconds: float = 1.0,
    count: Count | None = None,
) -> Probe:
    """Looks at the written network, the smallest, the largest, and random candidates.

    Args:
        search: The space.
        look: Evaluates picks; None where they make no network.
        draws: How many random candidates.
        seed: Seed of the draws.
        budget: Which budget, if there are several.
        seconds: CPU time after which no more are drawn.
        count: Counts all of the space, where hardly any of these few is feasible.

    Raises:
        SpecError: None of them is feasible (E501), no fit makes any so, and none is counted.
    """
    end = process_time() + seconds
    seen: list[Look] = []
    looks: dict[str, Look | None] = {}
    looked = 0
    for looked, picks in enumerate(_points(search.space, draws, Random(seed)), 1):
        if (key := repr(picks)) not in looks:
            looks[key] = look(picks)
        if found := looks[key]:
            seen.append(found)
        late = process_time() - end
        if late > 2 * seconds or (late > 0 and looked > LEAST):
            break
    feasible = sum(not found.reasons for found in seen)
    metrics = seen[0].costs if seen else ()
    ranges = {
        metric: (min(s.costs[metric] for s in seen), max(s.costs[metric] for s in seen))
        for metric in metrics
    }
    warnings = []
    if feasible < FEW * looked:
        known = count(budget) if count else None
        suggestion = _suggestion(search, look, seen, budget, end + seconds)
        if not (feasible or suggestion or (known and known.share)):
            raise SpecError([_unmet(search, budget, seen, ranges, looked)])
        if known is None or known.share < FEW:
            few = _few(known) if known else f"{_only(feasible)} of {looked} random candidates"
            warnings.append(_rare(search, few, suggestion, drawn=known is not None))
    if fit := search.fit:
        at = seen[0].picks
        if not monotone(fit, lambda value: look({**at, fit.vary: value})):
            warnings.append(_bumpy(fit))
    return Probe(looked=looked, feasible=feasible, ranges=ranges, warnings=tuple(warnings))


def _points(space: Mapping[str, Domain], draws: int, random: Random) -> Iterator[Picks]:
    yield {}
    yield {target: domain.ends()[0] for target, domain in space.items()}
    yield {target: domain.ends()[1] for target, domain in space.items()}
    dice = Dice(random.randrange, random.uniform)
    for _ in range(draws):
        yield {target: domain.draw(dice) for target, domain in space.items()}


def _unmet(
    search: Search,
    budget: int,
    seen: Sequence[Look],
    ranges: Mapping[str, tuple[int, int]],
    looked: int,
) -> Fault:
    spans = ", ".join(f"{metric} from {low} to {high}" for metric, (low, high) in ranges.items())
    notes = [f"of {looked} candidates looked at, {len(seen)} can be built: {spans or 'none'}"]
    if seen:
        smallest = min(seen, key=lambda found: found.costs["macs"])
        at = ", ".join(f"{k}={spell(v)}" for k, v in smallest.picks.items())
        notes.append(f"the smallest is {at or 'the written network'}")
    required = [reason for found in seen for reason in found.reasons if reason.startswith("not")]
    if required:
        notes.append(f"{max(set(required), key=required.count)} in most of them")
    return impossible(search, budget, ranges, notes)


def impossible(
    search: Search, budget: int, ranges: Mapping[str, tuple[int, int]], notes: Sequence[str]
) -> Fault:
    """Tells that no candidate meets a budget (E501).

    Args:
        search: The space.
        budget: Which budget.
        ranges: Smallest and largest value of each cost among those that can be built.
        notes: What was seen of the space.
    """
    windows = dict(search.windows(budget))
    wanted = ", ".join(f"{metric} {window}" for metric, window in windows.items())
    which = f"budget {budget + 1}" if len(search.budget) > 1 else "the budget"
    also = " and what 'require' asks for" if search.require and wanted else ""
    loosen = "loosen 'require', " if search.require else ""
    return Fault(
        code="E501",
        message=f"no candidate meets {which} ({wanted or 'the requirements'}){also}",
        place=search.place,
        helps=tuple(_advice(windows, ranges))
        or (f"{loosen}widen the budget, or give the space finer steps",),
        notes=tuple(notes),
    )


def _advice(windows: Mapping[str, Window], ranges: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for metric, window in windows.items():
        low, high = ranges.get(metric, (0, 0))
        if window.high is not None and window.high < 1000 < low:
            yield f"{window.high} means single {metric}: write {window.high}M or {window.high}G"
        if window.high is not None and low > window.high:
            yield f"lower the ranges of the space, or raise {metric} to at least {low}"
        if window.low is not None and high < window.low:
            yield f"raise the ranges of the space, or lower {metric} to at most {high}"


def _only(feasible: int) -> str:
    return f"only {feasible}" if feasible else "none"


def _few(known: Counted) -> str:
    """Spells a share that was counted."""
    many = "all" if known.size == inf else f"{known.size:,.0f}"
    about = "" if known.exact else "about "
    return f"only {about}{100 * known.share:.2g} % of {many} candidates"


def _rare(search: Search, few: str, suggestion: str, *, drawn: bool) -> Fault:
    """Warns that hardly anything is feasible; what is can be `drawn` where tables hold it."""
    helps = (suggestion, "or widen the budget") if suggestion else ("widen the budget",)
    fact = f"{few} meet the budget"
    note = "a search draws and repairs until one does, and hardly learns from the others"
    if drawn:
        note = "random draws meet it all the same; what a sampler proposes seldom does"
    return Fault(code="W501", message=fact, place=search.place, helps=helps, notes=(note,))


def _suggestion(search: Search, look: LookAt, seen: Sequence[Look], budget: int, end: float) -> str:
    """Returns a line that makes more candidates feasible, tried on some; else nothing."""
    tried = []
    few = (seen[3:] or seen)[:TRIED]  # random ones, and the same ones on a slow machine
    for each in () if search.fit else _fits(search, look, budget):
        tried.append((_met(each, look, few), each))
        if process_time() > end:
            break
    met, fit = max(tried, key=lambda each: each[0], default=(0, None))
    if not met or fit is None:
        return ""
    return f"add  {_line(fit)}  to 'search': tried on {len(few)} draws, it met {met}"


def _fits(search: Search, look: LookAt, budget: int) -> Iterator[Fit]:
    """Yields a fit for each of the targets that move the cost most."""
    windows = [(m, w) for m, w in search.windows(budget) if w.low is not None or w.high is not None]
    if not windows:
        return
    metric, window = windows[0]
    low = window.low if window.low is not None else round(window.high * 0.98)  # type: ignore[operator]
    high = window.high if window.high is not None else round(low * 1.02)
    reach = []
    for target, domain in search.space.items():
        numbers = isinstance(domain, Range) and domain.whole and 1 < domain.size <= MOST
        if target in search.when or not numbers:
            continue
        ends = [look({target: value}) for value in domain.ends()]
        costs = [end.costs[metric] for end in ends if end]
        reach.append((max(costs, default=0) - min(costs, default=0), target))
    for _, target in sorted(reach, reverse=True)[:3]:
        yield Fit(
            vary=target,
            domain=search.space[target],  # type: ignore[arg-type]
            metric=metric,
            goal=(low + high) / 2,
            window=Window(low, high),
        )


def _met(fit: Fit, look: LookAt, seen: Sequence[Look]) -> int:
    """Counts the candidates that a fit would make feasible."""
    solved = [solve(fit, lambda v, at=found: look({**at.picks, fit.vary: v})) for found in seen]  # type: ignore[misc]
    return sum(found is not None and not found.reasons for found in solved)


def _line(fit: Fit) -> str:
    """Spells a fit as a spec writes it, at most as wide as its window."""
    assert fit.window.high is not None and fit.window.low is not None
    share = (fit.window.high - fit.goal) / fit.goal
    to = f"{{{fit.metric}: {_quantity(fit.goal)}}}"
    return f"fit: {{vary: {fit.vary}, to: {to}, within: {100 * share:.2g}%}}"


def _bumpy(fit: Fit) -> Fault:
    fact = f"{fit.metric} neither only grow nor only fall with '{fit.vary}'"
    note = f"so all {fit.domain.size:.0f} values are tried wherever that shows"
    help_ = f"give '{fit.vary}' coarser steps, or fit another target"
    return Fault(code="W503", message=fact, place=fit.place, helps=(help_,), notes=(note,))


def _quantity(value: float) -> str:
    """Spells a cost as a spec writes it.

    >>> _quantity(4_500_000_000), _quantity(700)
    ('4.5G', '700')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.0f}"
