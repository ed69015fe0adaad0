"""What people see: tables in the terminal, pictures, pages."""

from __future__ import annotations

from flopwise.report.words import describe, quantity

__all__ = ["describe", "quantity"]
