"""Other versions of timm beside the installed one, each alone in a folder, under one torch.

They are kept in `$XDG_CACHE_HOME/flopwise/timm`. pip fetches them and obeys its own settings:
`PIP_NO_INDEX=1` keeps it from the network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from flopwise.errors import RunError

__all__ = ["OLDEST", "Versions", "supported"]

OLDEST = "1.0.17"
"""The lowest version that loads a folder; pyproject.toml says the same."""

ONCE = ("--quiet", "--no-deps", "--retries=0", "--timeout=15")
"""An index that cannot be reached is told at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of timm that a folder is to be proven with.

    Attributes:
        places: Version -> the folder it lies in; None for the installed one.
        missing: The version, or `newest`, -> why it cannot be had.
    """

    places: Mapping[str, Path | None]
    missing: Mapping[str, str]


def supported() -> Versions:
    """Returns the lowest, the installed and the newest timm, as far as they can be had."""
    installed = version("timm")
    places: dict[str, Path | None] = {}
    missing: dict[str, str] = {}
    for wanted in (OLDEST, installed, "newest"):
        try:
            found = _newest() if wanted == "newest" else wanted
            if found not in places:
                places[found] = None if found == installed else _fetch(found)
        except (RunError, OSError) as error:
            missing[wanted] = str(error)
    return Versions(places=places, missing=missing)


def _newest() -> str:
    """Returns the newest version that the package index has for this Python."""
    report = _pip("--dry-run", "--ignore-installed", "--report=-", "timm")
    return str(json.loads(report)["install"][0]["metadata"]["version"])


def _fetch(wanted: str) -> Path:
    """Returns the folder of a version; what was fetched before is fetched no more."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flopwise" / "timm"
    place = home / wanted
    if not place.exists():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as room:
            draft = Path(room) / "timm"
            _pip(f"--target={draft}", f"timm=={wanted}")
            if not place.exists():  # another process may have been faster
                shutil.move(draft, place)
    return place


def _pip(*words: str) -> str:
    """Returns what `pip install` prints.

    Raises:
        RunError: With the last line of its complaint.
    """
    command = [sys.executable, "-m", "pip", "install", *ONCE, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise RunError(f"pip could not fetch it: {last.removeprefix('ERROR: ')}")
    return done.stdout
