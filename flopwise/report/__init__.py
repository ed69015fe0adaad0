"""What people see: tables in the terminal."""

from __future__ import annotations

from flopwise.report.stages import StageRow, stage_rows
from flopwise.report.terminal import quantity, show_stages

__all__ = ["StageRow", "quantity", "show_stages", "stage_rows"]
