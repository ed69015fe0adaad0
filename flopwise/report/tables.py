"""One table, drawn for the terminal, Markdown, LaTeX, CSV or HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal, TypeAlias

from flopwise.report.words import quantity

__all__ = ["STYLES", "Cell", "Style", "Table", "draw", "escape_latex"]

Cell: TypeAlias = str | int
Style: TypeAlias = Literal["terminal", "plain", "markdown", "latex", "csv", "html"]

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "-": "{-}",  # two in a row would become one dash
    "[": "{[}",  # a row that begins with one would be read as an argument of the \\ before it
    "]": "{]}",
    "*": "{*}",
    "\u00b1": r"$\pm$",
    "\u00d7": r"$\times$",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells under heads.

    Attributes:
        heads: One per column.
        rows: Cells; a whole number is a count, shortened for people and exact in CSV.
        total: A last row under a rule.
        left: How many columns, from the first on, hold words and not numbers.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] = ()
    left: int = 1


def draw(table: Table, style: Style = "plain") -> str:
    """Returns a table as text that ends with a line break.

    >>> print(draw(Table(heads=("stage", "MACs"), rows=(("stem", 11_289_600),))), end="")
    stage    MACs
    stem   11.29M
    """
    return "".join(f"{line.rstrip()}\n" for line in STYLES[style](table))


def escape_latex(text: str) -> str:
    r"""Returns a text that LaTeX prints as it is.

    >>> escape_latex("50% of w_1")
    '50\\% of w\\_1'
    """
    return "".join(LATEX.get(character, character) for character in text)


def _spelt(table: Table, escape: Callable[[str], str] = str) -> list[list[str]]:
    """Returns heads, rows and total as texts."""
    lines = [table.heads, *table.rows, *([table.total] if table.total else [])]
    return [
        [escape(quantity(cell) if isinstance(cell, int) else cell) for cell in line]
        for line in lines
    ]


def _padded(lines: list[list[str]], left: int, least: int = 0) -> list[list[str]]:
    widths = [max(least, *map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]


def _plain(table: Table) -> Iterable[str]:
    return ["  ".join(line) for line in _padded(_spelt(table), table.left)]


def _terminal(table: Table) -> Iterable[str]:
    head, *lines = _plain(table)
    rule = "\u2500" * len(head)
    body = lines[: len(table.rows)]
    return [head, rule, *body, *([rule, lines[-1]] if table.total else [])]


def _markdown(table: Table) -> Iterable[str]:
    lines = _padded(_spelt(table, _escape_markdown), table.left, least=3)
    rule = [
        "-" * len(cell) if at < table.left else "-" * (len(cell) - 1) + ":"
        for at, cell in enumerate(lines[0])
    ]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|*_`<[" else c for c in text.replace("\n", " "))


def _latex(table: Table) -> Iterable[str]:
    """Yields a tabular that needs no package."""
    head, *lines = (f"{' & '.join(line)} \\\\" for line in _padded_latex(table))
    columns = "l" * table.left + "r" * (len(table.heads) - table.left)
    total = ["\\hline", lines[-1]] if table.total else []
    body = lines[: len(table.rows)]
    return [
        f"\\begin{{tabular}}{{{columns}}}",
        *("\\hline", head, "\\hline", *body, *total, "\\hline"),
        "\\end{tabular}",
    ]


def _padded_latex(table: Table) -> list[list[str]]:
    return _padded(_spelt(table, escape_latex), table.left)


def _csv(table: Table) -> Iterable[str]:
    """Yields exact numbers, and no total: who reads CSV adds up by machine."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.heads, *table.rows])
    return text.getvalue().splitlines()


def _html(table: Table) -> Iterable[str]:
    """Yields a table that needs no style sheet."""
    head, *lines = _spelt(table, escape)
    body = lines[: len(table.rows)]
    return [
        "<table>",
        f"<thead>{_tr(head, 'th', table.left)}</thead>",
        *("<tbody>", *(_tr(line, "td", table.left) for line in body), "</tbody>"),
        *([f"<tfoot>{_tr(lines[-1], 'td', table.left)}</tfoot>"] if table.total else []),
        "</table>",
    ]


def _tr(line: list[str], tag: str, left: int) -> str:
    right = f'{tag} style="text-align: right"'
    cells = (f"<{tag if at < left else right}>{cell}</{tag}>" for at, cell in enumerate(line))
    return f"<tr>{''.join(cells)}</tr>"


STYLES: Mapping[Style, Callable[[Table], Iterable[str]]] = {
    "terminal": _terminal,  # with rules
    "plain": _plain,  # for a pipe
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "html": _html,
}
