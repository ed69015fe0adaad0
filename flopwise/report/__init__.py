"""What people see: tables in the terminal, pictures, pages."""

from __future__ import annotations

__all__: list[str] = []
