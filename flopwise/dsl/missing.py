"""What is said of a file that cannot be read: why, and which one was probably meant."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from flopwise.dsl.shipped import papers, presets, shipped_rows
from flopwise.dsl.tree import Scalar
from flopwise.errors import Fault, Place, nearest

__all__ = ["Link", "no_preset", "unreadable"]


@dataclass(frozen=True, slots=True)
class Link:
    """What names a file inside another: the value, and the key it stands at."""

    said: Scalar
    key: str


def unreadable(path: Path, name: str, error: OSError | ValueError, link: Link | None) -> Fault:
    """Says why a file cannot be read (E105), and which one was probably meant."""
    named = f" named by '{link.key}'" if link else ""
    said = link.said if link else None
    wanted = str(said.value) if said else name
    reason = "there is no such file"
    helps: list[str] = []
    if isinstance(error, IsADirectoryError):
        reason = "it is a folder"
        inside = sorted(each.name for each in path.glob("*.yaml"))[:3]
        helps = [f"name a file in it, such as {wanted.rstrip('/')}/{inside[0]}"] if inside else []
    elif "#" in wanted and link and link.key == "extends":
        helps = ["'extends' takes a file; flopwise resolve FILE#ROW writes a row as one"]
    elif "://" in wanted:
        helps = ["nothing is fetched: download the file and name it, as in  ./base.yaml"]
    elif isinstance(error, FileNotFoundError | NotADirectoryError):
        helps = _near_files(path, wanted)
    elif isinstance(error, PermissionError):
        reason = "it may not be read (permission denied)"
    elif isinstance(error, OSError):
        reason = (error.strerror or "the system refuses").lower()
    return Fault(
        code="E105",
        message=f"cannot read '{wanted}'{named}: {reason}",
        place=said.place if said else None,
        helps=tuple(helps),
        notes=(f"tried: {path}",) if said else (),
    )


def _near_files(path: Path, wanted: str) -> list[str]:
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    folder = path.parent
    pattern = "*.py" if path.suffix == ".py" else "*.y*ml"
    around = sorted(p.name for p in folder.glob(pattern)) if folder.is_dir() else []
    near = nearest(path.name, around) or (f"{stem}.yaml" if f"{stem}.yaml" in around else None)
    if near:
        dot = "./" if wanted.startswith("./") else ""
        return [f"did you mean '{dot}{os.path.normpath(Path(wanted).parent / near)}'?"]
    shipped = nearest(stem, [*presets(), *papers()])
    return [f"did you mean the shipped spec 'std/{shipped}'?"] if shipped else []


def no_preset(name: str, place: Place | None) -> Fault:
    """Says that there is no shipped spec of a name (E105)."""
    stem = name.removeprefix("std/")
    known_names = [*presets(), *papers(), *(row for _, row in shipped_rows())]
    near = nearest(stem.removesuffix(".yaml"), known_names)
    known = ", ".join(presets())
    return Fault(
        code="E105",
        message=f"there is no shipped spec '{name}'",
        place=place,
        helps=(f"did you mean 'std/{near}'?",) if near else (),
        notes=(f"shipped: {known}",),
    )
