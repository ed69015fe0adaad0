"""The trials of a study: what is put on record, in which order, and what is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from flopwise.search.candidates import Candidate, thawed
from flopwise.search.encoding import suggest
from flopwise.search.identity import shortened
from flopwise.search.register import Register
from flopwise.search.sampler import FeasibleSampler
from flopwise.search.storage import Patience

__all__ = ["Study"]


class Study:
    """Optuna's study with the few words a search needs; every one waits for a store that is away.

    Attributes:
        optuna: The study.
        register: Its workers and claims.
        patience: What waits.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        register: Register,
        patience: Patience,
    ) -> None:
        """Wraps an open study."""
        self.optuna, self.register, self.patience = study, register, patience
        self._storage = storage

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order; not to be changed."""
        return self.patience(lambda: self.optuna.get_trials(deepcopy=False))

    @property
    def attributes(self) -> dict[str, Any]:
        """What is known of the study itself."""
        return self.patience(lambda: self.optuna.user_attrs)

    def note(self, name: str, value: Any) -> None:
        """Puts something about the study on record, if it is new."""
        if self.attributes.get(name) != value:
            self.patience(lambda: self.optuna.set_user_attr(name, value))

    def new(self) -> None:
        """Adds a trial that nobody has proposed yet."""
        study_id = self.optuna._study_id  # Optuna's own `ask` would propose before it is claimed
        self.patience(lambda: self._storage.create_new_trial(study_id))

    def back(self, number: int) -> Trial:
        """Returns an unfinished trial as it was left; one without picks gets a proposal."""
        trial_id = self.patience(lambda: self._id(number))
        return self.patience(lambda: Trial(self.optuna, trial_id))  # no public way back

    def at(self, number: int) -> FrozenTrial | None:
        """Returns one trial as it is now; None when there is none. The others are not read."""
        try:
            return self.patience(lambda: self._storage.get_trial(self._id(number)))
        except KeyError:
            return None

    def _id(self, number: int) -> int:
        study_id = self.optuna._study_id
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def begin(self, number: int, sampler: FeasibleSampler) -> tuple[Trial, Candidate]:
        """Fixes what a trial is; no other trial of the study is the same.

        The picks are written whole before they are claimed, and claimed before the first of them
        becomes a parameter. So a process killed in between leaves a trial that can be taken back,
        and a proposal that lost its claim sees, in what is tried, the trial that won it.
        """
        while True:
            trial = self.back(number)
            if trial.user_attrs.get("picks") is None:
                proposed = self.patience(lambda t=trial: t.relative_params)  # type: ignore[misc]
                picks = sampler.settled(proposed)
                self._mark(trial, "share", sampler.share(number))
                self._mark(trial, "picks", picks)
            candidate = sampler.candidates.judge(thawed(trial.user_attrs["picks"]))
            identity = shortened(candidate.identity, trial.user_attrs.get("share", 1.0))
            self._mark(trial, "identity", identity)
            key = f"identity {identity}"
            if self.register.claim(key, str(number)) == str(number):
                break
            self._mark(trial, "picks", None)
        for name, domain in sampler.candidates.domains.items():
            if name in candidate.picks:
                self.patience(lambda n=name, d=domain: suggest(trial, n, d))  # type: ignore[misc]
        return trial, candidate

    def describe(self, trial: Trial, facts: Mapping[str, Any]) -> None:
        """Puts on record what is known of a trial, as far as it is new."""
        for name, value in facts.items():
            self._mark(trial, name, value)

    def finish(self, trial: Trial, facts: Mapping[str, Any], values: Sequence[float]) -> bool:
        """Records a finished training, with a value for each objective; False if another has."""
        return self._end(trial, facts, TrialState.COMPLETE, values)

    def fail(self, trial: Trial, reason: str) -> bool:
        """Records a training that ended without a score, and why; False if another has."""
        return self._end(trial, {"reason": reason}, TrialState.FAIL, None)

    def prune(self, trial: Trial, reason: str) -> bool:
        """Records a training that was ended because it fell behind; False if another has."""
        return self._end(trial, {"reason": reason}, TrialState.PRUNED, None)

    def _end(
        self,
        trial: Trial,
        facts: Mapping[str, Any],
        state: TrialState,
        values: Sequence[float] | None,
    ) -> bool:
        try:
            self.describe(trial, facts)
            self.patience(lambda: self._tell(trial, state, values))
        except UpdateFinishedTrialError:  # by this call, whose answer was lost, or by another
            ended = self.trials[trial.number]
            return ended.state == state and ended.values == (list(values) if values else None)
        return True

    def _tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None) -> None:
        if self._storage.get_trial(trial._trial_id).state.is_finished():
            raise UpdateFinishedTrialError
        self.optuna.tell(trial, values, state=state)

    def _mark(self, trial: Trial, name: str, value: Any) -> None:
        if name not in trial.user_attrs or trial.user_attrs[name] != value:
            self.patience(lambda: trial.set_user_attr(name, value))
