"""A table whose rows were trained: our accuracy beside the paper's, and which differences stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.dsl import Spec
from flopwise.dsl.differing import compare
from flopwise.errors import Fault, RunError, SpecError
from flopwise.report.tables import Cell, Style, Table, draw

if TYPE_CHECKING:  # types only: they import torch and scipy
    from flopwise.search.rows import Run
    from flopwise.search.statistics import Agreement, Contrast, Spread

__all__ = ["TrainedTable", "quoted", "train_rows"]

Told = Callable[[str], None]
Sets = Sequence[tuple[str, str]]
SCORE = "top1"
SMALL = {32: 4, 64: 2}
"""Pixels of small images -> the `small` of a network: how much less its stem shrinks them."""


@dataclass(frozen=True, kw_only=True)
class TrainedTable:
    """What the trainings of a table gave.

    Attributes:
        spec: The spec that holds the table.
        folder: Where the trainings lie.
        runs: Row -> its finished trainings, failed ones included.
        spread: The deviation of a training within its row, pooled.
        contrasts: How each row differs from the one it starts from.
        agreement: How our order agrees with the paper's; None where it prints too few.
        sets: What was laid on every row.
    """

    spec: Spec
    folder: Path
    runs: Mapping[str, Sequence[Run]]
    spread: Spread
    contrasts: Mapping[str, Contrast]
    agreement: Agreement | None
    sets: Sets = ()

    def text(self, style: Style = "plain") -> str:
        """Returns it as terminal, plain, Markdown, LaTeX, HTML or CSV text."""
        table = draw(self._table(), style)
        return table if style == "csv" else "\n".join([table, *self._notes(), ""])

    def facts(self) -> dict[str, Any]:
        """Returns plain data: every score, interval, difference and rule."""
        agreed = self.agreement
        return {
            "table": self.spec.name,
            "folder": str(self.folder),
            "score": f"test {SCORE} of the last epoch, in per cent",
            "deviation": self.spread.deviation,
            "degrees_of_freedom": self.spread.freedom,
            "laid_on_every_row": dict(self.sets),
            "kendall": agreed
            and {key: getattr(agreed, key) for key in ("tau", "low", "high", "rows")},
            "rows": [self._row(name) for name in self.runs],
        }

    def _row(self, name: str) -> dict[str, Any]:
        runs, contrast = self.runs[name], self.contrasts.get(name)
        scores = self.scores(name)
        versus = contrast and {
            "row": contrast.base,
            "difference": contrast.found.difference,
            "error": contrast.found.error,
            "chance": contrast.chance,
            "word": contrast.word,
        }
        return {
            "name": name,
            "hash": runs[0].hash,
            **runs[0].costs,
            "seeds": [run.seed for run in runs],
            "scores": scores,
            "mean": sum(scores) / len(scores) if scores else None,
            "half_interval": self.spread.half(len(scores)) if scores else None,
            "in_paper": self.printed(name),
            "versus": versus,
            "changed": self.changed(name),
            "failures": {run.seed: run.reason for run in runs if run.reason},
        }

    def scores(self, name: str) -> list[float]:
        """Returns the test scores of a row, of its trainings that did not fail."""
        return [run.scores[SCORE] for run in self.runs[name] if not run.reason]

    def printed(self, name: str) -> float | None:
        """Returns the accuracy that the paper prints for a row."""
        figure = self.spec.table.rows[name].ref.get(SCORE) if self.spec.table else None
        return figure.value if figure else None

    def changed(self, name: str) -> list[str]:
        """Returns how the network of a row differs from the one of the paper, stage by stage."""
        row = self.spec.row(name)
        return [str(each) for each in compare(row, row.set(self.sets)).network]

    def _table(self) -> Table:
        heads = ("row", "MACs", "params", "seeds", SCORE, "+-", "in paper", "against")
        rows = (self._cells(name) for name in self.runs)
        return Table(heads=(*heads, "difference", "verdict"), rows=tuple(map(tuple, rows)))

    def _cells(self, name: str) -> Iterator[Cell]:
        row = self._row(name)
        versus = row["versus"]
        yield from (name, row["macs"], row["params"], len(row["scores"]))
        yield _said(row["mean"])
        yield _said(row["half_interval"])
        yield _said(row["in_paper"])
        yield versus["row"] if versus else ""
        yield f"{versus['difference']:+.2f}" if versus else ""
        yield f"{versus['word']} (p {versus['chance']:.2g})" if versus else ""

    def _notes(self) -> Iterator[str]:
        spread = self.spread
        yield f"{SCORE}: mean over seeds of the test split after the last epoch, in per cent"
        yield (
            f"+-: 95 % interval by Student's t; deviation within a row {spread.deviation:.2f}, "
            f"pooled over the table with {spread.freedom} degrees of freedom"
            if spread.freedom
            else "+-: none, for every row was trained with one seed"
        )
        yield (
            "difference: paired by seed and test image; p corrected for all differences of the "
            "table (Holm); a tie where it is above 0.05"
        )
        if agreed := self.agreement:
            yield (
                f"order: Kendall's tau with the paper {agreed.tau:+.2f} "
                f"({agreed.low:+.2f} to {agreed.high:+.2f} for the noise of the trainings), "
                f"{agreed.rows} rows"
            )
        yield from self._laid()
        for name, runs in self.runs.items():
            yield from (f"{name}, seed {r.seed} failed: {r.reason}" for r in runs if r.reason)

    def _laid(self) -> Iterator[str]:
        """Says what was laid on the rows, and what became of the stage that sees the images."""
        if laid := [f"{path}={value}" for path, value in dict(self.sets).items()]:
            yield f"laid on every row: {', '.join(laid)}"
        alike: dict[str, list[str]] = {}
        for name in self.runs:
            stage = f"net.{self.spec.row(name).network().stages[0].name}."
            lines = (each for each in self.changed(name) if stage in each)
            alike.setdefault(", ".join(line.removeprefix("~ ") for line in lines), []).append(name)
        yield from (f"{', '.join(names)}: {lines}" for lines, names in alike.items() if lines)


def _said(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


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

    Raises:
        SpecError: There is no such row, or a row cannot be built with these sets.
        RunError: The folder holds something else, or all trainings failed.
    """
    from flopwise.search.rows import Runs, jobs_of
    from flopwise.search.training import Trainings, described

    chosen = _chosen(spec, rows)
    sets = [*(_scaled(spec, chosen, small) if small else ()), *sets]
    laid = [("train.data", quoted(data)), *sets]
    jobs = jobs_of({name: spec.row(name).set(laid) for name in chosen}, seeds)
    images = Trainings()
    opened = images.images(jobs[0].network, jobs[0].recipe)
    told(described(opened))
    seen = sum(len(opened.train) * job.recipe.epochs for job in jobs)
    told(f"{len(chosen)} rows x {seeds} seeds: {len(jobs)} trainings, {seen:,} images in all")
    runs = Runs(folder, jobs, images, command)
    if known := len(runs.done):
        told(f"{known} of them are in {folder}/results.jsonl already")

    def each(run: Run, left: int) -> None:
        score = run.reason or f"{run.scores[SCORE]:.2f} % of the test images"
        told(f"{run.row}, seed {run.seed}: {score} ({run.seconds:.0f} s); {left} left")

    done = runs.run(each)
    grouped = {name: [run for run in done if run.row == name] for name in chosen}
    return _concluded(spec, folder, grouped, sets)


def _concluded(
    spec: Spec, folder: Path, runs: Mapping[str, Sequence[Run]], sets: Sets
) -> TrainedTable:
    from flopwise.search.statistics import agreement, contrasts, spread

    good = {name: [run for run in each if not run.reason] for name, each in runs.items()}
    good = {name: each for name, each in good.items() if each}
    if not good:
        raise RunError(f"every training failed; the last: {list(runs.values())[-1][-1].reason}")
    assert spec.table
    first = next(iter(good))
    parents = {name: spec.table.rows[name].parent for name in good}
    pairs = {n: p if p in good else first for n, p in parents.items() if n != first}
    correct = {name: {run.seed: run.answers for run in each} for name, each in good.items()}
    scores = {name: [run.scores[SCORE] for run in each] for name, each in good.items()}
    figures = {name: spec.table.rows[name].ref.get(SCORE) for name in good}
    printed = {name: figure.value for name, figure in figures.items() if figure}
    return TrainedTable(
        spec=spec,
        folder=folder,
        runs=runs,
        spread=spread(list(scores.values())),
        contrasts={c.row: c for c in contrasts(pairs, correct)},
        agreement=agreement(list(printed.values()), [scores[name] for name in printed]),
        sets=sets,
    )


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
