"""What a study folder says about itself: the texts that were run, arguments, versions, sessions."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flopwise import __version__
from flopwise.dsl import Spec
from flopwise.search.files import write_json, write_text

__all__ = ["provenance", "versions", "write_manifest", "write_resolved", "write_sources"]

PACKAGES = ("torch", "timm", "optuna", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Returns the versions that results depend on."""
    found = {"flopwise": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(command: str) -> dict[str, Any]:
    """Returns who made a result: command, versions, machine and time."""
    return {
        "command": command,
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_resolved(folder: Path, spec: Spec, picks: Mapping[str, Any]) -> None:
    """Keeps a candidate as a spec of its own, beside the code that its blocks need."""
    write_text(folder / "resolved.yaml", spec.render(picks))
    for code in spec.codes:
        write_text(folder / code.key, code.text)


def write_sources(folder: Path, spec: Spec, data: Mapping[str, Any]) -> None:
    """Keeps the texts a spec was read from, and which images are in which split.

    The text itself is spec.yaml; sources/ holds it and every text it extends.
    """
    if data:
        write_json(folder / "data.json", dict(data))
    for number, (name, text) in enumerate(spec.sources.items()):
        write_text(folder / "sources" / f"{number}-{Path(name).name}", text)
        if number == 0:
            write_text(folder / "spec.yaml", text)


def write_manifest(
    folder: Path, identity: Mapping[str, Any], sampler: Mapping[str, Any], command: str
) -> None:
    """Adds this session to manifest.json; earlier sessions stay as they were."""
    path = folder / "manifest.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sessions": []}
    session = {**provenance(command), "sampler": dict(sampler)}
    write_json(path, {"identity": dict(identity), "sessions": [*known["sessions"], session]})
