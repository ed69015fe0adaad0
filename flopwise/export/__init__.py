"""A trained network to a folder that timm loads without flopwise, and its proof.

Which networks stock timm can build is arithmetic (`tier`, `tiers`, `recognise`) and needs no torch;
all others bring their classes in `model.py`. Writing, proving and checking a folder imports torch
and timm when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flopwise.export.config import Facts
from flopwise.export.families import FAMILIES, Family
from flopwise.export.family import Native, Tier, recognise, rename, tier
from flopwise.export.reading import NotNativeError
from flopwise.export.tiers import Tiers, tiers

if TYPE_CHECKING:
    from flopwise.export.folder import export
    from flopwise.export.importing import Imported, NotExpressibleError, import_timm
    from flopwise.export.proof import Case, Proof, verify, verify_all
    from flopwise.export.rechecking import Recheck, recheck
    from flopwise.export.tensors import from_timm

__all__ = [
    "FAMILIES",
    "Case",
    "Facts",
    "Family",
    "Imported",
    "Native",
    "NotExpressibleError",
    "NotNativeError",
    "Proof",
    "Recheck",
    "Tier",
    "Tiers",
    "export",
    "from_timm",
    "import_timm",
    "recheck",
    "recognise",
    "rename",
    "tier",
    "tiers",
    "verify",
    "verify_all",
]


def __getattr__(name: str) -> Any:
    if name == "export":
        from flopwise.export import folder as room
    elif name == "from_timm":
        from flopwise.export import tensors as room  # type: ignore[no-redef]
    elif name in ("Imported", "NotExpressibleError", "import_timm"):
        from flopwise.export import importing as room  # type: ignore[no-redef]
    elif name in ("Case", "Proof", "verify", "verify_all"):
        from flopwise.export import proof as room  # type: ignore[no-redef]
    elif name in ("Recheck", "recheck"):
        from flopwise.export import rechecking as room  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module 'flopwise.export' has no attribute {name!r}")
    return getattr(room, name)
