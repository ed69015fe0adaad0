"""The last step: the best and the hand-written baseline, trained afresh and judged on test images.

The score that chose a trial is the best of many and therefore optimistic. Here the best trials and
the network as it is written are trained with the same recipe on the same images, from seeds that no
trial used, and each training is judged once on the test split. The winner and the weights that are
exported are chosen by validation scores only.

All workers of a study share the trainings, each of which is held by a lease like a trial's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Network, Recipe, Spec
from flopwise.search.candidates import Candidate, Picks
from flopwise.search.compare import Comparison, compare
from flopwise.search.evaluator import Evaluator
from flopwise.search.files import write_json
from flopwise.search.identity import share_of, trial_identity
from flopwise.search.loop import reason_of
from flopwise.search.record import FinalRow, TrialRow
from flopwise.search.storage import DiskFullError, LeaveError, full, is_full
from flopwise.search.watch import Watch
from flopwise.search.workers import Worker

__all__ = ["Entrant", "Finals", "Fresh", "Tuned", "entrants"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The written network with the best training settings that a study of its own found.

    Attributes:
        trial: Its trial in that study.
        tries: Trials of that study that gave a score.
    """

    trial: TrialRow
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A network of the last step.

    Attributes:
        name: `baseline`, or `top 1` and so on.
        trial: Its trial; None for a baseline that does not meet its own budget, or was tuned.
        candidate: Its costs and hash.
        picks: What makes it; empty for the network as it is written.
        search: Validation scores that it was chosen by.
        tries: Of how many trials these are the best.
    """

    name: str
    trial: TrialRow | None
    candidate: Candidate
    picks: Picks
    search: Mapping[str, float]
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """One fresh training.

    Attributes:
        seed: Its seed.
        folder: Its files, relative to the study's folder.
        validation: Validation scores; empty when it failed.
        test: Test scores.
        weights: File with the judged weights, relative to the study's folder.
        kind: Which weights were judged: raw or ema.
        seconds: Time spent training.
        reason: Why it failed.
    """

    seed: int
    folder: str
    validation: Mapping[str, float]
    test: Mapping[str, float]
    weights: str
    kind: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Finals:
    """The last step of one study."""

    spec: Spec
    folder: Path
    evaluator: Evaluator
    watch: Watch
    worker: Worker
    seeds: tuple[int, ...]
    epochs: int

    def place(self, entrant: Entrant, seed: int) -> Path:
        """Returns where a fresh training keeps its files."""
        network, recipe = self._job(entrant, seed)
        return self.folder / "finals" / trial_identity(network, recipe)

    def known(self, folder: Path) -> Fresh | None:
        """Returns what a training gave that is over; None before."""
        if not (folder / "result.json").exists():
            return None
        return Fresh(**json.loads((folder / "result.json").read_text(encoding="utf-8")))

    def train(self, entrant: Entrant, seed: int, folder: Path) -> Fresh:
        """Trains one network from one fresh seed, judges it once, and writes what came out."""
        where, key = str(folder.relative_to(self.folder)), f"final {folder.name}"
        if reason := self.worker.verdict(key):
            fresh = _failed(seed, where, reason)
        else:
            try:
                fresh = self._judged(entrant, seed, folder, key)
            except LeaveError:
                raise
            except Exception as error:  # one that fails is reported beside those that did not
                if is_full(error):
                    raise DiskFullError(full(folder, error)) from error
                fresh = _failed(seed, where, reason_of(error))
        write_json(folder / "result.json", {n: getattr(fresh, n) for n in fresh.__slots__})
        self.evaluator.tidy(folder)
        return fresh

    def _judged(self, entrant: Entrant, seed: int, folder: Path, key: str) -> Fresh:
        def told(epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
            self.worker.told(key, epoch)
            self.watch.epoch(epoch, epochs, scores)

        assert self.evaluator.judge
        network, recipe = self._job(entrant, seed)
        measure = self.evaluator.evaluate(network, recipe, folder, told)
        verdict = self.evaluator.judge(network, recipe, measure)
        self.worker.check()
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "correct.npy", verdict.correct)
        return Fresh(
            seed=seed,
            folder=str(folder.relative_to(self.folder)),
            validation=dict(measure.scores),
            test=dict(verdict.scores),
            weights=str(measure.weights.relative_to(self.folder)) if measure.weights else "",
            kind=measure.kind,
            seconds=measure.seconds,
        )

    def _job(self, entrant: Entrant, seed: int) -> tuple[Network, Recipe]:
        recipe = replace(self.spec.recipe_for(entrant.picks), seed=seed, epochs=self.epochs)
        return self.spec.network(entrant.picks), recipe

    def run(self, field: Sequence[Entrant]) -> dict[str, list[Fresh]]:
        """Trains every entrant from every seed, with whoever else works on the study."""
        order = [(seed, entrant) for seed in self.seeds for entrant in field]  # in whole pairs
        places = {(seed, e.name): self.place(e, seed) for seed, e in order}
        done: dict[tuple[int, str], Fresh] = {}
        while len(done) < len(order):
            before = len(done)
            for seed, entrant in order:
                if (seed, entrant.name) not in done:
                    fresh = self._turn(entrant, seed, places[seed, entrant.name], done, len(order))
                    done |= {(seed, entrant.name): fresh} if fresh else {}
            if len(done) == before:
                self.worker.rest()
        return {e.name: [done[seed, e.name] for seed in self.seeds] for e in field}

    def _turn(
        self,
        entrant: Entrant,
        seed: int,
        folder: Path,
        done: Mapping[tuple[int, str], Fresh],
        of: int,
    ) -> Fresh | None:
        """Returns a training that is over, or trains it; None while another worker does."""
        fresh = self.known(folder)
        if fresh is None and not self.worker.take(f"final {folder.name}"):
            return None
        self.watch.begin_final(entrant.name, seed, len(done) + 1, of)
        fresh = fresh or self.known(folder) or self.train(entrant, seed, folder)
        seconds = [each.seconds for each in (*done.values(), fresh) if each.seconds]
        mean = sum(seconds) / len(seconds) / (1 + self.worker.others) if seconds else None
        left = None if mean is None else mean * (of - len(done) - 1)
        self.watch.end_final(entrant.name, seed, fresh.test, fresh.reason, left)
        return fresh

    def rows(
        self, field: Sequence[Entrant], runs: Mapping[str, Sequence[Fresh]]
    ) -> tuple[FinalRow, ...]:
        """Returns one row per entrant, each compared with the baseline."""
        return tuple(
            FinalRow(
                name=entrant.name,
                trial=entrant.trial.number if entrant.trial else None,
                picks=entrant.picks,
                costs=entrant.candidate.costs,
                hash=entrant.candidate.hash,
                search=entrant.search,
                search_epochs=entrant.trial.epochs if entrant.trial else 0,
                tries=entrant.tries,
                tests=tuple(run.test for run in runs[entrant.name] if not run.reason),
                seeds=self.seeds,
                failures={r.seed: r.reason for r in runs[entrant.name] if r.reason},
                versus=None
                if entrant is field[0]
                else self._versus(runs[entrant.name], runs[field[0].name]),
            )
            for entrant in field
        )

    def _versus(self, first: Sequence[Fresh], second: Sequence[Fresh]) -> Comparison | None:
        pairs = [
            (self._correct(a), self._correct(b))
            for a, b in zip(first, second, strict=True)
            if not (a.reason or b.reason)
        ]
        return compare([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None

    def _correct(self, run: Fresh) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.load(self.folder / run.folder / "correct.npy")
        return found


def entrants(
    baseline: Candidate,
    ranked: Sequence[TrialRow],
    top: int,
    trials: int,
    tuned: Tuned | None = None,
) -> list[Entrant]:
    """Returns the baseline and the best trials, each network once.

    A network with a short and a long training stands where the long one is. A baseline among the
    best is the baseline.

    Args:
        baseline: What arithmetic knows about the written network.
        ranked: The trials, best first.
        top: How many of the best.
        trials: Of how many trials these are the best.
        tuned: The written network with the best of other training settings.
    """
    written = next((row for row in ranked if row.written), None)
    own = tuned.trial if tuned else written
    field = [
        Entrant(
            name="baseline",
            trial=None if tuned else written,
            candidate=baseline,
            picks=tuned.trial.picks if tuned else {},
            search=own.scores if own else {},
            tries=tuned.tries if tuned else trials if own and own is ranked[0] else 1,
        )
    ]
    named = {_name_of(own)} if own else set()
    best: dict[str, TrialRow] = {}
    for row in ranked:
        best.setdefault(_name_of(row), row)
    for place, row in enumerate([*best.values()][:top], start=1):
        if _name_of(row) not in named:
            candidate = Candidate(
                picks=row.picks, identity=row.identity, hash=row.hash, costs=row.costs
            )
            field.append(
                Entrant(
                    name=f"top {place}",
                    trial=row,
                    candidate=candidate,
                    picks=row.picks,
                    search=row.scores,
                    tries=trials,
                )
            )
    return field


def _name_of(row: TrialRow) -> str:
    """Returns what the trainings of one candidate share, however long they are."""
    return share_of(row.identity)[0]


def _failed(seed: int, folder: str, reason: str) -> Fresh:
    return Fresh(
        seed=seed,
        folder=folder,
        validation={},
        test={},
        weights="",
        kind="raw",
        seconds=0.0,
        reason=reason,
    )
