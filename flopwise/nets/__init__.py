"""Graph -> PyTorch: plain generated source, the module it makes, and its first weights."""

from __future__ import annotations

from flopwise.nets.build import build, source

__all__ = ["build", "source"]
