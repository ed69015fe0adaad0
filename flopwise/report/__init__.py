"""What people see: tables in the terminal."""

from __future__ import annotations

from flopwise.report.terminal import describe, quantity, show_cost

__all__ = ["describe", "quantity", "show_cost"]
