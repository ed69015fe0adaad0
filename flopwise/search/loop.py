"""The loop of a search: propose, train, record."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from optuna.trial import Trial

from flopwise.dsl import Spec
from flopwise.errors import RunError
from flopwise.search.candidates import Picks
from flopwise.search.evaluator import Evaluator, Measure
from flopwise.search.front import Objectives, front
from flopwise.search.manifest import write_resolved
from flopwise.search.record import TrialRow, trial_row, write_csv
from flopwise.search.sampler import FeasibleSampler
from flopwise.search.study import Study, StudyFolder, write_text
from flopwise.search.watch import Watch

__all__ = ["Loop", "reason_of"]

PATIENCE = 5
"""Failures in a row for the same reason before a search gives up."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The trials of one study, in one process.

    Attributes:
        spec: What is searched.
        folder: Where everything is kept; held by this process.
        study: The open study.
        sampler: Its sampler.
        evaluator: What trains.
        watch: Who is told.
        objectives: Directions and metrics; trials are ranked by the first.
        on_trial: Called with the row of every trial that ended.
        written: Trial identity of the network as the spec writes it.
        finals: Most trainings of the last step.
        final_share: Epochs of one of them, in those of a trial.
    """

    spec: Spec
    folder: StudyFolder
    study: Study
    sampler: FeasibleSampler
    evaluator: Evaluator
    watch: Watch
    objectives: Objectives
    on_trial: Callable[[TrialRow], None] | None = None
    written: str = ""
    finals: int = 0
    final_share: float = 1.0

    def run(self, trials: int) -> bool:
        """Runs until that many trials ended; False when the space has no candidate left."""
        failures: list[str] = []
        while len(self.ended()) < trials:
            trial = self.study.interrupted()
            if trial is None:
                if self.sampler.spare(self.study.optuna, len(self.study.trials)) is None:
                    return False
                trial = self.study.optuna.ask()
            reason = self._train(trial, trials)
            failures = [*failures, reason] if reason and reason in failures[-1:] else [reason]
            if reason and len(failures) >= PATIENCE:
                raise RunError(
                    f"{PATIENCE} trials in a row failed for the same reason: {reason}; the last is "
                    f"number {trial.number}, in {self.folder.path}/trials"
                )
        return True

    def ended(self) -> list[TrialRow]:
        """Returns the rows of the trials that were trained, or failed."""
        return [trial_row(t) for t in self.study.trials if t.state.is_finished()]

    def best(self) -> TrialRow | None:
        """Returns the best trial by validation; the earlier one of equals."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[TrialRow]:
        """Returns the trained trials, best first; of several objectives, those on the front."""
        return front(self.ended(), self.objectives)

    def write(self) -> None:
        """Writes `trials.csv`, and `front.csv` where there are several objectives."""
        write_csv(self.folder.path / "trials.csv", [row.flat() for row in self.rows()])
        if len(self.objectives) > 1:
            write_csv(self.folder.path / "front.csv", [row.flat() for row in self.ranked()])

    def rows(self) -> list[TrialRow]:
        """Returns one row per trial, running ones included."""
        return [trial_row(trial) for trial in self.study.trials]

    def _train(self, trial: Trial, of: int) -> str:
        """Trains one trial and records what came out; returns the kind of failure, if any."""
        picks = self._announce(trial)
        folder = self.folder.trial_folder(trial.user_attrs["identity"])
        write_resolved(folder, self.spec, picks)
        self.watch.begin(trial_row(self.study.trials[trial.number]), of)
        try:
            network, recipe = self.spec.network(picks), self.spec.recipe_for(picks)
            measure = self.evaluator.evaluate(network, recipe, folder, self.watch.epoch)
            self._finish(trial, measure)
            self.evaluator.tidy(folder)
            kind = ""
        except Exception as error:  # whatever a training does, the search goes on
            write_text(folder / "error.txt", traceback.format_exc())
            self.study.fail(trial, reason_of(error))
            kind = type(error).__name__
        self._report(trial.number, of)
        return kind

    def _announce(self, trial: Trial) -> Picks:
        """Puts on disk what the trial is before anything is trained."""
        picks = self.study.begin(trial, self.sampler)
        candidate = self.sampler.candidates.judge(picks)
        written = candidate.identity == self.written
        facts = {"hash": candidate.hash, "written": written, **candidate.costs}
        for name, value in {**facts, "identity": candidate.identity}.items():
            if trial.user_attrs.get(name) != value:
                trial.set_user_attr(name, value)
        return picks

    def _finish(self, trial: Trial, measure: Measure) -> None:
        known = {**trial.user_attrs, **measure.scores}
        values = [float(known[metric]) for _, metric in self.objectives]
        if not all(map(math.isfinite, values)):
            raise RunError("the score is not a number")
        weights = measure.weights
        kept = {
            "scores": dict(measure.scores),
            "epochs": measure.epochs,
            "seconds": measure.seconds,
            "images_per_s": measure.images_per_s,
            "outside_share": measure.outside_share,
            "weights": str(weights.relative_to(self.folder.path)) if weights else "",
            "kind": measure.kind,
        }
        for name, fact in kept.items():
            trial.set_user_attr(name, fact)
        self.study.finish(trial, values)

    def _report(self, number: int, of: int) -> None:
        self.write()
        row = trial_row(self.study.trials[number])
        self.watch.end(row, self.best(), self._left(of))
        if self.on_trial:
            self.on_trial(row)

    def _left(self, of: int) -> float | None:
        """Estimates the seconds to go from the mean of the finished trials."""
        ended = self.ended()
        seconds = [row.seconds for row in ended if row.seconds]
        if not seconds:
            return None
        mean = sum(seconds) / len(seconds)
        return mean * (max(of - len(ended), 0) + self.finals * self.final_share)


def reason_of(error: BaseException) -> str:
    """Says in one line why a training ended."""
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
