"""What a space holds: its size, how much of it is feasible, costs, values, rates. No torch."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np

from flopwise.dsl import Domain, Spec, Value, spell
from flopwise.dsl.space import no_search
from flopwise.dsl.spent import Unsteady
from flopwise.errors import SpecError
from flopwise.export.tiers import Tiers, tiers
from flopwise.report.explored import Explored, Marginal
from flopwise.spaces import METRICS, CostTables, FeasibleSpace, Sample, Tell, cost_tables
from flopwise.spaces.judged import Judged, judged

__all__ = ["explore"]

SECONDS = 0.1
"""CPU time that each rate is measured for."""
BATCH = 50_000
"""Candidates that are costed at once while that rate is measured."""
COSTS = METRICS[:3]


def explore(spec: Spec, tell: Tell | None = None) -> list[Explored]:
    """Returns what is known of a spec's space, once for each of its budgets.

    Args:
        spec: The spec.
        tell: Told how far its cost tables are, where they take long.

    Raises:
        SpecError: It has no search section (E505).
    """
    if spec.search is None:
        raise SpecError([no_search(spec.name)])
    shipped = tiers(spec)
    budgets = range(max(1, len(spec.search.budget)))
    try:
        tables = cost_tables(spec, tell)
    except Unsteady as reason:
        return [_judged(spec, each, str(reason), shipped) for each in budgets]
    return [_counted(spec, each, tables, shipped) for each in budgets]


def _counted(spec: Spec, budget: int, tables: CostTables, shipped: Tiers) -> Explored:
    assert spec.search
    space = FeasibleSpace(tables, spec.search, budget)
    share, sample = space.share(), space.sample()
    counts = tables.counting(sample.codes)
    return Explored(
        name=spec.name,
        budget=_budget(spec, budget),
        share=share,
        how=space.method,
        counted=space.metrics,
        kept=sample.kept,
        why="",
        ranges=tables.ranges,
        inside=_ends(sample.costs),
        all_ranges=True,
        all_inside=sample.whole,
        marginals=[_marginal(tables, name, sample, counts[name]) for name in space.order],
        met=sample.codes.shape[1],
        rates=_rates(space, sample),
        tiers=shipped,
    )


def _judged(spec: Spec, budget: int, why: str, shipped: Tiers) -> Explored:
    assert spec.search
    found = judged(spec, budget)
    costs = np.array([[each[m] for m in COSTS] for each in found.costs], np.int64).reshape(-1, 3).T
    inside = [[look.costs[m] for m in COSTS] for look, _ in found.feasible]
    return Explored(
        name=spec.name,
        budget=_budget(spec, budget),
        share=found.share,
        how="judged",
        counted=(),
        kept=len(found.feasible) / found.share.drawn,
        why=why,
        ranges=_ends(costs),
        inside=_ends(np.array(inside, np.int64).reshape(-1, 3).T),
        all_ranges=False,
        all_inside=False,
        marginals=[_weighed(name, d, found) for name, d in spec.search.space.items()],
        met=len(found.feasible),
        rates={"judged": found.rate, "draws": found.rate * len(inside) / found.share.drawn},
        tiers=shipped,
    )


def _budget(spec: Spec, budget: int) -> dict[str, str]:
    assert spec.search
    found = {metric: str(window) for metric, window in spec.search.windows(budget)}
    more = [each.text for each in spec.search.require]
    return found | ({"require": ", ".join(more)} if more else {})


def _ends(costs: Any) -> dict[str, tuple[int, int]]:
    if not costs.size:
        return {}
    return {m: (int(costs[at].min()), int(costs[at].max())) for at, m in enumerate(COSTS)}


def _marginal(tables: CostTables, name: str, sample: Sample, counts: Any) -> Marginal:
    values = tables.values[name]
    codes = sample.codes[tables.targets.index(name)][counts]
    many = np.bincount(codes, minlength=len(values))
    shares = many / max(len(codes), 1)
    pairs = [(spell(value), float(share)) for value, share in zip(values, shares, strict=True)]
    return Marginal(target=name, values=pairs, counts=len(codes) / max(len(counts), 1))


def _weighed(name: str, domain: Domain, found: Judged) -> Marginal:
    """Returns the values of a target, each feasible candidate counted by its weight."""
    values: list[Value] = list(domain.values()) if domain.size <= 1000 else []
    weights = dict.fromkeys(map(spell, values), 0.0)
    whole = sum(weight for _, weight in found.feasible)
    for look, weight in found.feasible:
        if name in look.picks and spell(look.picks[name]) in weights:
            weights[spell(look.picks[name])] += weight
    counted = sum(weight for look, weight in found.feasible if name in look.picks)
    pairs = [(value, weight / counted if counted else 0.0) for value, weight in weights.items()]
    return Marginal(target=name, values=pairs, counts=counted / whole if whole else 0.0)


def _rates(space: FeasibleSpace, sample: Sample) -> dict[str, float]:
    """Measures costing and drawing, in CPU time."""
    tables, rng = space.tables, np.random.default_rng(1)
    sizes = [len(tables.values[name]) for name in tables.targets]
    rows = [rng.integers(size, size=BATCH, dtype=np.int32) for size in sizes]
    codes = np.stack(rows) if rows else np.zeros((0, BATCH), np.int32)
    picks = tables.decode(codes[:, :500])
    rates = {
        "batch": _rate(lambda: tables.batch(codes).costs.shape[1]),
        "single": _rate(lambda: len([tables.costs(each) for each in picks])),
    }
    if sample.codes.shape[1]:
        rates["draws"] = _rate(lambda: space.draw(rng, 4096, 20_000).drawn) * sample.kept
    return rates


def _rate(work: Callable[[], int]) -> float:
    work()
    began, done = process_time(), 0
    while process_time() - began < SECONDS:
        done += work()
    return done / (process_time() - began)
