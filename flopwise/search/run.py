"""`search`: from a spec with a space to a trained winner beside the hand-written baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.dsl import Search, Spec
from flopwise.errors import RunError
from flopwise.search.baseline import tune
from flopwise.search.candidates import made
from flopwise.search.crew import Crew, dealt, idle, visible_gpus
from flopwise.search.evaluator import Evaluator
from flopwise.search.evaluators import evaluator_of
from flopwise.search.folder import StudyFolder
from flopwise.search.front import beaten
from flopwise.search.opening import Order, look, section, start
from flopwise.search.recalling import recollection
from flopwise.search.record import TrialRow, write_csv
from flopwise.search.session import Outcome
from flopwise.search.slurm import Jobs, options_of, with_gpus
from flopwise.search.watch import Watch
from flopwise.search.workers import GRACE

if TYPE_CHECKING:  # a type only: the room imports torch
    from flopwise.nets.inherit import Start

__all__ = ["budget_rows", "search", "work"]


def search(
    spec: Spec,
    folder: str | Path,
    *,
    trials: int | None = None,
    evaluator: Evaluator | None = None,
    begin: Start | None = None,
    watch: Watch | None = None,
    on_trial: Callable[[TrialRow], None] | None = None,
    command: str = "",
    storage: str = "",
    workers: int = 1,
    slurm: str = "",
    grace: float = GRACE,
    allow_code: bool = False,
    processes: int = 1,
) -> Outcome:
    """Searches the space of a spec inside its budget and judges the best afresh.

    The same call on the same folder continues a search that was stopped, however it was stopped.
    Other processes may help it: see `work`.
    Several budgets are studies of their own, one after the other, in `budget-1` and so on.

    Args:
        spec: A spec with a `search` section.
        folder: Where the study lives; created when missing.
        trials: Trainings in all, those of earlier sessions included; the spec's by default.
        evaluator: What gives candidates their scores; the spec's by default.
        begin: Weights that every training begins from, as far as they fit; part of what the study
            is a study of.
        watch: Who is told what happens; nobody by default.
        on_trial: Called with the row of every trial that ends.
        command: The command that asked for it, for the manifest.
        storage: URL of the database that keeps the trials; a journal in the folder by default.
        workers: Processes that share the work, one per GPU where there are GPUs; with more than
            one, candidates get their scores from what the spec names.
        slurm: Long options of sbatch, as `partition=gpu,time=60`: the workers are jobs of Slurm.
        grace: Seconds without a sign of life after which a worker counts as dead.
        allow_code: Whether a function or sampler that the spec names may run although nobody
            allowed it before.
        processes: Processes that share each training, started by torchrun, each on a GPU of its own
            where there are GPUs; workers that join later are told.

    Returns:
        The trials, the last step and the winner.

    Raises:
        SpecError: The spec has no search section, no candidate meets the budget, or the folder
            holds a study of something else.
        RunError: Another process holds the folder, or trainings fail again and again.
    """
    section(spec)
    order = Order(
        watch=watch or Watch(),
        on_trial=on_trial,
        command=command,
        trials=trials,
        grace=grace,
        allow_code=allow_code,
        begin=begin,
        processes=processes,
    )
    with StudyFolder(Path(folder), url=storage) as home:
        if workers < 2 and not slurm:
            trains = evaluator is None and section(spec).evaluator.kind == "training"
            if trains and (told := idle(visible_gpus(), processes)):
                order.watch.note(told)
            return _run(spec, evaluator, home, order)
        if evaluator:
            raise RunError("workers are processes of their own: let the spec name the evaluator")
        with _crew(home, workers, slurm, order) as crew:
            return _run(spec, evaluator, home, replace(order, crew=crew))


def _crew(home: StudyFolder, workers: int, slurm: str, order: Order) -> Crew:
    """Returns the workers of a search: processes of this machine, or jobs of Slurm."""
    told, each = order.watch.note, order.processes
    if slurm:
        options = with_gpus(options_of(slurm), each)
        return Jobs(home.path, workers, home.url, told=told, options=options)
    return Crew(home.path, workers, home.url, dealt(visible_gpus(), each, "--gpus-per-trial"), told)


def work(
    spec: Spec,
    folder: str | Path,
    *,
    evaluator: Evaluator | None = None,
    watch: Watch | None = None,
    command: str = "",
    storage: str = "",
    parent: int = 0,
    begin: Start | None = None,
    processes: int | None = None,
) -> Outcome:
    """Helps with a study that a search has started; as many processes may as there are trials.

    Args:
        spec: The spec it was started with; see `recall`.
        folder: The study's folder, which all workers share.
        evaluator: What gives candidates their scores; what the search uses.
        watch: Who is told what this worker does.
        command: The command that asked for it, for the records.
        storage: The search's own storage, where its URL needs a password.
        parent: The process to work for; the worker leaves when that is gone.
        begin: Weights that every training begins from, as the search has them.
        processes: Processes that share a training; as many as the search said by default.

    Returns:
        What the search gave, once all of it is done.
    """
    home = StudyFolder(Path(folder), url=storage, joins=True)
    known = home.known()
    order = Order(
        watch=watch or Watch(),
        command=command,
        trials=known.get("trials"),
        grace=known.get("grace", GRACE),
        parent=parent,
        begin=begin,
        processes=known.get("processes", 1) if processes is None else processes,
    )
    with home:
        return _run(spec, evaluator, home, order)


def _run(spec: Spec, evaluator: Evaluator | None, home: StudyFolder, order: Order) -> Outcome:
    try:
        if evaluator is None:
            spec, evaluator = evaluator_of(
                spec, allow_code=order.allow_code, begin=order.begin, processes=order.processes
            )
        return _studies(spec, evaluator, home, order)
    finally:
        order.watch.close()


def _studies(spec: Spec, evaluator: Evaluator, home: StudyFolder, order: Order) -> Outcome:
    """Runs the study of each budget; all budgets are looked at before the first is searched."""
    found = section(spec)
    wanted = found.trials if order.trials is None else order.trials
    if len(found.budget) < 2:
        session = start(spec, evaluator, home, order)  # refuses before anything is trained
        tuned = tune(spec, evaluator, home, order, wanted)
        return replace(session, tuned=tuned).run()
    alone = [replace(spec, search=replace(found, budget=(budget,))) for budget in found.budget]
    for each in alone if not home.joins else ():
        look(each, order.watch.tables)
    parts, tuned = [], None
    for number, each in enumerate(alone, 1):
        windows = ", ".join(f"{m} {w}" for m, w in found.budget[number - 1].items())
        order.watch.note(f"budget {number} of {len(alone)}: {windows}")
        with home.part(f"budget-{number}") as folder:
            session = start(each, evaluator, folder, order)
            if not home.joins:  # a part says what it is about; the whole, what it is made of
                home.remember({**folder.known(), **recollection(spec)})
            if number == 1:
                tuned = tune(spec, evaluator, home, order, wanted)
            parts.append(replace(session, tuned=tuned).run())
    outcome = Outcome(folder=home.path, trials=(), parts=tuple(parts))
    rows = budget_rows(outcome, found)
    write_csv(home.path / "budgets.csv", rows)
    return replace(outcome, budgets=tuple(rows))


def budget_rows(outcome: Outcome, search: Search) -> list[dict[str, Any]]:
    """Returns one row per budget: its winner, and whether another winner beats it in all."""
    rows = []
    metrics = {metric for budget in search.budget for metric in budget}
    direction, score = search.objective
    sign = 1 if direction == "minimize" else -1
    winners = [part.winner for part in outcome.parts]
    losses = [
        (sign * w.validation[score], *(w.costs[m] for m in sorted(metrics))) for w in winners if w
    ]
    for part, budget, own in zip(outcome.parts, search.budget, losses, strict=True):
        winner = part.winner
        assert winner, "a study that ends has a winner"
        rows.append(
            {
                "folder": part.folder.name,
                "budget": ", ".join(f"{metric} {window}" for metric, window in budget.items()),
                "winner": winner.name,
                "front": not beaten(own, losses),
                **winner.costs,
                **{f"val_{name}": value for name, value in winner.validation.items()},
                **{f"test_{name}": value for name, (value, _) in winner.fresh.items()},
                **{f"test_{name}_sd": value for name, (_, value) in winner.fresh.items()},
                "picks": made(winner.picks),
            }
        )
    return rows
