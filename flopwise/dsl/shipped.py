"""The shipped specs: `std/NAME` is a file of the zoo, or a row of a table in one.

The tables of the papers are shipped too. They name their rows after the papers' words, several of
them alike, so a row of theirs is always `std/TABLE#ROW`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from math import prod
from pathlib import Path

from flopwise.dsl.load import make_source, parse
from flopwise.dsl.tree import Section

__all__ = [
    "MAX_ROWS",
    "ZOO",
    "papers",
    "presets",
    "row_names",
    "shipped_row",
    "shipped_rows",
]

MAX_ROWS = 1000
ZOO = Path(__file__).parent.parent / "zoo"
PAPERS = "tables"


@cache
def presets() -> dict[str, Path]:
    """Returns the shipped networks by name."""
    files = sorted(ZOO.rglob("*.yaml"))
    return {path.stem: path for path in files if path.parent.name != PAPERS}


@cache
def papers() -> dict[str, Path]:
    """Returns the tables of the papers by name."""
    return {path.stem: path for path in sorted((ZOO / PAPERS).glob("*.yaml"))}


def shipped_row(name: str) -> str | None:
    """Returns the shipped file whose table has a row of this name, or None.

    Only files in whose text the name stands are parsed.
    """
    for file, text in _tables():
        if all(part in text for part in name.split("-")) and name in row_names(_tree(file, text)):
            return file
    return None


def shipped_rows() -> Iterator[tuple[str, str]]:
    """Yields every row of a shipped table, as the name of its file and its own."""
    for file, text in _tables():
        yield from ((file, name) for name in row_names(_tree(file, text)))


def row_names(tree: Section) -> list[str]:
    """Returns the names of the rows that a file writes, without checking anything else."""
    table = tree.entries.get("table")
    if not isinstance(table, Section):
        return []
    rows, matrix = table.entries.get("rows"), table.entries.get("matrix")
    names = list(rows.entries) if isinstance(rows, Section) else []
    return names + (_products(matrix) if isinstance(matrix, Section) else [])


def _products(matrix: Section) -> list[str]:
    axes = [node for axis, node in matrix.entries.items() if axis != "exclude"]
    labels = [list(node.entries) for node in axes if isinstance(node, Section)]
    few = labels and prod(map(len, labels)) <= MAX_ROWS
    return ["-".join(point) for point in product(*labels)] if few else []


@cache
def _tables() -> tuple[tuple[str, str], ...]:
    """Returns the names and texts of the shipped files that hold a table."""
    texts = ((name, path.read_text(encoding="utf-8")) for name, path in presets().items())
    return tuple((name, text) for name, text in texts if "\ntable:" in text)


@cache
def _tree(name: str, text: str) -> Section:
    tree = parse(text, make_source(f"std/{name}", text))
    return tree if isinstance(tree, Section) else Section({}, {}, tree.place)
