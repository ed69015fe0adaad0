"""What people see: tables in the terminal."""

from __future__ import annotations

from flopwise.report.stages import paper_table, stage_table
from flopwise.report.tables import Table, draw
from flopwise.report.terminal import show_table
from flopwise.report.words import describe, quantity

__all__ = ["Table", "describe", "draw", "paper_table", "quantity", "show_table", "stage_table"]
