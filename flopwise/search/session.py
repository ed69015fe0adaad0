"""One process working on one study: its trials, then the last step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopwise.dsl import Search
from flopwise.errors import RunError, many
from flopwise.search.agreement import Agreement, agreements
from flopwise.search.candidates import ENUMERABLE, Candidate, Probe
from flopwise.search.compare import RULE
from flopwise.search.final import Finals, Tuned, entrants
from flopwise.search.front import Objectives
from flopwise.search.loop import Loop
from flopwise.search.manifest import provenance
from flopwise.search.record import FinalRow, TrialRow, write_csv
from flopwise.search.scored import Scored
from flopwise.search.storage import LostError
from flopwise.search.watch import Plan
from flopwise.search.winner import Winner, choose, from_finals, from_trial, write_winner
from flopwise.search.workers import stoppable

__all__ = ["Outcome", "Session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a search ended with.

    Attributes:
        folder: The study's folder.
        trials: One row per trial, in order.
        finals: One row per network of the last step, the baseline first.
        winner: The chosen network; None when no trial gave a score.
        exhausted: True when the space held no further candidate.
        rule: How ties are told, for printing beside the finals.
        front: With several objectives, the trials that no other beats in all of them.
        objectives: Those that `front` is about.
        agreement: How scores without training, where the search used some, rank what it trained.
        parts: With several budgets, what the study of each ended with; the rest is then empty.
        budgets: With several budgets, a row for the winner of each.
    """

    folder: Path
    trials: tuple[TrialRow, ...]
    finals: tuple[FinalRow, ...] = ()
    winner: Winner | None = None
    exhausted: bool = False
    rule: str = RULE
    front: tuple[TrialRow, ...] = ()
    objectives: Objectives = ()
    agreement: tuple[Agreement, ...] = ()
    parts: tuple[Outcome, ...] = ()
    budgets: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process working on one study.

    Attributes:
        search: The search section of the spec.
        loop: Its trials.
        baseline: What arithmetic knows about the network as it is written.
        probe: What a look at the space found.
        command: The command that asked for it.
        scored: Where scores without training come from.
        tuned: The written network with the best of other training settings, if it has tried some.
    """

    search: Search
    loop: Loop
    baseline: Candidate
    probe: Probe
    command: str
    scored: Scored
    tuned: Tuned | None = None

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self.loop.folder.path

    @property
    def final_epochs(self) -> int:
        """Epochs of the trainings of the last step."""
        return self.search.final.epochs or self.loop.spec.recipe.epochs

    def run(self) -> Outcome:
        """Runs the trials, then the last step, and writes it all."""
        with stoppable():
            while True:
                try:
                    with self.loop.worker:
                        return self._run()
                except LostError as error:
                    self.loop.watch.note(f"{error}; going on as a new worker")

    def _run(self) -> Outcome:
        loop, watch = self.loop, self.loop.watch
        for text in loop.evaluator.notes:
            watch.note(text)
        if self.baseline.faults:
            why = "; ".join(self.baseline.faults)
            watch.note(f"the written network is no candidate, only the baseline at the end: {why}")
        watch.plan(self._plan())
        exhausted = not loop.run()
        loop.write()
        if exhausted:
            watch.note(self._exhausted())
        rows = tuple(loop.rows())
        agreement = self._agreement(rows)
        outcome = Outcome(folder=self.path, trials=rows, exhausted=exhausted, agreement=agreement)
        if len(self.search.objectives) > 1:
            front, goals = tuple(loop.ranked()), self.search.objectives
            outcome = replace(outcome, front=front, objectives=goals)
        if (best := loop.best()) is None:
            ended = loop.ended()
            why = f"; the last: {ended[-1].reason}" if ended else ""
            raise RunError(f"none of {many(len(ended), 'trials')} gave a score{why}")
        if not self.loop.finals:
            winner = from_trial(best, self.path, loop.spec.recipe.seed)
            return self._crowned(replace(outcome, winner=winner))
        return self._crowned(self._finals(outcome, best))

    def _agreement(self, rows: Sequence[TrialRow]) -> tuple[Agreement, ...]:
        """Says how the scores that the search used rank what it trained, as far as can be told."""
        scores = self.loop.sampler.strategy.facts.get("scores")
        if not scores:
            return ()
        done = [row for row in rows if row.state == "done"]
        networks = {row.number: self.loop.spec.network(row.picks) for row in done}
        try:
            found = agreements(done, networks, self.search.objective, scores, self.scored)
        except RunError:  # too few were trained
            return ()
        write_csv(self.path / "agreement.csv", [each.flat() for each in found])
        return tuple(found)

    def _finals(self, outcome: Outcome, best: TrialRow) -> Outcome:
        loop = self.loop
        field = entrants(
            self.baseline, loop.ranked(), self.search.final.top, self._scored(), self.tuned
        )
        finals = Finals(
            spec=loop.spec,
            folder=self.path,
            evaluator=loop.evaluator,
            watch=loop.watch,
            worker=loop.worker,
            seeds=self._fresh_seeds(),
            epochs=self.final_epochs,
        )
        runs = finals.run(field)
        rows = finals.rows(field, runs)
        write_csv(self.path / "finals.csv", [row.flat() for row in rows])
        chosen = choose(field, runs, best, self.search.objective)
        if chosen is None:
            raise RunError(
                f"every training of the last step failed: {next(iter(runs.values()))[0].reason}; "
                f"delete {self.path / 'finals'} to try again"
            )
        entrant, run = chosen
        row = next(row for row in rows if row.name == entrant.name)
        loop.watch.finals(rows, RULE)
        return replace(outcome, finals=rows, winner=from_finals(entrant, run, row, self.path))

    def _crowned(self, outcome: Outcome) -> Outcome:
        assert outcome.winner
        own = self.tuned if outcome.winner.name == "baseline" else None
        winner = replace(
            outcome.winner,
            trials=own.tries if own else self._scored(),
            data=dict(self.loop.evaluator.data),
        )
        write_winner(self.path, self.loop.spec, winner, provenance(self.command))
        return replace(outcome, winner=winner)

    def _scored(self) -> int:
        """Returns of how many trials the best are the best."""
        return sum(row.state == "done" for row in self.loop.ended())

    def _fresh_seeds(self) -> tuple[int, ...]:
        """Returns seeds that no trial used."""
        spec = self.loop.spec
        used = [spec.recipe_for(row.picks).seed for row in self.loop.ended()]
        first = max([spec.recipe.seed, *used]) + 1
        return tuple(range(first, first + self.search.final.seeds))

    def _plan(self) -> Plan:
        return Plan(
            probe=self.probe,
            rungs=self.loop.rungs,
            done=len(self.loop.ended()),
            epochs=self.loop.spec.recipe.epochs,
            images=self.loop.evaluator.images,
            finals=self.loop.finals,
            final_epochs=self.final_epochs,
        )

    def _exhausted(self) -> str:
        size, tried = self.probe.size, len(self.loop.ended())
        if size <= ENUMERABLE:
            return f"all {tried} feasible candidates of the space ({size:.0f} points) were tried"
        return (
            f"no further feasible candidate was found in {self.search.max_rejects} draws after "
            f"{many(tried, 'trials')}; a wider budget or space would give more"
        )
