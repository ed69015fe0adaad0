"""Running generated source as a module that tracebacks, pickles and torch.jit can read."""

from __future__ import annotations

import hashlib
import linecache
import sys
from types import ModuleType
from typing import Any

from torch import nn

__all__ = ["load_source"]


def load_source(source: str, name: str) -> ModuleType:
    """Returns the module that a text makes; the same text is run once.

    Its classes are pickled with the text, so that a process that never ran it can read them.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    title = f"flopwise_generated_{name}_{digest}"
    if title in sys.modules:
        return sys.modules[title]
    module = ModuleType(title)
    module.__file__ = f"<{name} {digest}>"
    module.__dict__["__origin__"] = (source, name)
    lines = source.splitlines(keepends=True)
    linecache.cache[module.__file__] = (len(source), None, lines, module.__file__)
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    for made in vars(module).values():
        if isinstance(made, type) and made.__module__ == title:
            made.__reduce__ = _reduce  # type: ignore[method-assign,assignment]
    sys.modules[title] = module
    return module


def _reduce(instance: nn.Module) -> Any:
    cls = type(instance)
    source, name = sys.modules[cls.__module__].__dict__["__origin__"]
    return _empty, (source, name, cls.__name__), instance.__dict__


def _empty(source: str, name: str, cls: str) -> nn.Module:
    made = load_source(source, name).__dict__[cls]
    instance: nn.Module = made.__new__(made)
    return instance
