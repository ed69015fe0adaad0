"""A registered timm model, or an exported folder, to the spec that says it."""

from __future__ import annotations

from flopwise.export.importing.modules import NotExpressibleError
from flopwise.export.importing.opening import Imported, import_timm

__all__ = ["Imported", "NotExpressibleError", "import_timm"]
