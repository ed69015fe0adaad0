"""Files of a training, written whole or not at all, and read with suspicion.

folder/
├── last.pt            everything needed to go on after the last finished epoch
├── best.safetensors   the judged weights of the best epoch
└── epochs.jsonl       one line per epoch; last.pt holds the same, and wins
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flopwise.dsl.recipe import Recipe
from flopwise.errors import RunError

__all__ = ["load_weights", "read_checkpoint", "write_checkpoint", "write_lines", "write_weights"]

VERSION = 1
FREE = frozenset({"data", "workers"})  # may change between sessions; images have a digest


def write_checkpoint(path: Path, recipe: Recipe, digest: str, state: Mapping[str, Any]) -> None:
    """Writes the state of a training beside what it is a training of."""
    whole = {"version": VERSION, "recipe": _plain(recipe), "digest": digest, **state}
    _replace(path, lambda temporary: torch.save(whole, temporary))


def read_checkpoint(path: Path, recipe: Recipe, digest: str) -> dict[str, Any] | None:
    """Returns the state to go on from; None where there is none.

    Raises:
        RunError: The file cannot be read, or belongs to another recipe or other data.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        then, version = state["recipe"], state["version"]
    except Exception as error:  # whatever a damaged file makes of torch
        raise RunError(f"'{path}' cannot be read; delete it to start afresh ({error})") from error
    if version != VERSION:
        raise RunError(f"'{path}' was written by another version of flopwise; delete it")
    now = _plain(recipe)
    changed = [
        f"{key} was {then.get(key)}, is {now[key]}" for key in now if then.get(key) != now[key]
    ]
    if state["digest"] != digest:
        changed.append("other training images")
    if changed:
        raise RunError(f"'{path.parent}' holds another training: {'; '.join(changed)}")
    return state


def write_weights(path: Path, weights: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Writes a state dict as safetensors, with facts as JSON under `flopwise`.

    One key only: the library writes several in no particular order, and files would differ.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    _replace(
        path,
        lambda temporary: save_file(
            tensors, temporary, metadata={"flopwise": json.dumps(dict(facts))}
        ),
    )


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads weights that a training wrote into a network of the same keys."""
    model.load_state_dict(load_file(path))


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the file, then takes its place in one step, so that no half file is seen."""
    temporary = path.with_name(f"{path.name}.part")
    write(temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())  # or a power cut could leave an empty file under the new name
    temporary.replace(path)


def _plain(recipe: Recipe) -> dict[str, Any]:
    return {
        each.name: getattr(recipe, each.name) for each in fields(recipe) if each.name not in FREE
    }
