"""A trained network to a folder that stock timm loads without flopwise, and its proof.

Which networks timm can build is arithmetic (`tier`, `recognise`) and needs no torch; writing and
proving a folder imports torch and timm when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flopwise.export.config import Facts
from flopwise.export.family import FAMILIES, Family, Native, Tier, recognise, rename, tier
from flopwise.export.reading import NotNativeError

if TYPE_CHECKING:
    from flopwise.export.folder import export, from_timm
    from flopwise.export.proof import Case, Proof, verify, verify_all

__all__ = [
    "FAMILIES",
    "Case",
    "Facts",
    "Family",
    "Native",
    "NotNativeError",
    "Proof",
    "Tier",
    "export",
    "from_timm",
    "recognise",
    "rename",
    "tier",
    "verify",
    "verify_all",
]


def __getattr__(name: str) -> Any:
    if name in ("export", "from_timm"):
        from flopwise.export import folder as room
    elif name in ("Case", "Proof", "verify", "verify_all"):
        from flopwise.export import proof as room  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module 'flopwise.export' has no attribute {name!r}")
    return getattr(room, name)
