"""A sampler that proposes only feasible architectures that were not tried yet.

It asks a strategy. Optuna's samplers are strategies too: the inner one proposes jointly, up to
`PROPOSALS` times; proposals that miss the budget or repeat a trial are dropped without a trace: one
recorded as pruned or infeasible would teach TPE about the budget instead of accuracy. When none
fits, the nearest is repaired, and otherwise a uniform feasible draw stands in.

Every random choice is seeded by (seed, number of the trial), so a search that was interrupted
proposes what it would have proposed, and never the same thing twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from flopwise.errors import RunError
from flopwise.search.candidates import Candidate, Candidates, Pick, Picks, fresh, thawed
from flopwise.search.encoding import decode, encode
from flopwise.search.strategy import Moment, Proposal, Strategy

__all__ = ["PROPOSALS", "FeasibleSampler", "Inner", "decoded"]

PROPOSALS = 64
"""Joint proposals asked of the inner sampler for one trial."""


class FeasibleSampler(BaseSampler):
    """Proposes feasible, untried candidates on behalf of a strategy."""

    def __init__(
        self,
        candidates: Candidates,
        strategy: Strategy,
        *,
        seed: int,
        first: Picks | None = None,
    ) -> None:
        """Wraps a strategy.

        Args:
            candidates: The space and its arithmetic.
            strategy: Who proposes.
            seed: Seed of all random choices.
            first: Proposed before anything else when it is feasible.
        """
        self.candidates, self.strategy, self.seed, self.first = candidates, strategy, seed, first
        self._spare: tuple[int, Proposal | None] = (-1, None)
        self._shares: dict[int, float] = {}

    def spare(
        self, study: Study, number: int, known: Sequence[FrozenTrial] | None = None
    ) -> Proposal | None:
        """Returns what stands in for a trial's proposal; None when there is nothing left to try."""
        return self._stand_in(Moment(study, number, self.candidates, self.seed, known))

    def _stand_in(self, moment: Moment) -> Proposal | None:
        (known, found), number = self._spare, moment.number
        taken = found and (found.candidate.identity, found.share) in moment.begun
        if known != number or taken:  # another worker was faster
            self._spare = number, self.strategy.spare(moment)
        return self._spare[1]

    def share(self, number: int) -> float:
        """Returns how long a trial that was proposed here is trained."""
        return self._shares.get(number, 1.0)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the whole space: every target is drawn jointly."""
        return self._moment(study, trial.number).parameters

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the parameters of a trial; one that was interrupted keeps those it had."""
        if trial.user_attrs.get("picks") is not None:
            return self.encoded(thawed(trial.user_attrs["picks"]))
        moment = self._moment(study, trial.number)
        proposal = self._written(moment) or self.strategy.propose(moment, trial)
        proposal = proposal or self._stand_in(moment)
        if proposal is None:
            raise RunError("every feasible candidate of the space was tried")
        self._shares[trial.number] = proposal.share
        return self.encoded(proposal.candidate.picks)

    def encoded(self, picks: Picks) -> dict[str, Any]:
        """Returns the parameters that stand for picks; what a fit solves is none."""
        domains = self.candidates.domains
        return {
            each: value
            for name, pick in picks.items()
            if name in domains
            for each, value in encode(name, domains[name], pick).items()
        }

    def settled(self, found: Mapping[str, Any]) -> Picks:
        """Returns the picks that parameters stand for, with what a fit solves."""
        return self.candidates.judge(decoded(self.candidates, found)).picks

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
        """Tells the strategy."""
        if self.strategy.after:
            self.strategy.after(self._moment(study, trial.number), trial, state, values)

    def _moment(self, study: Study, number: int) -> Moment:
        return Moment(study, number, self.candidates, self.seed)

    def _written(self, moment: Moment) -> Proposal | None:
        """Returns the network as it is written, as long as it is new and feasible."""
        candidate = self.candidates.judge(self.first) if self.first else None
        if candidate is None or not fresh(candidate, moment.tried):
            return None
        return Proposal(candidate, self.strategy.first)


@dataclass(frozen=True)
class Inner:
    """The strategy of one of Optuna's samplers, which is made anew for every trial.

    Attributes:
        make: Makes the sampler from a seed.
        alone: Whether targets that it does not propose jointly are asked of it one by one; what is
            open is drawn uniformly otherwise.
    """

    make: Callable[[int], BaseSampler]
    alone: bool = False

    def propose(self, moment: Moment, trial: FrozenTrial) -> Proposal | None:
        """Returns the first proposal of the sampler that fits, or its nearest, repaired."""
        inner, rng = self._sampler(moment), moment.rng(1)
        misses: list[Candidate] = []
        for _ in range(PROPOSALS):
            found = inner.sample_relative(moment.study, trial, self._joint(inner, moment, trial))
            if not found and not self.alone:  # the inner sampler knows too little yet
                return None
            picks = self._complete(inner, moment, trial, found, rng)
            candidate = moment.candidates.judge(picks)
            if fresh(candidate, moment.tried):
                return Proposal(candidate)
            misses.append(candidate)
        return moment.repaired(misses)

    def after(
        self, moment: Moment, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tells the sampler that a trial ended."""
        self._sampler(moment).after_trial(moment.study, trial, state, values)

    def _sampler(self, moment: Moment) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            seeds = np.random.SeedSequence([moment.seed, moment.number])
            return self.make(int(seeds.generate_state(1)[0]))

    def _joint(
        self, inner: BaseSampler, moment: Moment, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns what is proposed together: all, or what the trials so far have taught."""
        if self.alone or moment.candidates.conditional:
            return inner.infer_relative_search_space(moment.study, trial)
        return {name: d for name, d in moment.parameters.items() if not d.single()}

    def _complete(
        self,
        inner: BaseSampler,
        moment: Moment,
        trial: FrozenTrial,
        found: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> Picks:
        """Returns picks for all targets, those included that the sampler left open."""
        domains = moment.candidates.domains
        if self.alone:
            found = dict(found)
            for name, known in moment.parameters.items():
                if name not in found and not known.single():
                    found[name] = inner.sample_independent(moment.study, trial, name, known)
        fixed = {n: next(iter(d.values())) for n, d in domains.items() if d.size == 1}
        known_ = {**fixed, **decoded(moment.candidates, found)}
        open_ = len(known_) < len(domains)
        return moment.candidates.completed(known_, rng) if open_ else known_


def decoded(candidates: Candidates, found: Mapping[str, Any]) -> dict[str, Pick]:
    """Returns the picks that parameters stand for, of the targets that have all of theirs."""
    values = {name: decode(name, domain, found) for name, domain in candidates.domains.items()}
    return {name: value for name, value in values.items() if value is not None}
