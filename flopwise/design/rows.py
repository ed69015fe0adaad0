"""Trains the rows of a table, and judges which of their differences stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flopwise.design.trained import SCORE, Sets, TrainedTable
from flopwise.dsl import Spec
from flopwise.dsl.rows import Table
from flopwise.errors import Fault, RunError, SpecError, many

if TYPE_CHECKING:  # types only: they import torch
    from flopwise.search.crew import Crew
    from flopwise.search.rows import Job, Run, Runs
    from flopwise.search.training import Trainings
    from flopwise.train import Data

__all__ = ["open_images", "open_runs", "quoted", "train_rows"]

Told = Callable[[str], None]
SMALL = {32: 4, 64: 2}
"""Pixels of small images -> the `small` of a network: how much less its stem shrinks them."""


def train_rows(
    spec: Spec,
    folder: Path,
    *,
    data: str,
    seeds: int = 3,
    rows: Sequence[str] = (),
    small: int = 0,
    sets: Sets = (),
    told: Told = print,
    command: str = "",
    crew: Crew | None = None,
    processes: int = 1,
) -> TrainedTable:
    """Trains every row of a table with several seeds; the same call again goes on.

    Several processes may work on one folder: each takes trainings that no other is at.

    Args:
        spec: A spec with a table.
        folder: Where results and checkpoints lie.
        data: Where the images come from.
        seeds: Trainings of each row.
        rows: The rows to train; all that are networks by default.
        small: Pixels of small images, 32 or 64, that the rows are scaled to; 0 leaves them.
        sets: Paths and values that are laid on every row.
        told: Takes a line for each training that ends.
        command: The command that asked for it, kept with each result.
        crew: Worker processes of the same command, which do the trainings.
        processes: How many share each training, started by torchrun, each on a GPU of its own
            where there are GPUs.

    Raises:
        SpecError: There is no such row, or a row cannot be built or trained with these sets.
        RunError: The folder holds something else, or all trainings failed.
    """
    from flopwise.search.rows import jobs_of

    chosen = _chosen(spec, rows)
    sets = [*(_scaled(spec, chosen, small) if small else ()), *sets]
    laid = [("train.data", quoted(data)), *sets]
    specs = {name: spec.row(name).set(laid) for name in chosen}
    jobs = jobs_of(specs, seeds)
    images, opened = open_images(specs.values(), jobs, processes, told)
    seen = sum(len(opened.train) * job.recipe.epochs for job in jobs)
    told(
        f"{many(len(chosen), 'rows')} x {many(seeds, 'seeds')}: {many(len(jobs), 'trainings')}, "
        f"{seen:,} images in all"
    )
    runs = open_runs(folder, jobs, images, command, told)

    def each(run: Run, left: int) -> None:
        score = run.reason or f"{run.scores[SCORE]:.2f} % of the test images"
        told(f"{run.row}, seed {run.seed}: {score} ({run.seconds:.0f} s); {left} left")

    done = runs.run(each, crew)
    grouped = {name: [run for run in done if run.row == name] for name in chosen}
    return _concluded(spec, folder, grouped, sets)


def open_images(
    specs: Iterable[Spec], jobs: Sequence[Job], processes: int, told: Told
) -> tuple[Trainings, Data]:
    """Opens the images of trainings, which share them, and says what they are.

    Raises:
        SpecError: They are not there, or some setting cannot be followed.
    """
    from flopwise.search.settings import refuse_settings
    from flopwise.search.training import Trainings, described, shared_by

    images = Trainings(processes=processes)
    opened = images.images(jobs[0].network, jobs[0].recipe)
    refuse_settings(specs, opened, processes)
    for note in (described(opened), *shared_by(processes)):
        told(note)
    return images, opened


def open_runs(
    folder: Path, jobs: Sequence[Job], images: Trainings, command: str, told: Told
) -> Runs:
    """Opens the trainings of a folder, and says how many of them are over.

    Raises:
        RunError: The folder holds something else.
    """
    from flopwise.search.rows import Runs

    runs = Runs(folder, jobs, images, command)
    if known := len(runs.done):
        told(f"{known} of them are in {folder}/results.jsonl already")
    return runs


def _concluded(
    spec: Spec, folder: Path, runs: Mapping[str, Sequence[Run]], sets: Sets
) -> TrainedTable:
    from flopwise.search.statistics import agreement, contrasts, paired, spread

    good = {name: [run for run in each if not run.reason] for name, each in runs.items()}
    good = {name: each for name, each in good.items() if each}
    if not good:
        raise RunError(f"every training failed; the last: {list(runs.values())[-1][-1].reason}")
    assert spec.table
    last = {each[0].identity: name for name, each in good.items()}
    twins = {name: last[each[0].identity] for name, each in good.items()}
    twins = {name: twin for name, twin in twins.items() if name != twin}
    good = {name: each for name, each in good.items() if name not in twins}
    pairs = _pairs(spec.table, list(good), twins)
    correct = {name: {run.seed: run.answers for run in each} for name, each in good.items()}
    scores = {name: [run.scores[SCORE] for run in each] for name, each in good.items()}
    noise = paired([{run.seed: run.scores[SCORE] for run in each} for each in good.values()])
    figures = {name: spec.table.rows[name].ref.get(SCORE) for name in good}
    printed = {name: figure.value for name, figure in figures.items() if figure}
    return TrainedTable(
        spec=spec,
        folder=folder,
        runs=runs,
        spread=spread(list(scores.values())),
        paired=noise,
        contrasts={c.row: c for c in contrasts(pairs, correct, noise)},
        agreement=agreement(list(printed.values()), [scores[name] for name in printed]),
        sets=sets,
        twins=twins,
    )


def _pairs(table: Table, names: Sequence[str], twins: Mapping[str, str]) -> dict[str, str]:
    """Returns what each row is compared with: what it says, else its parent, else the first."""
    pairs = {}
    for name in names:
        row = table.rows[name]
        base = row.against or row.parent or names[0]
        base = twins.get(base, base)
        pairs[name] = base if base in names and base != name else names[0]
    return {name: base for name, base in pairs.items() if name != base}


def _scaled(spec: Spec, rows: Sequence[str], size: int) -> Sets:
    """Returns what scales rows to small images: their size, and the `small` of each row."""
    if size not in SMALL:
        raise RunError(f"small images have {' or '.join(map(str, SMALL))} pixels, not {size}")
    if without := [name for name in rows if "small" not in spec.row(name).plan.values]:
        raise RunError(
            f"row '{without[0]}' of '{spec.name}' has no variable 'small', the rule for small "
            "images; write  vars: {small: 1}  and divide the stride of its stem by it, as in  "
            "stride: $(4 // small)  , or lay your own changes on every row with --set"
        )
    return [("input.size", str(size)), ("small", str(SMALL[size]))]


def _chosen(spec: Spec, rows: Sequence[str]) -> Sequence[str]:
    """Returns the names of the rows to train; those that are networks."""
    if not spec.rows:
        fact = f"'{spec.name}' has no table"
        help_ = "write  table: {rows: {wide: {set: {w: 96}}}}"
        raise SpecError([Fault(code="E410", message=fact, helps=(help_,))])
    for name in rows:
        spec.row(name)  # says which rows there are
    return rows or spec.rows


def quoted(text: str) -> str:
    """Returns a text as YAML, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
