"""A YAML language for vision networks, with architecture search under a FLOP budget."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors read; at run time a name arrives when asked for
    from flopwise.design import (
        Design,
        export,
        import_timm,
        load,
        loads,
        report,
        search,
        table,
        verify,
    )
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
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'flopwise' has no attribute {name!r}")
    return getattr(import_module("flopwise.design"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `flopwise.search` the function after the room `flopwise/search/` was imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
