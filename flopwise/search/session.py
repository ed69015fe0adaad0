"""One process working on one study: its trials, then the last step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial

from flopwise.dsl import Search, Spec
from flopwise.dsl.spent import Unsteady
from flopwise.errors import Fault, RunError, SpecError
from flopwise.search.candidates import (
    ENUMERABLE,
    Candidate,
    Candidates,
    Picks,
    Probe,
    made,
    thawed,
)
from flopwise.search.compare import RULE
from flopwise.search.crew import Crew, Overseer
from flopwise.search.evaluator import Evaluator
from flopwise.search.final import Finals, entrants
from flopwise.search.folder import StudyFolder
from flopwise.search.front import Objectives
from flopwise.search.identity import digest, judge, share_of, study_identity
from flopwise.search.loop import Loop
from flopwise.search.manifest import provenance, write_manifest, write_sources
from flopwise.search.pruning import pruner_of
from flopwise.search.recalling import recollection
from flopwise.search.record import FinalRow, TrialRow, write_csv
from flopwise.search.sampler import FeasibleSampler
from flopwise.search.storage import LostError
from flopwise.search.strategies import strategy_of
from flopwise.search.study import Study
from flopwise.search.watch import Plan, Watch
from flopwise.search.winner import Winner, choose, from_finals, from_trial, write_winner
from flopwise.search.workers import GRACE, Worker, stoppable
from flopwise.spaces import feasible_space

if TYPE_CHECKING:  # a type only: the room imports torch
    from flopwise.nets.inherit import Start

__all__ = [
    "Order",
    "Outcome",
    "Session",
    "look",
    "refuse_other_networks",
    "section",
    "space_of",
    "start",
    "written",
]

CHECKED = 50
"""Earlier trials that a resumed search resolves again to see that they are what they were."""


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
    parts: tuple[Outcome, ...] = ()
    budgets: tuple[Mapping[str, Any], ...] = ()


def section(spec: Spec) -> Search:
    """Returns the search section of a spec; there must be one."""
    if spec.search is None:
        raise SpecError([Fault(code="E505", message=f"'{spec.name}' has no search section")])
    return spec.search


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who asked for a search, how its workers behave, and who is told about it.

    Attributes:
        watch: Who is told.
        on_trial: Called with the row of every trial that this process ended.
        command: The command that asked for it.
        trials: Trainings in all; the spec's by default.
        grace: Seconds without a sign of life after which a worker counts as dead.
        parent: The process that this one works for, if it is a worker of a search.
        crew: The workers of a search that trains nothing itself.
        allow_code: Whether code that the spec names may run although nobody allowed it before.
        begin: Weights that every training begins from.
    """

    watch: Watch
    on_trial: Callable[[TrialRow], None] | None = None
    command: str = ""
    trials: int | None = None
    grace: float = GRACE
    parent: int = 0
    crew: Crew | None = None
    allow_code: bool = False
    begin: Start | None = None

    def worker(self, study: Study) -> Worker:
        """Returns this process as a worker of a study, or as the overseer of its workers."""
        about = {"command": self.command}
        if self.crew:
            return Overseer(
                register=study.register, patience=study.patience, crew=self.crew, watch=self.watch
            )
        return Worker(
            register=study.register,
            patience=study.patience,
            grace=self.grace,
            about=about,
            parent=self.parent,
        )


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process working on one study.

    Attributes:
        search: The search section of the spec.
        loop: Its trials.
        baseline: What arithmetic knows about the network as it is written.
        probe: What a look at the space found.
        command: The command that asked for it.
    """

    search: Search
    loop: Loop
    baseline: Candidate
    probe: Probe
    command: str

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self.loop.folder.path

    @property
    def final_epochs(self) -> int:
        """Epochs of the trainings of the last step."""
        return self.search.final.epochs or self.loop.spec.recipe.epochs

    def run(self, trials: int) -> Outcome:
        """Runs what that many full trainings are worth, then the last step, and writes it all."""
        wanted = self.loop.sampler.strategy.trainings(trials)
        with stoppable():
            while True:
                try:
                    with self.loop.worker:
                        return self._run(wanted)
                except LostError as error:
                    self.loop.watch.note(f"{error}; going on as a new worker")

    def _run(self, trials: int) -> Outcome:
        loop, watch = self.loop, self.loop.watch
        for text in loop.evaluator.notes:
            watch.note(text)
        if self.baseline.faults:
            why = "; ".join(self.baseline.faults)
            watch.note(f"the written network is no candidate, only the baseline at the end: {why}")
        watch.plan(self._plan(trials))
        exhausted = not loop.run(trials)
        loop.write()
        if exhausted:
            watch.note(self._exhausted())
        outcome = Outcome(folder=self.path, trials=tuple(loop.rows()), exhausted=exhausted)
        if len(self.search.objectives) > 1:
            front, goals = tuple(loop.ranked()), self.search.objectives
            outcome = replace(outcome, front=front, objectives=goals)
        if (best := loop.best()) is None:
            ended = loop.ended()
            why = f"; the last: {ended[-1].reason}" if ended else ""
            raise RunError(f"none of {len(ended)} trials gave a score{why}")
        if not self.loop.finals:
            winner = from_trial(best, self.path, loop.spec.recipe.seed)
            return self._crowned(replace(outcome, winner=winner))
        return self._crowned(self._finals(outcome, best))

    def _finals(self, outcome: Outcome, best: TrialRow) -> Outcome:
        loop = self.loop
        field = entrants(self.baseline, loop.ranked(), self.search.final.top)
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
        winner = replace(
            outcome.winner,
            trials=sum(row.state == "done" for row in self.loop.ended()),
            data=dict(self.loop.evaluator.data),
        )
        write_winner(self.path, self.loop.spec, winner, provenance(self.command))
        return replace(outcome, winner=winner)

    def _fresh_seeds(self) -> tuple[int, ...]:
        """Returns seeds that no trial used."""
        spec = self.loop.spec
        used = [spec.recipe_for(row.picks).seed for row in self.loop.ended()]
        first = max([spec.recipe.seed, *used]) + 1
        return tuple(range(first, first + self.search.final.seeds))

    def _plan(self, trials: int) -> Plan:
        return Plan(
            probe=self.probe,
            trials=trials,
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
            f"{tried} trials; "
            "a wider budget or space would give more"
        )


def start(spec: Spec, evaluator: Evaluator, home: StudyFolder, order: Order) -> Session:
    """Looks at the space, refuses the impossible, and opens the study."""
    search = section(spec)
    candidates, probe = (space_of(spec), None) if home.joins else look(spec)
    baseline = judge(spec, search)({})
    trials = search.trials if order.trials is None else order.trials
    strategy = strategy_of(spec, trials, allow_code=order.allow_code)
    seed = search.sampler.seed
    sampler = FeasibleSampler(candidates, strategy, seed=seed, first=written(spec, search))
    identity = study_identity(spec, search, evaluator.facts)
    directions = [direction for direction, _ in search.objectives]
    study = home.open(identity, sampler, directions, told=order.watch.note)
    refuse_other_networks(study.trials, candidates)
    if probe is None:
        probe = Probe(**study.attributes["probe"])
    else:
        study.note("probe", asdict(probe))
        plan = {"name": spec.name, "evaluator": search.evaluator.kind}
        study.note("plan", {**plan, "trials": strategy.trainings(trials)})
        place = order.begin.place if order.begin else ""
        asked = {"trials": order.trials, "grace": order.grace, "begin": place}
        home.remember({**recollection(spec), **asked})
        write_sources(home.path, spec, evaluator.manifest)
        facts = {"kind": search.sampler.kind, "seed": seed, "draws": candidates.draws}
        write_manifest(home.path, identity, {**facts, **strategy.facts}, order.command)
    final = search.final
    loop = Loop(
        spec=spec,
        folder=home,
        study=study,
        worker=order.worker(study),
        sampler=sampler,
        evaluator=evaluator,
        watch=order.watch,
        objectives=search.objectives,
        pruner=pruner_of(spec, allow_code=order.allow_code),
        on_trial=order.on_trial,
        written=baseline.identity,
        finals=(final.top + 1) * final.seeds if evaluator.judge and final.top else 0,
        final_share=(final.epochs or spec.recipe.epochs) / spec.recipe.epochs,
        spec_hash=digest([dict(spec.sources), list(spec.origin.sets)]),
        made=provenance(order.command),
    )
    return Session(search=search, loop=loop, baseline=baseline, probe=probe, command=order.command)


def refuse_other_networks(trials: Sequence[FrozenTrial], candidates: Candidates) -> None:
    """Raises when the picks of an earlier trial no longer make what was trained.

    The written network may agree while an expression, a block or the program behind it changed.
    """
    for trial in trials[-CHECKED:]:
        then, picks = trial.user_attrs.get("identity"), trial.user_attrs.get("picks")
        if then and picks and candidates.judge(thawed(picks)).identity != share_of(then)[0]:
            what = f"trial {trial.number} ({made(picks)})"
            message = f"{what} of this study trained another network"
            helps = ("name another folder for a new study, or put the old spec back",)
            raise SpecError([Fault(code="E504", message=message, helps=helps)])


def written(spec: Spec, search: Search) -> Picks | None:
    """Returns the picks of the network as it is written; None when it lies outside the space."""
    picks = spec.written
    always = [target for target in search.space if target not in search.when]
    known = all(target in picks for target in always)
    inside = all(search.space[target].contains(value) for target, value in picks.items())
    return picks if known and inside else None


def space_of(spec: Spec) -> Candidates:
    """Returns the space of a spec and the arithmetic that judges its points."""
    search = section(spec)
    try:
        feasible = feasible_space(spec)
    except Unsteady:  # candidates are then judged one by one
        feasible = None
    return Candidates(
        search.space,
        judge(spec, search),
        conditional=search.when,
        draws=search.max_rejects,
        feasible=feasible,
    )


def look(spec: Spec) -> tuple[Candidates, Probe]:
    """Returns the space of a spec and what a look at it found; there must be a candidate."""
    candidates = space_of(spec)
    probe = candidates.probe()
    if not probe.feasible and candidates.find(np.random.default_rng(0), ()) is None:
        if candidates.feasible and probe.complete:
            raise SpecError([candidates.feasible.impossible()])
        spec.probe()  # says what was seen instead, and points at the budget
        raise SpecError([Fault(code="E501", message="no candidate meets the budget")])
    return candidates, probe
