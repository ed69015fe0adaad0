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
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from flopwise.dsl import Choice, Domain, SamplerChoice
from flopwise.errors import RunError
from flopwise.search.candidates import (
    DRAWS,
    ENUMERABLE,
    Candidate,
    Candidates,
    Picks,
    Scalar,
    fresh,
)

__all__ = [
    "SAMPLERS",
    "TPE",
    "FeasibleSampler",
    "distribution",
    "sampler_facts",
    "suggest",
    "tried",
]

PROPOSALS = 64
"""Joint proposals asked of the inner sampler for one trial."""

TPE: Mapping[str, Any] = {
    "multivariate": True,
    "group": False,  # every target of a space is always active, so one joint model covers all
    "constant_liar": True,
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
}
"""All arguments of TPE that shape a search, written out because Optuna's defaults change."""

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, **TPE),
    "random": lambda seed: RandomSampler(seed=seed),  # proposes nothing jointly: uniform feasible
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
    ) -> None:
        """Wraps `inner`; `first` is proposed before anything else when it is feasible."""
        self.candidates, self.inner, self.seed, self.first = candidates, inner, seed, first
        self._space = {name: distribution(d) for name, d in candidates.domains.items()}
        self._spare: tuple[int, Candidate | None] = (-1, None)

    def spare(self, study: Study, number: int) -> Candidate | None:
        """Returns a uniform feasible, untried draw for a trial; None when there is none left."""
        if self._spare[0] != number:
            rng = np.random.default_rng([self.seed, number])
            self._spare = number, self.candidates.find(rng, tried(study, number))
        return self._spare[1]

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the whole space: every target is drawn jointly."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the picks of a trial; one that was interrupted keeps those it had."""
        if "picks" in trial.user_attrs:
            return dict(trial.user_attrs["picks"])
        done = tried(study, trial.number)
        candidate = self.candidates.judge(self.first) if self.first else None
        if candidate is None or not fresh(candidate, done):
            candidate = self._proposed(study, trial, done) or self.spare(study, trial.number)
        if candidate is None:
            raise RunError("every feasible candidate of the space was tried")
        return dict(candidate.picks)

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
        misses: list[Candidate] = []
        for _ in range(PROPOSALS):
            proposal = inner.sample_relative(study, trial, self._joint())
            if not proposal:  # the inner sampler knows too little yet
                return None
            candidate = self.candidates.judge(self._complete(proposal))
            if fresh(candidate, done):
                return candidate
            misses.append(candidate)
        return self.candidates.repair(min(misses, key=lambda c: c.distance), done)

    def _inner(self, number: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self.inner(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))

    def _joint(self) -> dict[str, BaseDistribution]:
        return {name: d for name, d in self._space.items() if not d.single()}

    def _complete(self, proposal: Mapping[str, Any]) -> Picks:
        fixed = {
            n: next(iter(d.values())) for n, d in self.candidates.domains.items() if d.size == 1
        }
        return {**fixed, **proposal}


def sampler_facts(choice: SamplerChoice) -> dict[str, Any]:
    """Returns everything about a sampler that a manifest needs to name."""
    return {
        "kind": choice.kind,
        "seed": choice.seed,
        "proposals": PROPOSALS,
        "draws": DRAWS,
        "enumerable": ENUMERABLE,
        **(TPE if choice.kind == "tpe" else {}),
    }


def tried(study: Study, number: int) -> set[str]:
    """Returns the identities of all other trials, whatever became of them."""
    trials = study.get_trials(deepcopy=False)
    return {t.user_attrs.get("identity", "") for t in trials if t.number != number}


def distribution(domain: Domain) -> BaseDistribution:
    """Returns Optuna's word for a domain."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if domain.whole:
        step = 1 if domain.log else int(domain.step or 1)
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def suggest(trial: Trial, name: str, domain: Domain) -> Scalar:
    """Makes the value of one target a parameter of the trial and returns it."""
    known = distribution(domain)
    if isinstance(known, CategoricalDistribution):
        value = trial.suggest_categorical(name, known.choices)
        assert value is not None, "a choice holds values"
        return value
    if isinstance(known, IntDistribution):
        return trial.suggest_int(name, known.low, known.high, step=known.step, log=known.log)
    assert isinstance(known, FloatDistribution)
    return trial.suggest_float(name, known.low, known.high, step=known.step, log=known.log)
