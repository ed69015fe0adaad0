"""The loop of a search: take a trial or propose one, train, record. All workers run the same loop.

A worker holds the lease of a trial (`workers.py`) from before it exists until it ended. The lease
of the next number is taken before the trial is added, so there are never more than asked for.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial

from flopwise.dsl import Spec
from flopwise.errors import RunError
from flopwise.search.candidates import Picks
from flopwise.search.evaluator import Evaluator, Measure
from flopwise.search.files import write_text
from flopwise.search.folder import StudyFolder
from flopwise.search.front import Objectives, front
from flopwise.search.identity import recipe_of
from flopwise.search.manifest import write_resolved
from flopwise.search.pace import seconds_left
from flopwise.search.pruning import Prune, PrunedError
from flopwise.search.record import TrialRow, trial_row, write_csv
from flopwise.search.sampler import FeasibleSampler
from flopwise.search.storage import DiskFullError, LeaveError, full, is_full
from flopwise.search.strategy import Rungs, trainings_of
from flopwise.search.study import Study
from flopwise.search.watch import Watch
from flopwise.search.workers import Worker

__all__ = ["Loop", "key_of", "reason_of"]

PATIENCE = 5
"""Failures in a row for the same reason before a search gives up."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The trials of one study, in one process of perhaps several.

    Attributes:
        spec: What is searched.
        folder: Where everything is kept.
        study: The open study.
        worker: This process among those that work on it.
        sampler: Its sampler.
        evaluator: What trains.
        watch: Who is told.
        objectives: Directions and metrics; trials are ranked by the first.
        pruner: Who ends trainings that fall behind; None for nobody.
        rungs: Length and number of the trainings wanted.
        on_trial: Called with the row of every trial that ended.
        written: Trial identity of the network as the spec writes it.
        finals: Most trainings of the last step.
        final_share: Epochs of one of them, in those of a full training.
        spec_hash: Stands for the texts of the spec and what was set on top of them.
        made: Command, versions and machine, for the records.
    """

    spec: Spec
    folder: StudyFolder
    study: Study
    worker: Worker
    sampler: FeasibleSampler
    evaluator: Evaluator
    watch: Watch
    objectives: Objectives
    rungs: Rungs
    pruner: Prune | None = None
    on_trial: Callable[[TrialRow], None] | None = None
    written: str = ""
    finals: int = 0
    final_share: float = 1.0
    spec_hash: str = ""
    made: Mapping[str, Any] = field(default_factory=dict)
    _heard: set[int] = field(default_factory=set)

    @property
    def wanted(self) -> int:
        """How many trials there will be."""
        return trainings_of(self.rungs)

    def run(self) -> bool:
        """Runs until all trials ended; False when the space has no candidate left."""
        failures: list[str] = []
        self._heard.update(row.number for row in self.ended())
        self._tell_front(self.rows())
        while (number := self._next()) is not None:
            reason = self._train(number)
            failures = [*failures, reason] if reason and reason in failures[-1:] else [reason]
            if reason and len(failures) >= PATIENCE:
                raise RunError(
                    f"{PATIENCE} trials in a row failed for the same reason: {reason}; the last is "
                    f"number {number}, in {self.folder.path}/trials"
                )
        return len(self.study.trials) >= self.wanted

    def _next(self) -> int | None:
        """Returns the number of a trial that this worker now holds; None when all ended.

        A trial whose worker is gone comes before a new one. While others hold all that is left,
        this worker waits: one of them may die.
        """
        wanted = self.wanted
        while True:
            known = self.study.trials
            self._hear(known)
            self.worker.look()  # tells of all leases: a thousand running trials are one question
            for trial in known[:wanted]:
                mine = not trial.state.is_finished() and self._takes(trial.number)
                if mine and not self._deadly(trial.number):
                    return trial.number
            number = self._unheld(len(known), wanted)
            spare = (
                self.sampler.spare(self.study.optuna, number, known) if number < wanted else None
            )
            whole = number == len(known)  # or trials were added since
            if whole and not spare and all(t.state.is_finished() for t in known[:wanted]):
                return None
            if spare and self._takes(number):
                return number
            self.worker.rest()

    def _unheld(self, number: int, wanted: int) -> int:
        """Returns the first number from here on whose trial is not there and that nobody adds.

        Waits while another worker adds one, without reading the study again.
        """
        while number < wanted and not self.worker.free(key_of(number)):
            if self.study.at(number):
                number += 1
            else:
                self.worker.rest()
                self.worker.look()
        return number

    def _takes(self, number: int) -> bool:
        """Takes the lease of a trial, which is added if it is new; False when it is not to be had.

        What was read before the lease was taken may be old: its last holder may have ended it.
        """
        key = key_of(number)
        if not (self.worker.free(key) and self.worker.take(key)):
            return False
        known = self.study.at(number)
        if known is None:
            self.study.new()
        return known is None or not known.state.is_finished()

    def _deadly(self, number: int) -> bool:
        """Records a trial that took its worker down twice in the same epoch as a failure."""
        if not (reason := self.worker.verdict(key_of(number))):
            return False
        try:
            trial, _ = self.study.begin(number, self.sampler)
            self.study.fail(trial, reason)
        except UpdateFinishedTrialError:  # another worker came to the same verdict
            return True
        self._report(number)
        return True

    def ended(self) -> list[TrialRow]:
        """Returns the rows of the trials that were trained, or failed."""
        return _ended(self.rows())

    def best(self) -> TrialRow | None:
        """Returns the best trial by validation; the earlier one of equals."""
        return next(iter(self.ranked()), None)

    def ranked(self, rows: Sequence[TrialRow] | None = None) -> list[TrialRow]:
        """Returns the trained trials, best first; of several objectives, those on the front."""
        return front(_ended(self.rows() if rows is None else rows), self.objectives)

    def write(self, rows: Sequence[TrialRow] | None = None) -> None:
        """Writes `trials.csv`, and `front.csv` where there are several objectives."""
        rows = self.rows() if rows is None else rows
        write_csv(self.folder.path / "trials.csv", [row.flat() for row in rows])
        if len(self.objectives) > 1:
            flat = [row.flat() for row in self.ranked(rows)]
            write_csv(self.folder.path / "front.csv", flat)

    def rows(self) -> list[TrialRow]:
        """Returns one row per trial that is known by its picks, running ones included."""
        return _rows(self.study.trials)

    def _train(self, number: int) -> str:
        """Trains one trial and records what came out; returns the kind of failure, if any."""
        try:
            trial, picks = self._announce(number)
        except UpdateFinishedTrialError:  # by a worker that slept too long, and then woke up
            return ""
        folder = self.folder.trial_folder(trial.user_attrs["identity"])
        write_resolved(folder, self.spec, picks)
        begun = self.study.at(number)
        assert begun, "a trial that was announced is there"
        self.watch.begin(trial_row(begun), self.wanted)

        def told(epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
            self.worker.told(key_of(number), epoch)
            self.watch.epoch(epoch, epochs, scores)
            self._compare(trial, epoch, epochs, scores)

        kind = ""
        try:
            network, recipe = self.spec.network(picks), self.spec.recipe_for(picks)
            recipe = recipe_of(recipe, trial.user_attrs.get("share", 1.0))
            measure = self.evaluator.evaluate(network, recipe, folder, told)
            self._finish(trial, measure)
            self.evaluator.tidy(folder)
        except LeaveError:
            raise
        except PrunedError as end:
            self.study.prune(trial, str(end))
            self.evaluator.tidy(folder)
        except Exception as error:  # whatever a training does, the search goes on
            if is_full(error):
                raise DiskFullError(full(folder, error)) from error
            write_text(folder / "error.txt", traceback.format_exc())
            self.study.fail(trial, reason_of(error))
            kind = type(error).__name__
        self._report(number)
        return kind

    def _compare(self, trial: Trial, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        """Ends a training that fell behind, unless that was its last epoch."""
        pruner, metric = self.pruner, self.objectives[0][1]
        if pruner is None or epoch >= epochs or metric not in scores:
            return
        if self.study.patience(lambda: pruner(trial, epoch, scores[metric])):
            raise PrunedError(f"ended after {epoch} of {epochs} epochs: it fell behind")

    def _announce(self, number: int) -> tuple[Trial, Picks]:
        """Puts on record what the trial is before anything is trained."""
        trial, candidate = self.study.begin(number, self.sampler)
        picks = candidate.picks
        about = {
            "hash": candidate.hash,
            "written": candidate.identity == self.written,
            **candidate.costs,
            "spec": self.spec_hash,
            "seed": self.spec.recipe_for(picks).seed,
            "made": self.made,
            "resolved": self.spec.render(picks),
            "codes": {code.key: code.text for code in self.spec.codes},
        }
        self.study.describe(trial, {"about": about, "macs": candidate.costs["macs"]})
        return trial, picks

    def _finish(self, trial: Trial, measure: Measure) -> None:
        self.worker.check()
        known = {**trial.user_attrs["about"], **measure.scores}
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
            "processes": measure.processes,
        }
        self.study.finish(trial, {"result": kept}, values)

    def _report(self, number: int) -> None:
        known = self.study.trials
        self._hear(known)
        self.write(_rows(known))
        if self.on_trial:
            self.on_trial(trial_row(known[number]))

    def _hear(self, known: Sequence[FrozenTrial]) -> None:
        """Tells of every trial that has ended, here or at another worker, once."""
        new = [t for t in known if t.state.is_finished() and t.number not in self._heard]
        if not new:
            return
        rows = _rows(known)
        processes, finals = 1 + self.worker.others, self.finals * self.final_share
        left = seconds_left(rows, self.rungs, processes, finals)
        for row in _rows(new):
            self._heard.add(row.number)
            self.watch.end(row, next(iter(self.ranked(rows)), None), left)
        self._tell_front(rows)

    def _tell_front(self, rows: Sequence[TrialRow]) -> None:
        several, ranked = len(self.objectives) > 1, self.ranked(rows)
        self.watch.front(ranked if several else ranked[:1], several)


def _rows(known: Iterable[FrozenTrial]) -> list[TrialRow]:
    return [trial_row(trial) for trial in known if trial.user_attrs.get("picks") is not None]


def _ended(rows: Sequence[TrialRow]) -> list[TrialRow]:
    return [row for row in rows if row.state not in ("running", "waiting")]


def key_of(number: int) -> str:
    """Returns the key of a trial's lease."""
    return f"trial {number}"


def reason_of(error: BaseException) -> str:
    """Says in one line why a training ended."""
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
