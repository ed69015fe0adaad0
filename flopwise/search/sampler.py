"""A sampler that proposes only feasible architectures that were not tried yet.

It wraps any Optuna sampler. The inner one proposes jointly, up to `PROPOSALS` times; proposals that
miss the budget or repeat a trial are dropped without a trace: one recorded as pruned or infeasible
would teach TPE about the budget instead of accuracy. When none fits, the nearest is repaired, and
otherwise a uniform feasible draw stands in.

Every random choice is seeded by (seed, number of the trial), so a search that was interrupted
proposes what it would have proposed, and never the same thing twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from flopwise.dsl import Search
from flopwise.errors import RunError
from flopwise.search.candidates import (
    ENUMERABLE,
    Candidate,
    Candidates,
    Pick,
    Picks,
    fresh,
    thawed,
)
from flopwise.search.encoding import decode, encode, parameters

__all__ = [
    "SAMPLERS",
    "TPE",
    "FeasibleSampler",
    "inner_of",
    "sampler_facts",
    "tried",
]

PROPOSALS = 64
"""Joint proposals asked of the inner sampler for one trial."""

TPE: Mapping[str, Any] = {
    "multivariate": True,
    "group": False,  # one joint model where every target always counts; see inner_of
    "constant_liar": True,
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
}
"""All arguments of TPE that shape a search, written out because Optuna's defaults change."""

NSGA2: Mapping[str, Any] = {"population_size": 16}
"""Arguments of NSGA-II that shape a search; Optuna's population of 50 is a whole search here."""

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, **TPE),
    "random": lambda seed: RandomSampler(seed=seed),  # proposes nothing jointly: uniform feasible
    "grid": lambda seed: RandomSampler(seed=seed),  # the points in order; see FeasibleSampler.spare
    "nsga2": lambda seed: NSGAIISampler(seed=seed, **NSGA2),
}
"""Inner samplers by the name a spec writes, each made from a seed."""


class FeasibleSampler(BaseSampler):
    """Proposes feasible, untried candidates on behalf of another sampler."""

    def __init__(
        self,
        candidates: Candidates,
        inner: Callable[[int], BaseSampler],
        *,
        seed: int,
        first: Picks | None = None,
        listed: bool = False,
    ) -> None:
        """Wraps `inner`.

        Args:
            candidates: The space and its arithmetic.
            inner: Makes the wrapped sampler from a seed.
            seed: Seed of all random choices.
            first: Proposed before anything else when it is feasible.
            listed: Propose the points in their order instead of drawing them.
        """
        self.candidates, self.inner, self.seed, self.first = candidates, inner, seed, first
        self.listed = listed
        self._space = {
            each: known
            for name, domain in candidates.domains.items()
            for each, known in parameters(name, domain).items()
        }
        self._spare: tuple[int, Candidate | None] = (-1, None)

    def spare(self, study: Study, number: int) -> Candidate | None:
        """Returns a uniform feasible, untried draw for a trial; None when there is none left."""
        done, (known, found) = tried(study, number), self._spare
        if known != number or (found and found.identity in done):  # another worker took it
            rng = np.random.default_rng([self.seed, number])
            found = self.candidates.next(done) if self.listed else self.candidates.find(rng, done)
            self._spare = number, found
        return self._spare[1]

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the whole space: every target is drawn jointly."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the parameters of a trial; one that was interrupted keeps those it had."""
        if trial.user_attrs.get("picks") is not None:
            return self.encoded(thawed(trial.user_attrs["picks"]))
        done = tried(study, trial.number)
        candidate = self.candidates.judge(self.first) if self.first else None
        if candidate is None or not fresh(candidate, done):
            candidate = self._proposed(study, trial, done) or self.spare(study, trial.number)
        if candidate is None:
            raise RunError("every feasible candidate of the space was tried")
        return self.encoded(candidate.picks)

    def encoded(self, picks: Picks) -> dict[str, Any]:
        """Returns the parameters that stand for picks; what a fit solves is none."""
        domains = self.candidates.domains
        return {
            each: value
            for name, pick in picks.items()
            if name in domains
            for each, value in encode(name, domains[name], pick).items()
        }

    def decoded(self, found: Mapping[str, Any]) -> dict[str, Pick]:
        """Returns the picks that parameters stand for, of the targets that have all of theirs."""
        values = {n: decode(n, domain, found) for n, domain in self.candidates.domains.items()}
        return {name: value for name, value in values.items() if value is not None}

    def settled(self, found: Mapping[str, Any]) -> Picks:
        """Returns the picks that parameters stand for, with what a fit solves."""
        return self.candidates.judge(self.decoded(found)).picks

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Refuses: a target that is not drawn with the others could break the budget."""
        raise RunError(f"'{param_name}' is not a target of this space")

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tells the inner sampler."""
        self._inner(trial.number).after_trial(study, trial, state, values)

    def _proposed(self, study: Study, trial: FrozenTrial, done: set[str]) -> Candidate | None:
        """Returns the first proposal of the inner sampler that fits, or its nearest, repaired."""
        inner = self._inner(trial.number)
        rng = np.random.default_rng([self.seed, trial.number, 1])
        misses: list[Candidate] = []
        for _ in range(PROPOSALS):
            proposal = inner.sample_relative(study, trial, self._joint(inner, study, trial))
            if not proposal:  # the inner sampler knows too little yet
                return None
            candidate = self.candidates.judge(self._complete(proposal, rng))
            if fresh(candidate, done):
                return candidate
            misses.append(candidate)
        return self.candidates.repair(min(misses, key=lambda c: c.distance), done)

    def _inner(self, number: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self.inner(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))

    def _joint(
        self, inner: BaseSampler, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns what is proposed together: all, or what the trials so far have taught."""
        if self.candidates.conditional:
            return inner.infer_relative_search_space(study, trial)
        return {name: d for name, d in self._space.items() if not d.single()}

    def _complete(self, proposal: Mapping[str, Any], rng: np.random.Generator) -> Picks:
        """Returns picks for all targets; what the inner sampler leaves open is drawn."""
        fixed = {
            n: next(iter(d.values())) for n, d in self.candidates.domains.items() if d.size == 1
        }
        known = {**fixed, **self.decoded(proposal)}
        open_ = len(known) < len(self.candidates.domains)
        return {**self.candidates.draw(rng), **known} if open_ else known


def inner_of(search: Search) -> Callable[[int], BaseSampler]:
    """Returns the maker of the inner sampler that a search asks for.

    TPE models the targets of each branch of a conditional space together.
    """
    if search.when and search.sampler.kind == "tpe":
        return lambda seed: TPESampler(seed=seed, **{**TPE, "group": True})
    return SAMPLERS[search.sampler.kind]


def sampler_facts(search: Search) -> dict[str, Any]:
    """Returns everything about a sampler that a manifest needs to name."""
    kind = search.sampler.kind
    return {
        "kind": kind,
        "seed": search.sampler.seed,
        "proposals": PROPOSALS,
        "draws": search.max_rejects,
        "enumerable": ENUMERABLE,
        **({**TPE, "group": bool(search.when)} if kind == "tpe" else {}),
        **(NSGA2 if kind == "nsga2" else {}),
    }


def tried(study: Study, number: int) -> set[str]:
    """Returns the identities of all other trials, whatever became of them."""
    trials = study.get_trials(deepcopy=False)
    return {t.user_attrs.get("identity", "") for t in trials if t.number != number}
