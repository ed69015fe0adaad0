"""The feasible part of a space that no tables hold: candidates judged one by one.

Targets are drawn one by one from their domains. Sets of picks in which some targets do not count
come up once for each value of these; so a draw counts for as many sets as the values of the targets
that do count allow, or is kept only as often as it stands for one set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, prod, sqrt
from time import process_time
from typing import TypeAlias

import numpy as np

from flopwise.dsl import Dice, Domain, Spec, Value
from flopwise.dsl.fitting import Look
from flopwise.spaces.shares import Share

__all__ = ["Judged", "judged", "repeats"]

Picks: TypeAlias = Mapping[str, Value]

LEAST = 30
"""Candidates that are judged however long it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What judging draws of a space found.

    Attributes:
        share: How much of it is feasible.
        feasible: The feasible candidates that were met, each with its weight.
        costs: The costs of all that can be built.
        rate: Candidates judged in a second of CPU time.
    """

    share: Share
    feasible: list[tuple[Look, float]] = field(repr=False)
    costs: list[Mapping[str, int]] = field(repr=False)
    rate: float


def repeats(domains: Mapping[str, Domain], picks: Picks) -> float:
    """Returns how many draws, target by target, mean the same as these picks that count."""
    return prod(d.size for n, d in domains.items() if n not in picks and isfinite(d.size))


def judged(
    spec: Spec, budget: int = 0, *, draws: int = 1000, seconds: float = 1.5, seed: int = 0
) -> Judged:
    """Judges uniform draws of a space.

    Args:
        spec: A spec with a space.
        budget: Which budget.
        draws: How many are drawn at most.
        seconds: CPU time after which no more are drawn.
        seed: Seed of the draws.
    """
    assert spec.search, "there is a space"
    rng, space, began = np.random.default_rng(seed), spec.search.space, process_time()
    dice = Dice(lambda n: int(rng.integers(n)), lambda a, b: float(rng.uniform(a, b)))
    whole = prod(domain.size for domain in space.values() if isfinite(domain.size))
    weights, good = list[float](), list[float]()
    costs: list[Mapping[str, int]] = []
    feasible: list[tuple[Look, float]] = []
    while len(weights) < draws and (process_time() - began < seconds or len(weights) < LEAST):
        picks = spec.active({name: domain.draw(dice) for name, domain in space.items()})
        weight = 1 / repeats(space, picks)
        found = spec.look(picks, budget)
        if found:
            costs.append(found.costs)
        weights.append(weight)
        good.append(weight if found and not found.reasons else 0.0)
        if found and good[-1]:
            feasible.append((found, weight))
    size, count = whole * float(np.mean(weights)), whole * float(np.mean(good))
    distinct = len({tuple(sorted(look.picks.items(), key=str)) for look, _ in feasible})
    share = Share(
        size=float("inf") if any(not isfinite(d.size) for d in space.values()) else size,
        of=size,
        low=float(distinct) if all(isfinite(d.size) for d in space.values()) else 0.0,
        high=whole,
        estimate=count,
        error=whole * float(np.std(good)) / sqrt(len(good)),
        drawn=len(weights),
    )
    rate = len(weights) / (process_time() - began)
    return Judged(share=share, feasible=feasible, costs=costs, rate=rate)
