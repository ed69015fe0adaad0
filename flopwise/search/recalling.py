"""The spec of a study that another process runs, read again from what its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flopwise.dsl import Spec, load, loads
from flopwise.errors import RunError

__all__ = ["recall", "recollection", "recorded"]


def recollection(spec: Spec) -> dict[str, Any]:
    """Returns what study.json keeps of a spec; the inverse of `recall`.

    A spec that says everything itself is kept as its text, so that its file may change while a
    search runs. One that names other files or code is read from where it lies.
    """
    origin = spec.origin
    trains = spec.search is not None and spec.search.evaluator.kind == "training"
    plain = not spec.codes and origin.row is None and trains
    alone = len(spec.sources) == 1 and plain
    text = next(iter(spec.sources.values())) if alone else None
    row = f"#{origin.row.name}" if origin.row else ""
    return {
        "spec": f"{origin.files[0].name}{row}",
        "text": text,
        "path": f"{origin.path.resolve()}{row}" if origin.path else None,
        "root": str(origin.shelf.root.resolve()) if origin.shelf.root else None,
        "sets": [list(each) for each in origin.sets],
    }


def recall(folder: Path, known: Mapping[str, Any]) -> Spec:
    """Returns the spec that a study was started with, with what was set on top of it.

    Code that it names must have been allowed to run on this machine.
    """
    sets = [(path, value) for path, value in known["sets"]]
    if known["text"] is not None:
        return loads(known["text"], name=known["spec"], sets=sets)
    if known["path"] is not None and not Path(known["path"].partition("#")[0]).exists():
        raise RunError(
            f"the study in {folder} was started from {known['path']}, which names other files and "
            "is not there; a worker needs it at that place"
        )
    root = Path(known["root"]) if known["root"] else None
    return load(known["path"] or known["spec"], sets=sets, root=root)


def recorded(about: Mapping[str, Any]) -> Spec:
    """Returns the network of a trial as a spec, from what is on record of the trial alone.

    Args:
        about: The trial's own record: the resolved text, and the code it needs.
    """
    if not about["codes"]:
        return loads(about["resolved"], name="resolved.yaml")
    with TemporaryDirectory() as folder:
        for name, text in {**about["codes"], "resolved.yaml": about["resolved"]}.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return load(Path(folder) / "resolved.yaml")
