"""The last step: the best and the hand-written baseline, trained afresh and judged on test images.

The score that chose a trial is the best of many and therefore optimistic. Here the best trials and
the network as it is written are trained with the same recipe on the same images, from seeds that no
trial used, and each training is judged once on the test split. The winner and the weights that are
exported are chosen by validation scores only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Spec
from flopwise.search.candidates import Candidate, Picks
from flopwise.search.compare import Comparison, compare
from flopwise.search.evaluator import Evaluator
from flopwise.search.identity import trial_identity
from flopwise.search.loop import reason_of
from flopwise.search.record import FinalRow, TrialRow
from flopwise.search.study import write_json
from flopwise.search.watch import Watch

__all__ = ["Entrant", "Finals", "Fresh", "entrants"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A network of the last step.

    Attributes:
        name: `baseline`, or `top 1` and so on.
        trial: Its trial; None for a baseline that does not meet its own budget.
        candidate: Its costs and hash.
        picks: What makes it; empty for the network as it is written.
    """

    name: str
    trial: TrialRow | None
    candidate: Candidate
    picks: Picks


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
    seeds: tuple[int, ...]
    epochs: int

    def train(self, entrant: Entrant, seed: int) -> Fresh:
        """Trains one network from one fresh seed and judges it once, or reads what was judged."""
        network = self.spec.network(entrant.picks)
        recipe = replace(self.spec.recipe_for(entrant.picks), seed=seed, epochs=self.epochs)
        folder = self.folder / "finals" / trial_identity(network, recipe)
        if (folder / "result.json").exists():
            return Fresh(**json.loads((folder / "result.json").read_text(encoding="utf-8")))
        assert self.evaluator.judge
        where = str(folder.relative_to(self.folder))
        try:
            measure = self.evaluator.evaluate(network, recipe, folder, self.watch.epoch)
            verdict = self.evaluator.judge(network, recipe, measure)
        except Exception as error:  # a final that fails is reported beside those that did not
            return _failed(seed, where, reason_of(error))
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "correct.npy", verdict.correct)
        fresh = Fresh(
            seed=seed,
            folder=where,
            validation=dict(measure.scores),
            test=dict(verdict.scores),
            weights=str(measure.weights.relative_to(self.folder)) if measure.weights else "",
            kind=measure.kind,
            seconds=measure.seconds,
        )
        write_json(folder / "result.json", {n: getattr(fresh, n) for n in fresh.__slots__})
        self.evaluator.tidy(folder)
        return fresh

    def run(self, field: Sequence[Entrant]) -> dict[str, list[Fresh]]:
        """Trains every entrant from every seed."""
        runs: dict[str, list[Fresh]] = {entrant.name: [] for entrant in field}
        order = [(seed, entrant) for seed in self.seeds for entrant in field]  # in whole pairs
        seconds: list[float] = []
        for number, (seed, entrant) in enumerate(order, start=1):
            self.watch.begin_final(entrant.name, seed, number, len(order))
            fresh = self.train(entrant, seed)
            seconds += [fresh.seconds] if fresh.seconds else []
            mean = sum(seconds) / len(seconds) if seconds else None
            left = None if mean is None else mean * (len(order) - number)
            self.watch.end_final(entrant.name, seed, fresh.test, fresh.reason, left)
            runs[entrant.name].append(fresh)
        return runs

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
                search=entrant.trial.scores if entrant.trial else {},
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


def entrants(baseline: Candidate, ranked: Sequence[TrialRow], top: int) -> list[Entrant]:
    """Returns the baseline and the best trials; a baseline among the best is named once."""
    written = next((row for row in ranked if row.written), None)
    field = [Entrant(name="baseline", trial=written, candidate=baseline, picks={})]
    for place, row in enumerate(ranked[:top], start=1):
        if not row.written:
            candidate = Candidate(
                picks=row.picks, identity=row.identity, hash=row.hash, costs=row.costs
            )
            field.append(
                Entrant(name=f"top {place}", trial=row, candidate=candidate, picks=row.picks)
            )
    return field


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
