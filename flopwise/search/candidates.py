"""Points of a space: judged by arithmetic, drawn at random, repaired towards the budget.

Nothing here trains. A `Candidate` is what is known about a set of picks before any training: its
identity, its costs and why it may not be trained. `Candidates` is the space it comes from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import ceil
from typing import Any, TypeAlias

import numpy as np

from flopwise.dsl import Choice, Dice, Domain, Range, Value, spell
from flopwise.spaces import FeasibleSpace
from flopwise.spaces.judged import repeats

__all__ = [
    "Candidate",
    "Candidates",
    "Pick",
    "Picks",
    "Probe",
    "Scalar",
    "fresh",
    "grouped",
    "ladder",
    "made",
    "snap",
    "thawed",
]

Scalar: TypeAlias = bool | int | float | str
Pick: TypeAlias = Value
Picks: TypeAlias = Mapping[str, Pick]

COMPLETIONS = 64
"""Draws of the open targets of a proposal, of which a feasible one is taken."""
TRIES = 400_000
"""Paths of the cost tables that are drawn in search of a few feasible ones."""
DRAWS = 2000
"""Uniform draws that look for one new feasible candidate before repair is tried."""
ENUMERABLE = 20_000
"""Spaces up to this size are listed in full before they are called exhausted."""
REMEMBERED = 200_000
"""Candidates kept in memory, so that no picks are resolved twice."""
REPETITION = re.compile(r"\[\d+\]\.")
STRIDES = (1, 4, 16)
"""How many values a step of a repair skips: small steps to land, large ones to travel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What arithmetic knows about one set of picks.

    Attributes:
        picks: Target path -> value, for the targets that count.
        identity: The trial identity; equal identities are duplicates.
        hash: The network's structural hash.
        costs: `macs`, `params` and `activations`.
        faults: Why it may not be trained; empty when it is feasible.
        distance: How far the costs lie outside the budget, relative to it; 0 inside.
        point: The picks it was asked with, those of targets that do not count included.
    """

    picks: Picks
    identity: str
    hash: str = ""
    costs: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    distance: float = 0.0
    point: Picks = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """Whether it meets the budget and every requirement."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a look at a space found before any training.

    Attributes:
        size: Number of points; infinite when a range has no step.
        looked: Candidates judged.
        feasible: How many of them may be trained.
        complete: True when every point was judged.
        share: How much of the space is feasible, where its costs fit into tables.
    """

    size: float
    looked: int
    feasible: int
    complete: bool
    share: float | None = None


class Candidates:
    """A space of picks and the arithmetic that judges them."""

    def __init__(
        self,
        domains: Mapping[str, Domain],
        judge: Callable[[Picks], Candidate],
        *,
        conditional: Collection[str] = (),
        draws: int = DRAWS,
        feasible: FeasibleSpace | None = None,
    ) -> None:
        """Takes the domain of every target and the function that judges one set of picks.

        Args:
            domains: Target -> domain.
            judge: Picks to a candidate; it says which of the picks count.
            conditional: The targets that do not always count.
            draws: Uniform draws that look for one new feasible candidate.
            feasible: The feasible part of the space, where its costs fit into tables; without it
                what is drawn is judged until something is feasible.
        """
        self.feasible = feasible
        self.domains, self.conditional, self.draws = dict(domains), frozenset(conditional), draws
        self._judge = judge
        self._known: dict[tuple[tuple[str, type, Pick], ...], Candidate] = {}
        self._grids = {name: grid for name, d in self.domains.items() if (grid := ladder(d))}

    @property
    def size(self) -> float:
        """Number of points, at most; infinite when a range has no step.

        Points that differ only in targets that do not count are counted apart.
        """
        return math.prod(domain.size for domain in self.domains.values())

    def judge(self, picks: Picks) -> Candidate:
        """Returns what arithmetic says about the picks; repeated questions cost nothing."""
        exact = {n: snap(domain, picks[n]) for n, domain in self.domains.items() if n in picks}
        key = tuple((name, type(value), value) for name, value in exact.items())
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = replace(self._judge(exact), point=exact)
        return self._known[key]

    def draw(self, rng: np.random.Generator) -> Picks:
        """Draws every target uniformly and independently."""
        dice = Dice(lambda n: int(rng.integers(n)), lambda a, b: float(rng.uniform(a, b)))
        return {name: domain.draw(dice) for name, domain in self.domains.items()}

    def points(self) -> Iterator[Picks]:
        """Yields every point of a finite space, in a fixed order."""
        axes = [tuple(domain.values()) for domain in self.domains.values()]
        for values in product(*axes):
            yield dict(zip(self.domains, values, strict=True))

    def find(self, rng: np.random.Generator, tried: Collection[str]) -> Candidate | None:
        """Returns a feasible candidate whose identity is not in `tried`.

        Uniform among the feasible and untried when a draw finds one; otherwise the nearest misses
        are repaired; otherwise a space small enough is listed. None means that all of a listed
        space was tried, or that nothing was found in a larger one.
        """
        if self.feasible:
            found = self._drawn(self.feasible, rng, tried)
            if found or self.feasible.listed:
                return found
        misses: list[Candidate] = []
        for _ in range(0 if self.feasible else int(min(self.draws, 50 * self.size))):
            candidate = self.judge(self.draw(rng))
            if fresh(candidate, tried) and rng.random() * self._repeated(candidate) < 1:
                return candidate
            misses.append(candidate)
        for miss in sorted(misses, key=lambda c: c.distance)[:8]:
            if fresh(miss, tried):  # kept by no draw
                return miss
            if repaired := self.repair(miss, tried):
                return repaired
        return self._listed(rng, tried) if self.size <= ENUMERABLE else None

    def several(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Returns about that many uniform feasible candidates, each once, tried or not."""
        if self.feasible:
            codes = self.feasible.draw(rng, count, TRIES).codes
            drawn = [self.judge(picks) for picks in self.feasible.picks(codes, rng)]
        else:
            drawn = [found for _ in range(count) if (found := self.find(rng, ()))]
        return list({each.identity: each for each in drawn if each.feasible}.values())

    def completed(self, known: Picks, rng: np.random.Generator) -> Picks:
        """Returns picks of all targets: those that are known, and draws of the others.

        Of several draws one that is feasible is taken, if there is any; uniformly among the
        feasible where tables say which these are.
        """
        feasible = self.feasible
        if feasible is None or feasible.search.fit:
            return {**self.draw(rng), **known}
        drawn = [{**self.draw(rng), **known} for _ in range(COMPLETIONS)]
        held = [{n: snap(d, each[n]) for n, d in self.domains.items()} for each in drawn]
        try:
            good = feasible.feasible(feasible.tables.encode(held))[0]
        except KeyError:  # what is known lies outside the space
            return drawn[0]
        return drawn[int(good.argmax())]  # the first that is feasible, if there is one

    def _drawn(
        self, feasible: FeasibleSpace, rng: np.random.Generator, tried: Collection[str]
    ) -> Candidate | None:
        """Returns one of the feasible, each that is untried as likely as the others."""
        if feasible.listed:
            order = rng.permutation(feasible.listed.codes.shape[1])
            parts = [order[at : at + 16] for at in range(0, len(order), 16)]
            codes = (feasible.listed.codes[:, part] for part in parts)
        else:
            most = range(0, self.draws, 16)
            codes = (feasible.draw(rng, 16, TRIES).codes for _ in most)
        for each in codes:
            if not each.shape[1]:
                return None
            for picks in feasible.picks(each, rng):
                candidate = self.judge(picks)
                if fresh(candidate, tried):
                    return candidate
        return None

    def _repeated(self, candidate: Candidate) -> float:
        """Returns how many draws mean the same as a candidate."""
        return repeats(self.domains, candidate.picks) if self.conditional else 1.0

    def next(self, tried: Collection[str]) -> Candidate | None:
        """Returns the first feasible candidate, in the order of the points, that is not tried."""
        return next((c for c in map(self.judge, self.points()) if fresh(c, tried)), None)

    def repair(self, candidate: Candidate, tried: Collection[str]) -> Candidate | None:
        """Walks ordered targets up and down until the candidate is feasible and untried.

        Each step takes the neighbour nearest to the budget; a step that brings nothing ends it.
        """
        while math.isfinite(candidate.distance):
            around = [self.judge(picks) for picks in self._neighbours(candidate.point)]
            if found := next((c for c in around if fresh(c, tried)), None):
                return found
            nearest = min(around, key=lambda c: c.distance, default=candidate)
            if nearest.distance >= candidate.distance:
                return None
            candidate = nearest
        return None

    def probe(self, seed: int = 0, draws: int = 500) -> Probe:
        """Counts what is feasible, or judges points: all of a small space, or uniform draws."""
        if self.feasible:
            share = self.feasible.share(draws, seed)
            looked = int(share.of) if share.exact else share.drawn
            found = share.estimate if share.exact else share.share * share.drawn
            return Probe(
                size=share.size,
                looked=looked,
                feasible=ceil(found),
                complete=share.exact,
                share=share.share,
            )
        complete = self.size <= 2 * draws
        rng = np.random.default_rng(seed)
        picks = self.points() if complete else (self.draw(rng) for _ in range(draws))
        judged = [self.judge(point) for point in picks]
        if complete and self.conditional:  # what differs only in targets that do not count is one
            judged = list({made(candidate.picks): candidate for candidate in judged}.values())
        seen = judged
        feasible = sum(candidate.feasible for candidate in seen)
        return Probe(
            size=len(seen) if complete else self.size,
            looked=len(seen),
            feasible=feasible,
            complete=complete,
        )

    def _listed(self, rng: np.random.Generator, tried: Collection[str]) -> Candidate | None:
        left = [c for c in map(self.judge, self.points()) if fresh(c, tried)]
        return left[int(rng.integers(len(left)))] if left else None

    def _neighbours(self, picks: Picks) -> Iterator[Picks]:
        for name, grid in self._grids.items():
            at = grid.index(picks[name])  # judged picks lie on the grid
            for step in (sign * stride for stride in STRIDES for sign in (1, -1)):
                if 0 <= at + step < len(grid):
                    yield {**picks, name: grid[at + step]}


def fresh(candidate: Candidate, tried: Collection[str]) -> bool:
    """Whether a candidate may be trained and was not."""
    return candidate.feasible and candidate.identity not in tried


def ladder(domain: Domain) -> Sequence[Pick] | None:
    """Returns the values of an ordered domain from small to large, None if they are endless."""
    if isinstance(domain, Choice):
        numbers = [v for v in domain.values() if type(v) in (int, float)]  # True is no number here
        return sorted(numbers) if len(numbers) == domain.size else None
    short = isinstance(domain, Range) and domain.size <= REMEMBERED
    return tuple(domain.values()) if short else None


def snap(domain: Domain, value: Pick) -> Pick:
    """Returns the value of a stepped range that a proposal means, without its rounding errors."""
    if not isinstance(domain, Range) or not isinstance(value, int | float):
        return value
    if domain.whole:
        return int(value)
    if domain.step is None:
        return float(value)
    values = domain.values()
    return values[min(round((value - domain.low) / domain.step), len(values) - 1)]


def made(picks: Picks) -> str:
    """Spells picks in one line.

    >>> made({"w": 8, "net.s.depth": 2, "net.s[0].kernel": 3, "net.s[1].kernel": 5})
    'w=8 net.s.depth=2 net.s[*].kernel=3,5'
    """
    return " ".join(f"{name}={text}" for name, text in grouped(picks).items())


def grouped(picks: Picks) -> dict[str, str]:
    """Returns picks as texts; those of the repetitions of a stage are one, in their order."""
    found: dict[str, str] = {}
    for name, value in picks.items():
        label = REPETITION.sub("[*].", name)
        found[label] = f"{found[label]},{spell(value)}" if label in found else spell(value)
    return found


def thawed(picks: Mapping[str, Any]) -> Picks:
    """Returns picks as they were before a file kept them: lists are tuples again."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in picks.items()}
