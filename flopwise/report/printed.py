"""The tables of papers as text: title, rows, reasons and scoreboard, in every style."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from flopwise.dsl import Spec
from flopwise.report.papers import Judged, Score, paper_table, reasons
from flopwise.report.tables import Cell, Style, Table, draw, escape_latex

__all__ = ["Paper", "paper_text", "scoreboard", "together"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A judged table.

    Attributes:
        spec: The spec that holds it.
        rows: Its rows beside their figures.
    """

    spec: Spec
    rows: tuple[Judged, ...]

    @property
    def score(self) -> Score:
        """How its figures compare."""
        return sum((each.score for each in self.rows), Score())

    @property
    def title(self) -> str:
        """What it shows, and where it stands."""
        table = self.spec.table
        words = (table.title, table.source) if table else ()
        return ": ".join(filter(None, words)) or self.spec.name


def paper_text(paper: Paper, style: Style) -> str:
    """Returns a table with its reasons and its score; in CSV the rows alone."""
    drawn = draw(paper_table(paper.spec, paper.rows), style)
    if style == "csv":
        return drawn
    head, line = _MARKS[style]
    said = "".join(f"{line(each)}\n" for each in reasons(paper.rows))
    parts = [head(f"{paper.spec.name}: {paper.title}"), drawn, said, f"{line(str(paper.score))}\n"]
    return "\n".join(filter(None, parts))


def scoreboard(papers: Sequence[Paper], style: Style) -> str:
    """Returns a line per table and their sum."""
    rows = [(each.spec.name, *_numbers(each.score)) for each in papers]
    total = sum((each.score for each in papers), Score())
    heads = ("table", "compared", "reproduced", "explained", "unresolved", "open")
    table = Table(heads=heads, rows=tuple(rows), total=("total", *_numbers(total)))
    head, line = _MARKS[style]
    return f"{head('Scoreboard')}\n{draw(table, style)}\n{line(str(total))}\n"


def _numbers(score: Score) -> Iterator[Cell]:
    return (str(value) for value in score.as_dict().values())


def together(papers: Sequence[Paper]) -> Table:
    """Returns the rows of several tables as one, with the columns they share."""
    drawn = [(each.spec.name, paper_table(each.spec, each.rows)) for each in papers]
    heads = ("MACs", "macs in paper", "params", "params in paper", "activations", "verdict")
    words = ("row", "MACs as", "params as")
    rows = []
    for name, table in drawn:
        for row in table.rows:
            cells = dict(zip(table.heads, row, strict=True))
            rows.append((name, *(cells.get(head, "") for head in (*words, *heads))))
    return Table(heads=("table", *words, *heads), rows=tuple(rows), left=4)


def _plain(text: str) -> str:
    return text


def _item(text: str) -> str:
    return f"- {text}"


def _comment(text: str) -> str:
    return f"% {text}"


_MARKS: Mapping[Style, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "terminal": (lambda text: f"{text}\n", _plain),
    "plain": (lambda text: f"{text}\n", _plain),
    "markdown": (lambda text: f"### {text}\n", _item),
    "latex": (lambda text: f"% {escape_latex(text)}", _comment),
    "csv": (_plain, _plain),
    "html": (lambda text: f"<h3>{escape(text)}</h3>", lambda text: f"<p>{escape(text)}</p>"),
}
