"""The facade: a spec and everything that can be done with it. The command line has no more."""

from __future__ import annotations

from flopwise.design.facade import Design
from flopwise.design.folders import export, report, verify
from flopwise.design.importing import import_timm
from flopwise.design.loading import load, loads, search, table
from flopwise.errors import FlopwiseError, RunError, SpecError

__all__ = [
    "Design",
    "FlopwiseError",
    "RunError",
    "SpecError",
    "export",
    "import_timm",
    "load",
    "loads",
    "report",
    "search",
    "table",
    "verify",
]
