"""Checking many specs at once: files, folders, standard input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flopwise.design.facade import Design
from flopwise.errors import Fault, SpecError
from flopwise.report.warned import warned

__all__ = ["Checked", "Report", "check_each", "find_specs", "no_spec"]

SUFFIXES = (".yaml", ".yml")
SPEC_KEY = rb"(?m)^(\xef\xbb\xbf)?(\{\s*)?[\"']?spec[\"']?\s*:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found in one spec.

    Attributes:
        file: How it was named.
        design: What it says; None if it has faults.
        faults: Its faults, or its warnings if it has no faults.
    """

    file: str
    design: Design | None
    faults: tuple[Fault, ...]

    @property
    def errors(self) -> int:
        """How many of its faults are no warnings."""
        return 0 if self.design else len(self.faults)


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of many specs found.

    Attributes:
        specs: Every spec, in the order it was asked for.
        skipped: Files of folders that are YAML, but no spec.
    """

    specs: tuple[Checked, ...]
    skipped: int

    @property
    def ok(self) -> bool:
        """Whether no spec has a fault."""
        return all(spec.design for spec in self.specs)

    def __str__(self) -> str:
        broken = [spec.errors for spec in self.specs if not spec.design]
        parts = [f"{len(self.specs) - len(broken)} fine"]
        if broken:
            parts.append(f"{len(broken)} with {_counted(sum(broken), 'fault')}")
        left = (
            f"; {_counted(self.skipped, 'file')} without 'spec:' left out" if self.skipped else ""
        )
        return f"{_counted(len(self.specs), 'spec')}: {', '.join(parts)}{left}"


def check_each(
    paths: Iterable[str],
    read: Callable[[str, Path | None], Design],
    on_spec: Callable[[Checked], None],
) -> Report:
    """Reads every spec that the paths name, however many of them are broken.

    Args:
        paths: Files, folders, shipped names, or `-`.
        read: Reads one of them; what is below a folder may extend anything in it.
        on_spec: Called with each spec once it is checked.
    """
    specs: list[Checked] = []
    skipped = 0
    for path in paths:
        root = Path(path) if Path(path).is_dir() else None
        files, left = find_specs(root) if root else ([path], 0)
        skipped += left
        if not files:
            specs.append(Checked(file=path, design=None, faults=(no_spec(path, left),)))
            on_spec(specs[-1])
        for file in files:
            specs.append(_check(file, root, read))
            on_spec(specs[-1])
    return Report(tuple(specs), skipped)


def find_specs(folder: Path) -> tuple[list[str], int]:
    """Returns the specs below a folder, sorted, and how many YAML files there are no specs.

    A spec is a `.yaml` or `.yml` file with a top-level key `spec`; hidden files and folders are
    not looked at.
    """
    specs, others = [], 0
    for path in sorted(_visible_files(folder)):
        if _looks_like_spec(path):
            specs.append(str(path))
        else:
            others += 1
    return specs, others


def _looks_like_spec(path: Path) -> bool:
    try:
        return re.search(SPEC_KEY, path.read_bytes()) is not None
    except OSError:
        return True  # reading it as a spec says what is wrong


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _check(file: str, root: Path | None, read: Callable[[str, Path | None], Design]) -> Checked:
    try:
        design = read(file, root)
        warnings = warned(design.spec)
    except SpecError as error:
        return Checked(file=file, design=None, faults=error.faults)
    return Checked(file=file, design=design, faults=warnings)


def no_spec(folder: str, others: int) -> Fault:
    """Says that a folder holds no spec, but perhaps other YAML files."""
    files = "there are" if others != 1 else "there is"
    looked = f"{files} {_counted(others, 'YAML file')}, none with the key 'spec' at its top"
    return Fault(
        code="E120",
        message=f"there is no spec in the folder '{folder}'",
        notes=(looked if others else "no file below it ends in .yaml or .yml",),
        helps=("a spec is a YAML file that begins with  spec: 1",),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
