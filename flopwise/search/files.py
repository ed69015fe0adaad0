"""Files of a study that people and other processes read: whole or not at all."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from flopwise.search.storage import DiskFullError, full, is_full

__all__ = ["write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step, so that a killed process leaves the old or the new one.

    Each writer has a part file of its own: several workers keep the same tables.

    Raises:
        DiskFullError: There is no room for it; the old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if is_full(error):
            raise DiskFullError(full(path, error)) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
