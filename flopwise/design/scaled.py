"""A family of trainings and its scaling law: widths, depths, epoch budgets, learning rates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.design.rows import open_images, open_runs, quoted
from flopwise.dsl import Spec
from flopwise.errors import RunError, many
from flopwise.report.scaling import scaling_notes, scaling_table
from flopwise.report.tables import Style, draw

if TYPE_CHECKING:  # types only: they import torch, optuna and scipy
    from flopwise.search.crew import Crew
    from flopwise.search.points import Point
    from flopwise.search.rows import Job, Run
    from flopwise.search.scaling import Scaling

__all__ = ["Scaled", "read_family", "train_family"]

Told = Callable[[str], None]
HELD_OUT = "cross-entropy on the validation images after the last epoch, by which all is chosen"
OWN = {"train.epochs": "epochs", "train.lr": "learning rates", "train.data": "the images"}
"""Paths that a family varies in another way, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A family of trainings, and what it says.

    Attributes:
        name: Its name.
        points: Its trainings that did not fail.
        found: The law.
        counted: What its compute is.
        measured: What its loss is.
        failures: Training -> why it failed.
    """

    name: str
    points: Sequence[Point]
    found: Scaling
    counted: str
    measured: str
    failures: Mapping[str, str]

    def text(self, style: Style = "plain") -> str:
        """Returns it as terminal, plain, Markdown, LaTeX, HTML or CSV text."""
        table = draw(scaling_table(self.found), style)
        return table if style == "csv" else "\n".join([table, *self._notes(), ""])

    def _notes(self) -> Iterator[str]:
        yield from scaling_notes(self.found, self.counted, self.measured)
        yield from (f"{name} failed: {why}" for name, why in self.failures.items())

    def facts(self) -> dict[str, Any]:
        """Returns plain data: every training, cell, line and band, and what they are."""
        found = {key: value for key, value in asdict(self.found).items() if key != "cells"}
        return {
            "name": self.name,
            "compute": self.counted,
            "loss": self.measured,
            "law": found,
            "cells": [
                {**each.first.as_dict(), **asdict(replace(each, first=None))}  # type: ignore[arg-type]
                for each in self.found.cells
            ],
            "points": [each.as_dict() for each in self.points],
            "failures": dict(self.failures),
        }

    def write(self, folder: Path) -> Iterator[Path]:
        """Writes points.csv, scaling.json and page.html.

        Yields:
            Each file, when it is there.
        """
        from flopwise.report.scaling_charts import scaling_page
        from flopwise.search.files import write_json, write_text
        from flopwise.search.record import write_csv

        write_csv(folder / "points.csv", [each.as_dict() for each in self.points])
        yield folder / "points.csv"
        write_json(folder / "scaling.json", self.facts())
        yield folder / "scaling.json"
        page = scaling_page(self.name, self.found, self.counted, self.measured)
        write_text(folder / "page.html", page)
        yield folder / "page.html"


def read_family(path: Path) -> Scaled:
    """Returns the law of trainings in a CSV, such as printed ones; nothing is trained.

    Args:
        path: A file with the columns compute and loss; see `flopwise.search.points.read_points`.

    Raises:
        RunError: The file cannot be read, or says too little.
    """
    from flopwise.search.points import COUNTED, read_points
    from flopwise.search.scaling import scaling

    points = read_points(path)
    return Scaled(
        name=path.stem,
        points=points,
        found=scaling(points),
        counted=COUNTED if _is_ours(points) else f"as in {path.name}",
        measured=f"as in {path.name}",
        failures={},
    )


def _is_ours(points: Sequence[Point]) -> bool:
    """Whether compute is what we count, from the columns beside it."""
    from flopwise.search.points import training_macs

    known = [(p, p.macs, p.images) for p in points]
    return all(m and i and p.compute == training_macs(int(m), int(i)) for p, m, i in known)


def train_family(
    spec: Spec,
    folder: Path,
    *,
    data: str,
    epochs: Sequence[int] = (),
    rates: Sequence[float] = (),
    vary: Mapping[str, Sequence[str]] | None = None,
    seeds: int = 3,
    rows: Sequence[str] = (),
    sets: Sequence[tuple[str, str]] = (),
    told: Told = print,
    command: str = "",
    crew: Crew | None = None,
    processes: int = 1,
) -> Scaled:
    """Trains every model of a family for every epoch budget; the same call again goes on.

    The models are the rows of the spec's table, or the spec itself, each with every combination of
    what is varied. The whole schedule, warm-up included, is as long as the budget.

    Args:
        spec: The spec.
        folder: Where results and checkpoints lie, as those of a table do.
        data: Where the images come from.
        epochs: The budgets; the spec's own by default.
        rates: Learning rates, all tried for every model and budget; the spec's own by default.
        vary: Path -> values, as YAML.
        seeds: Trainings of each.
        rows: The rows of the table to take; all that are networks by default.
        sets: Paths and values that are laid on every model.
        told: Takes a line for each training that ends.
        command: The command that asked for it, kept with each result.
        crew: Worker processes of the same command, which do the trainings.
        processes: How many share each training, started by torchrun, each on a GPU of its own
            where there are GPUs.

    Raises:
        SpecError: There is no such row or path, or a model cannot be built or trained.
        RunError: The folder holds something else, or fewer than two trainings ended well.
    """
    from flopwise.search.points import training_macs
    from flopwise.search.rows import jobs_of
    from flopwise.train import images_seen

    models = _models(spec, rows, vary or {}, [("train.data", quoted(data)), *sets])
    named = {job.row: (job, model) for model, job in _jobs(jobs_of(models, seeds), epochs, rates)}
    jobs = [job for _, job in _jobs(jobs_of(models, seeds), epochs, rates)]
    images, opened = open_images(models.values(), jobs, processes, told)
    seen = [images_seen(opened, job.recipe) for job in jobs]
    work = sum(
        training_macs(job.network.graph.macs, count) for job, count in zip(jobs, seen, strict=True)
    )
    told(
        f"{many(len(models), 'models')}, {many(len(jobs), 'trainings')} with "
        f"{many(seeds, 'seeds')} each: {sum(seen):,} images, {work:.3e} multiply-adds"
    )
    runs = open_runs(folder, jobs, images, command, told)

    def each(run: Run, left: int) -> None:
        loss = run.reason or f"validation loss {run.validation['loss']:.4f}"
        told(f"{run.row}, seed {run.seed}: {loss} ({run.seconds:.0f} s); {left} left")

    done = runs.run(each, crew)
    return _concluded(spec.name, done, {row: model for row, (_, model) in named.items()})


def _jobs(
    jobs: Sequence[Job], epochs: Sequence[int], rates: Sequence[float]
) -> Iterator[tuple[str, Job]]:
    """Yields each training of a model once for every budget and learning rate, with its model."""
    from flopwise.search.identity import recipe_of

    for job in jobs:
        own = job.recipe
        for budget, rate in product(epochs or [own.epochs], rates or [own.lr]):
            recipe = replace(recipe_of(own, budget / own.epochs), lr=rate)
            name = f"{job.row}-e{budget}" + (f"-lr{rate:g}" if rates else "")
            yield job.row, replace(job, row=name, recipe=recipe)


def _models(
    spec: Spec,
    rows: Sequence[str],
    vary: Mapping[str, Sequence[str]],
    laid: Sequence[tuple[str, str]],
) -> dict[str, Spec]:
    """Returns the models of a family by name."""
    for path in vary.keys() & OWN.keys():
        raise RunError(f"a family varies {OWN[path]} not by a path; use --epochs, --lr or --train")
    bases = {name: spec.row(name) for name in rows or spec.rows} or {"": spec}
    short = [path.rpartition(".")[2] for path in vary]
    labels = short if len({*short}) == len(short) else list(vary)
    found: dict[str, Spec] = {}
    for (name, base), point in product(bases.items(), product(*vary.values())):
        words = [f"{label}{value}" for label, value in zip(labels, point, strict=True)]
        model = re.sub(r"[^\w.+-]+", "_", "-".join(filter(None, [name, *words])))
        if model in found:
            raise RunError(f"the family has a model '{model}' twice; write each value once")
        found[model or spec.name] = base.set([*laid, *zip(vary, point, strict=True)])
    return found


def _concluded(name: str, runs: Sequence[Run], models: Mapping[str, str]) -> Scaled:
    from flopwise.search.points import COUNTED, point_of
    from flopwise.search.scaling import scaling

    failures = {f"{run.row}, seed {run.seed}": run.reason for run in runs if run.reason}
    good = [run for run in runs if not run.reason and isfinite(run.validation["loss"])]
    if len(good) < 2:
        last = f"; the last failure: {[*failures.values()][-1]}" if failures else ""
        raise RunError(f"{len(good)} of {len(runs)} trainings ended well; a law needs more{last}")
    points = [point_of(run, models[run.row]) for run in good]
    return Scaled(
        name=name,
        points=points,
        found=scaling(points),
        counted=COUNTED,
        measured=HELD_OUT,
        failures=failures,
    )
