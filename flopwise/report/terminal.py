"""The table of stages in the terminal, and without rules in a pipe."""

from __future__ import annotations

import sys

from flopwise.report.tables import Style, Table, draw

__all__ = ["show_table"]


def show_table(table: Table, style: Style | None = None) -> None:
    """Prints a table; without a style, with rules in a terminal and plain in a pipe."""
    print(draw(table, style or ("terminal" if sys.stdout.isatty() else "plain")), end="")
