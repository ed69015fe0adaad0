"""`load`, `loads`, and what is asked of a spec by its path: the ways to a `Design`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise import dsl
from flopwise.design.facade import Design, settings
from flopwise.dsl.load import decode
from flopwise.dsl.shipped import papers, presets, shipped_row

if TYPE_CHECKING:  # types only: both import torch
    from flopwise.design.tables import PaperTable
    from flopwise.search import Outcome

__all__ = ["load", "loads", "search", "table"]

NAME = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")


def load(
    path: str | Path,
    paths: Mapping[str, object] | None = None,
    /,
    *,
    root: Path | None = None,
    allow_code: bool | None = False,
    **variables: object,
) -> Design:
    """Reads a spec.

    Args:
        path: A YAML file, or a shipped network: `std/resnet50`, or `resnet50` where no file is
            called so. `file.yaml#row` is a row of the file's table.
        paths: Dotted path or variable -> value, set on top of what the file says.
        root: The folder that `extends` and `use` may not leave; the file's own by default.
        allow_code: Whether Python files named by `use` may run although nobody allowed them before;
            from then on they are. None runs no code at all.
        **variables: The same, for paths that are Python names.

    Raises:
        SpecError: Every fault of the file at once.
    """
    sets = settings(paths, variables)
    return Design(dsl.load(_address(path), sets=sets, root=root, allow_code=allow_code))


def _address(path: str | Path) -> str | Path:
    """Returns the address of a shipped network that is named without its `std/`."""
    name, _, row = str(path).partition("#")
    named = name in presets() or name in papers()
    shipped = named or (not row and NAME.fullmatch(name) and shipped_row(name))
    return f"std/{path}" if shipped and not Path(name).exists() else path


def loads(
    text: str | bytes,
    paths: Mapping[str, object] | None = None,
    /,
    *,
    name: str = "<text>",
    allow_code: bool | None = False,
) -> Design:
    """Reads a spec from a text; `name` is what faults call it, `paths` is set on top of it."""
    read = decode(text, name) if isinstance(text, bytes) else text
    sets = settings(paths, {})
    return Design(dsl.loads(read, name=name, sets=sets, allow_code=allow_code))


def table(path: str | Path) -> PaperTable:
    """Returns a shipped table of a paper, or that of a file, counted beside what is printed.

    >>> import flopwise
    >>> flopwise.table("convnext_table10").score.open
    0
    """
    return load(path).table()


def search(
    design: Design | str | Path, folder: str | Path | None = None, **options: Any
) -> Outcome:
    """Searches a design, or the spec at a path; see `Design.search` for the options."""
    found = design if isinstance(design, Design) else load(design)
    return found.search(folder, **options)
