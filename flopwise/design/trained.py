"""A table whose rows were trained: our accuracy beside the paper's, and which differences stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.dsl import Spec
from flopwise.dsl.differing import compare
from flopwise.report.tables import Cell, Style, Table, draw

if TYPE_CHECKING:  # types only: they import torch and scipy
    from flopwise.search.rows import Run
    from flopwise.search.statistics import Agreement, Contrast, Spread

__all__ = ["SCORE", "Sets", "TrainedTable"]

Sets = Sequence[tuple[str, str]]
SCORE = "top1"


@dataclass(frozen=True, kw_only=True)
class TrainedTable:
    """What the trainings of a table gave.

    Attributes:
        spec: The spec that holds the table.
        folder: Where the trainings lie.
        runs: Row -> its finished trainings, failed ones included.
        spread: The deviation of a training within its row, pooled.
        paired: The same without what a seed does to all rows, as differences see it.
        contrasts: How each row differs from the one it is compared with.
        agreement: How our order agrees with the paper's; None where it prints too few.
        sets: What was laid on every row.
        twins: Row -> the row below it that is the same training and stands for both.
    """

    spec: Spec
    folder: Path
    runs: Mapping[str, Sequence[Run]]
    spread: Spread
    paired: Spread
    contrasts: Mapping[str, Contrast]
    agreement: Agreement | None
    sets: Sets = ()
    twins: Mapping[str, str] = field(default_factory=dict)

    def text(self, style: Style = "plain") -> str:
        """Returns it as terminal, plain, Markdown, LaTeX, HTML or CSV text."""
        table = draw(self._table(), style)
        if style == "csv":
            return table
        mark = "- " if style == "markdown" else ""
        return "\n".join([table, *(f"{mark}{note}" for note in self._notes()), ""])

    def facts(self) -> dict[str, Any]:
        """Returns plain data: every score, interval, difference and rule."""
        agreed = self.agreement
        return {
            "table": self.spec.name,
            "folder": str(self.folder),
            "score": f"test {SCORE} of the last epoch, in per cent",
            "deviation": self.spread.deviation,
            "degrees_of_freedom": self.spread.freedom,
            "paired_deviation": self.paired.deviation,
            "paired_degrees_of_freedom": self.paired.freedom,
            "laid_on_every_row": dict(self.sets),
            "kendall": agreed
            and {key: getattr(agreed, key) for key in ("tau", "low", "high", "rows")},
            "rows": [self._row(name) for name in self.runs],
        }

    def _row(self, name: str) -> dict[str, Any]:
        runs, scores = self.runs[name], self.scores(name)
        return {
            "name": name,
            "hash": runs[0].hash,
            **runs[0].costs,
            "seeds": [run.seed for run in runs],
            "scores": scores,
            "mean": sum(scores) / len(scores) if scores else None,
            "half_interval": self.spread.half(len(scores)) if scores else None,
            "in_paper": self.printed(name),
            "same_training_as": self.twins.get(name),
            "versus": self.versus(name),
            "changed": self.changed(name),
            "failures": {run.seed: run.reason for run in runs if run.reason},
        }

    def versus(self, name: str) -> dict[str, Any] | None:
        """Returns how a row differs from the one it is compared with, here and in the paper."""
        if not (contrast := self.contrasts.get(name)):
            return None
        ours, base = self.printed(name), self.printed(contrast.base)
        printed = None if ours is None or base is None else round(ours - base, 6)
        return {
            "row": contrast.base,
            "difference": contrast.found.difference,
            "error": contrast.found.error,
            "chance": contrast.chance,
            "word": contrast.word,
            "in_paper": printed,
            "beside_paper": _beside(contrast, printed),
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
        heads: tuple[str, ...] = ("row", "MACs", "params", "seeds", SCORE, "+-", "in paper")
        heads = (*heads, "against", "difference", "difference in paper", "verdict")
        rows = [tuple(self._cells(name)) for name in self.runs]
        kept = [i for i, head in enumerate(heads) if "paper" not in head or any(r[i] for r in rows)]
        cells = tuple(tuple(row[i] for i in kept) for row in rows)
        return Table(heads=tuple(heads[i] for i in kept), rows=cells)

    def _cells(self, name: str) -> Iterator[Cell]:
        row = self._row(name)
        versus = row["versus"]
        yield from (name, row["macs"], row["params"], len(row["scores"]))
        yield _said(row["mean"])
        yield _said(row["half_interval"])
        yield _said(row["in_paper"])
        yield versus["row"] if versus else ""
        yield f"{versus['difference']:+.2f}" if versus else ""
        yield f"{versus['in_paper']:+.2f}" if versus and versus["in_paper"] is not None else ""
        yield _verdict(versus) if versus else ""

    def _notes(self) -> Iterator[str]:
        spread = self.spread
        yield f"{SCORE}: mean over seeds of the test split after the last epoch, in per cent"
        yield (
            f"+-: 95 % interval by Student's t; deviation within a row {spread.deviation:.2f}, "
            f"pooled over the table with {spread.freedom} degrees of freedom"
            if spread.freedom
            else "+-: none, for every row was trained with one seed"
        )
        pooled = (
            f"; deviation within a row without what a seed does to all rows "
            f"{self.paired.deviation:.2f}, pooled with {self.paired.freedom} degrees of freedom"
        )
        yield (
            f"difference: paired by seed and test image{pooled if self.paired.freedom else ''}; p "
            "corrected for all differences of the table (Holm); a tie where it is above 0.05"
        )
        if not spread.freedom:
            yield "one seed: a difference may belong to the seed; p is of the test images alone"
        yield from self._beside_paper()
        if agreed := self.agreement:
            yield (
                f"order: Kendall's tau with the paper {agreed.tau:+.2f} "
                f"({agreed.low:+.2f} to {agreed.high:+.2f} for the noise of the trainings), "
                f"{agreed.rows} rows"
            )
        yield from self._laid()
        for name, runs in self.runs.items():
            yield from (f"{name}, seed {r.seed} failed: {r.reason}" for r in runs if r.reason)

    def _beside_paper(self) -> Iterator[str]:
        """Says how many of the paper's differences were found again."""
        found = [each["beside_paper"] for name in self.runs if (each := self.versus(name))]
        if printed := [word for word in found if word]:
            count = Counter(printed)
            yield (
                f"of {len(printed)} differences in the paper {count['same']} have the same sign "
                f"here, {count['opposite']} the other sign, {count['tie']} are ties here"
            )
        for name, twin in self.twins.items():
            yield f"{name}: the same training as {twin}, compared once"

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


def _beside(contrast: Contrast, printed: float | None) -> str | None:
    """Returns whether a difference has the paper's sign; None where the paper has none."""
    if not printed or contrast.word == "one seed":
        return None
    if contrast.word == "a tie":
        return "tie"
    return "same" if (contrast.found.difference > 0) == (printed > 0) else "opposite"


def _verdict(versus: Mapping[str, Any]) -> str:
    beside = {"same": ", as in paper", "opposite": ", not as in paper"}
    return f"{versus['word']} (p {versus['chance']:.2g}){beside.get(versus['beside_paper'], '')}"


def _said(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"
