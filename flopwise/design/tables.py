"""The tables of papers from Python: counted beside what is printed, and as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.dsl.opening import load
from flopwise.dsl.shipped import papers
from flopwise.report.papers import Score, judge_rows, paper_facts
from flopwise.report.printed import Paper, paper_text, scoreboard, together
from flopwise.report.tables import Style, draw

if TYPE_CHECKING:  # types only: pandas takes half a second
    from pandas import DataFrame

    from flopwise.design.trained import TrainedTable
    from flopwise.dsl import Spec
    from flopwise.search.crew import Crew

__all__ = ["PaperTable", "all_facts", "all_text", "judge", "shipped_tables", "titles"]

COUNTS = ("macs", "params", "activations")


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table whose rows are counted beside the figures that its source prints.

    Attributes:
        paper: The spec, and its rows as they were judged.
    """

    paper: Paper

    @property
    def name(self) -> str:
        """The name of the spec that holds the table."""
        return self.paper.spec.name

    @property
    def score(self) -> Score:
        """How many figures were compared, and what came out."""
        return self.paper.score

    def text(self, style: Style = "plain") -> str:
        """Returns it as terminal, plain, Markdown, LaTeX, HTML or CSV text."""
        return paper_text(self.paper, style)

    def facts(self) -> dict[str, Any]:
        """Returns what `flopwise table --json` prints: plain values, exact integers."""
        return paper_facts(self.paper.spec, self.paper.rows)

    def frame(self) -> DataFrame:
        """Returns a row per network: exact counts, printed figures as numbers, verdicts."""
        from pandas import DataFrame

        frame = DataFrame([_flat(row) for row in self.facts()["rows"]]).set_index("name")
        return frame.astype(dict.fromkeys(COUNTS, "Int64"))  # exact beside rows without a network

    def train(
        self,
        data: str,
        folder: str | Path | None = None,
        *,
        seeds: int = 3,
        rows: Sequence[str] = (),
        small: int = 0,
        sets: Sequence[tuple[str, str]] = (),
        told: Callable[[str], None] = print,
        command: str = "",
        crew: Crew | None = None,
        processes: int = 1,
    ) -> TrainedTable:
        """Trains the rows with several seeds; the same call again goes on where it was stopped.

        Args:
            data: Where the images come from: digits, a folder, a tar, torch/NAME or hfds/NAME.
            folder: Where all files go; `runs/NAME` by default.
            seeds: Trainings of each row.
            rows: The rows to train; all that are networks by default.
            small: Pixels of small images, 32 or 64, that the rows are scaled to; 0 leaves them.
            sets: Paths and values that are laid on every row, such as `("train.epochs", "5")`.
            told: Takes a line for each training that ends.
            command: The command that asked for it, kept with each result.
            crew: Worker processes of the same command, which do the trainings.
            processes: How many share each training, as for `Design.train`.
        """
        from flopwise.design.rows import train_rows

        home = Path(folder or Path("runs") / self.name)
        return train_rows(
            self.paper.spec,
            home,
            data=data,
            seeds=seeds,
            rows=rows,
            small=small,
            sets=sets,
            told=told,
            command=command,
            crew=crew,
            processes=processes,
        )


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    counts = {key: row[key] for key in COUNTS}
    printed = {f"{c}_in_paper": each and each["value"] for c, each in row["ref"].items()}
    verdicts = {f"{column}_verdict": verdict for column, verdict in row["verdicts"].items()}
    words = {key: row[key] for key in ("name", "convention", "params_convention")}
    return {**words, **counts, **printed, **verdicts, "note": row["note"]}


def judge(spec: Spec) -> PaperTable:
    """Returns the table of a spec, judged.

    Raises:
        SpecError: The spec has no table, or an explanation in it does not hold.
    """
    return PaperTable(Paper(spec=spec, rows=tuple(judge_rows(spec, load))))


def shipped_tables() -> list[PaperTable]:
    """Returns the shipped tables of the papers, judged."""
    return [judge(load(f"std/{name}")) for name in papers()]


def titles() -> str:
    """Returns a line per shipped table: its name, and what it shows."""
    found = {name: load(f"std/{name}").table for name in papers()}
    width = max(map(len, found))
    lines = (
        f"{name.ljust(width)}  {each.title}: {each.source}" for name, each in found.items() if each
    )
    return "".join(f"{line}\n" for line in lines)


def all_text(tables: Sequence[PaperTable], style: Style) -> str:
    """Returns several tables and the scoreboard; in CSV all rows as one table."""
    found = [table.paper for table in tables]
    if style == "csv":
        return draw(together(found), style)
    return "\n".join([*(table.text(style) for table in tables), scoreboard(found, style)])


def all_facts(tables: Sequence[PaperTable]) -> dict[str, Any]:
    """Returns several tables as plain data: the sum of their scores, then every row."""
    facts = [table.facts() for table in tables]
    total = sum((table.score for table in tables), Score())
    rows = [{"table": each["table"], **row} for each in facts for row in each["rows"]]
    scores = [{key: each[key] for key in ("table", *total.as_dict())} for each in facts]
    return {**total.as_dict(), "tables": scores, "rows": rows}
