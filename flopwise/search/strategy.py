"""What a strategy is: from the trials so far to the next candidate.

A strategy is a function of a `Moment`, which is all that it may look at. It keeps nothing between
two calls, so any number of workers, started at any time, propose what one would have proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from flopwise.search.candidates import Candidate, Candidates, Picks, thawed
from flopwise.search.encoding import parameters
from flopwise.search.identity import share_of

__all__ = [
    "Moment",
    "Past",
    "Proposal",
    "Propose",
    "Rungs",
    "Strategy",
    "listed",
    "nothing",
    "trainings_of",
    "uniform",
]

Rungs: TypeAlias = tuple[tuple[float, int], ...]
"""Trainings by length, from short to full: the share of the recipe's epochs, and how many."""


def trainings_of(rungs: Rungs) -> int:
    """Returns how many trainings there are in all.

    >>> trainings_of(((0.06, 133), (1.0, 2)))
    135
    """
    return sum(count for _, count in rungs)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate, and how long it is trained as a share of the recipe's epochs."""

    candidate: Candidate
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Past:
    """A trial that gave a score.

    Attributes:
        picks: Its picks, of the targets of the space.
        identity: The identity of its candidate.
        share: How long it was trained.
        score: Its first objective, turned so that higher is better.
    """

    picks: Picks
    identity: str
    share: float
    score: float


@dataclass(frozen=True)
class Moment:
    """Where a search stands when a trial is proposed.

    Attributes:
        study: The study.
        number: Number of the trial.
        candidates: The space.
        seed: Seed of the search.
        known: The trials, where they were read a moment ago; asked of the study otherwise.
    """

    study: Study
    number: int
    candidates: Candidates
    seed: int
    known: Sequence[FrozenTrial] | None = None

    @cached_property
    def parameters(self) -> dict[str, BaseDistribution]:
        """What Optuna keeps of the targets: every parameter of each."""
        domains = self.candidates.domains.items()
        return {n: known for name, d in domains for n, known in parameters(name, d).items()}

    @cached_property
    def begun(self) -> list[tuple[str, float]]:
        """The identity of the candidate of every other trial, and how long it is trained."""
        return [share_of(trial.user_attrs["identity"]) for trial in self._others]

    @cached_property
    def tried(self) -> set[str]:
        """The identities of the candidates of all other trials, whatever became of them."""
        return {identity for identity, _ in self.begun}

    @cached_property
    def past(self) -> list[Past]:
        """The other trials that gave a score, in order."""
        sign = 1.0 if self.study.directions[0] == StudyDirection.MAXIMIZE else -1.0
        domains = self.candidates.domains
        found = []
        for trial in self._others:
            if trial.state == TrialState.COMPLETE and trial.values:
                picks = thawed(trial.user_attrs.get("picks") or {})
                known = {name: picks[name] for name in domains if name in picks}
                identity, share = share_of(trial.user_attrs["identity"])
                found.append(Past(known, identity, share, sign * trial.values[0]))
        return found

    @cached_property
    def _others(self) -> list[FrozenTrial]:
        known = self.known
        if known is None:
            known = self.study.get_trials(deepcopy=False)
        return [t for t in known if t.number != self.number and "identity" in t.user_attrs]

    def rng(self, stream: int = 0) -> np.random.Generator:
        """Returns random numbers of this moment; other streams are independent."""
        return np.random.default_rng([self.seed, self.number, *([stream] if stream else [])])

    def uniform(self) -> Candidate | None:
        """Returns a uniform feasible, untried candidate; None when there is none left."""
        return self.candidates.find(self.rng(), self.tried)

    def repaired(self, misses: Sequence[Candidate]) -> Proposal | None:
        """Returns the nearest of some candidates, moved into the budget, if that leads anywhere."""
        nearest = min(misses, key=lambda candidate: candidate.distance)
        found = self.candidates.repair(nearest, self.tried)
        return Proposal(found) if found else None


Propose: TypeAlias = Callable[[Moment], Proposal | None]


def uniform(moment: Moment) -> Proposal | None:
    """Proposes uniformly among the feasible and untried."""
    found = moment.uniform()
    return Proposal(found) if found else None


def listed(moment: Moment) -> Proposal | None:
    """Proposes the feasible points in their order."""
    found = moment.candidates.next(moment.tried)
    return Proposal(found) if found else None


def nothing(moment: Moment, trial: FrozenTrial) -> Proposal | None:
    """Has no opinion."""
    return None


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How a search proposes.

    Attributes:
        propose: Proposes for a trial, with what Optuna knows of it; None when it cannot tell.
        spare: Proposes when `propose` does not; None when nothing is left to try.
        first: How long the written network is trained, which comes before all others.
        after: Called with every trial that ended, as Optuna's samplers are.
        rungs: The trainings that a number of full ones are worth.
        facts: Everything that a manifest needs to name.
    """

    propose: Callable[[Moment, FrozenTrial], Proposal | None] = nothing
    spare: Propose = uniform
    first: float = 1.0
    after: Callable[..., None] | None = None
    rungs: Callable[[int], Rungs] = lambda trials: ((1.0, trials),)
    facts: dict[str, Any] = field(default_factory=dict)
