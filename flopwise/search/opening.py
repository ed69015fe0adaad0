"""What comes before the first trial: a look at the space, what is refused, and the open study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import FrozenTrial

from flopwise.dsl import Search, Spec
from flopwise.dsl.space import no_search
from flopwise.dsl.spent import Unsteady
from flopwise.errors import Fault, SpecError
from flopwise.search.candidates import Candidates, Picks, Probe, made, thawed
from flopwise.search.crew import Crew, Overseer
from flopwise.search.evaluator import Evaluator
from flopwise.search.folder import StudyFolder
from flopwise.search.identity import digest, judge, share_of, study_identity
from flopwise.search.loop import Loop
from flopwise.search.manifest import provenance, write_manifest, write_sources
from flopwise.search.pruning import pruner_of
from flopwise.search.recalling import recollection
from flopwise.search.record import TrialRow
from flopwise.search.sampler import FeasibleSampler
from flopwise.search.scored import Scored, images_for
from flopwise.search.session import Session
from flopwise.search.strategies import strategy_of
from flopwise.search.study import Study
from flopwise.search.watch import Watch
from flopwise.search.workers import GRACE, Worker
from flopwise.spaces import Tell, feasible_space

if TYPE_CHECKING:  # a type only: the room imports torch
    from flopwise.nets.inherit import Start

__all__ = ["Order", "look", "refuse_other_networks", "section", "space_of", "start", "written"]

CHECKED = 50
"""Earlier trials that a resumed search resolves again to see that they are what they were."""


def section(spec: Spec) -> Search:
    """Returns the search section of a spec; there must be one."""
    if spec.search is None:
        raise SpecError([no_search(spec.name)])
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
        processes: Processes that share a training.
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
    processes: int = 1

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


def start(spec: Spec, evaluator: Evaluator, home: StudyFolder, order: Order) -> Session:
    """Looks at the space, refuses the impossible, and opens the study."""
    search = section(spec)
    tell = order.watch.tables
    candidates, probe = (space_of(spec, tell), None) if home.joins else look(spec, tell)
    baseline = judge(spec, search)({})
    trials = search.trials if order.trials is None else order.trials
    scored = Scored(home.path / "scores.jsonl", order.watch.scored, images_for(spec.network()))
    strategy = strategy_of(
        spec, trials, images=evaluator.images, scored=scored, allow_code=order.allow_code
    )
    seed, rungs = search.sampler.seed, strategy.rungs(trials)
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
        study.note("plan", {**plan, "rungs": [list(rung) for rung in rungs]})
        place = str(Path(order.begin.place).resolve()) if order.begin else ""
        if seen := strategy.facts.get("scores"):
            order.watch.note(
                f"the model of this search sees scores without training: {', '.join(seen)} "
                "(sampler.scores: [] leaves them out)"
            )
        asked = {"trials": order.trials, "grace": order.grace, "begin": place}
        asked["processes"] = order.processes
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
        rungs=rungs,
        pruner=pruner_of(spec, allow_code=order.allow_code),
        on_trial=order.on_trial,
        written=baseline.identity,
        finals=(final.top + 1) * final.seeds if evaluator.judge and final.top else 0,
        final_share=(final.epochs or spec.recipe.epochs) / spec.recipe.epochs,
        spec_hash=digest([dict(spec.sources), list(spec.origin.sets)]),
        made=provenance(order.command),
    )
    return Session(
        search=search,
        loop=loop,
        baseline=baseline,
        probe=probe,
        command=order.command,
        scored=scored,
    )


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


def space_of(spec: Spec, tell: Tell | None = None) -> Candidates:
    """Returns the space of a spec and the arithmetic that judges its points.

    `tell` is told how far its cost tables are, where they take long.
    """
    search = section(spec)
    try:
        feasible = feasible_space(spec, tell=tell)
    except Unsteady:  # candidates are then judged one by one
        feasible = None
    return Candidates(
        search.space,
        judge(spec, search),
        conditional=search.when,
        draws=search.max_rejects,
        feasible=feasible,
    )


def look(spec: Spec, tell: Tell | None = None) -> tuple[Candidates, Probe]:
    """Returns the space of a spec and what a look at it found; there must be a candidate."""
    candidates = space_of(spec, tell)
    probe = candidates.probe()
    if not probe.feasible and candidates.find(np.random.default_rng(0), ()) is None:
        if candidates.feasible and probe.complete:
            raise SpecError([candidates.feasible.impossible()])
        spec.probe()  # says what was seen instead, and points at the budget
        raise SpecError([Fault(code="E501", message="no candidate meets the budget")])
    return candidates, probe
