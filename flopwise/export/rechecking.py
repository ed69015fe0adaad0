"""Checking an exported folder again, wherever it has been since: files, weights, logits, images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from flopwise.errors import RunError
from flopwise.export.folder import CONFIG, PROOF, SAMPLE, WEIGHTS, digest_of
from flopwise.export.proof import TOLERANCE, call_witness, write_pictures

__all__ = ["Recheck", "recheck"]

PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What files of torch.save begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """What was found in a folder that holds.

    Attributes:
        tier: `native` or `standalone`.
        architecture: The name timm builds it by.
        tensors: Tensors of its weights.
        difference: Largest difference between the logits of the stored sample and those found.
        timm: The version of timm that loaded it.
        images: Images that were classified.
        correct: How many of them rightly.
    """

    tier: str
    architecture: str
    tensors: int
    difference: float
    timm: str
    images: int = 0
    correct: int = 0


def recheck(
    folder: Path, *, pictures: Sequence[Image.Image] = (), labels: Tensor | None = None
) -> Recheck:
    """Checks a folder in a process that knows only timm, and runs its `model.py` if it has one.

    Args:
        folder: An exported folder.
        pictures: Images to classify, as they are.
        labels: Their classes.

    Raises:
        RunError: Something does not hold; every reason is named.
    """
    folder = folder.resolve()
    _stop(folder, _missing(folder))
    _stop(folder, _unreadable(folder / WEIGHTS))
    _stop(folder, _changed(folder))
    config = _json(folder / CONFIG)
    sample = load_file(folder / SAMPLE)
    with tempfile.TemporaryDirectory() as place:
        found, made = _load(folder, Path(place), sample["input"], pictures)
        _stop(folder, _refused(found["jobs"][0]))
        outputs = load_file(made)
    gap = (outputs["sample"] - sample["logits"]).abs().max().item()
    _stop(folder, _other_logits(gap, sample["logits"].abs().max().item()))
    right = 0
    if pictures and labels is not None:
        right = int((outputs["pictures"].argmax(1) == labels).sum())
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tensors = len(file.keys())
    return Recheck(
        tier=config.get("tier", "native"),
        architecture=config["architecture"],
        tensors=tensors,
        difference=gap,
        timm=found["timm"],
        images=len(pictures),
        correct=right,
    )


def _stop(folder: Path, failures: Iterator[str]) -> None:
    if told := [f"\n  - {failure}" for failure in failures]:
        raise RunError(f"{folder} does not hold what was proven:{''.join(told)}")


def _missing(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}")
    if not (folder / PROOF).is_file():
        raise RunError(f"{folder} is no export: it has no {PROOF}")
    listed = _json(folder / PROOF).get("files", {})
    for name in sorted({CONFIG, WEIGHTS, SAMPLE, *listed}):
        if not (folder / name).is_file():
            yield f"{name} is missing"


def _unreadable(path: Path) -> Iterator[str]:
    """Says why a file is no safetensors; a pickle is not opened."""
    with path.open("rb") as file:
        start = file.read(8)
    size = path.stat().st_size
    header = int.from_bytes(start, "little") if len(start) == 8 else -1
    if start.startswith(PICKLES):
        yield f"{path.name} is a pickle, as torch.save writes, no safetensors; it was not opened"
    elif not 0 < header < min(size, 10**8):
        yield f"{path.name} has no safetensors header: it is cut off ({size:,} bytes) or damaged"
    else:
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, ValueError) as error:
            yield f"{path.name} is cut off ({size:,} bytes) or damaged: {error}"


def _changed(folder: Path) -> Iterator[str]:
    proof = _json(folder / PROOF)
    if not proof.get("proven"):
        yield "it was never proven; export it again"
    for name, digest in proof.get("files", {}).items():
        if digest_of(folder / name) != digest and name in (WEIGHTS, CONFIG, SAMPLE, "model.py"):
            yield f"{name} is not the file that was proven (its SHA-256 differs)"


def _load(
    folder: Path, place: Path, image: Tensor, pictures: Sequence[Image.Image]
) -> tuple[Any, Path]:
    """Returns what the witness reports, and the file with its logits."""
    job = {"folder": str(folder)}
    job |= {key: str(place / key) for key in ("inputs", "outputs")}
    save_file({"sample": image}, job["inputs"])
    if pictures:
        job["pictures"] = write_pictures(pictures, place / "pictures")
    return call_witness([job], place, None), place / "outputs"


def _refused(found: Any) -> Iterator[str]:
    if "error" in found:
        yield f"timm does not load it: {found['error']}"
    for name, answer in found.get("checks", {}).items():
        if answer is not True:
            yield f"{name}: {answer['error'] if answer else 'another result'}"


def _other_logits(gap: float, scale: float) -> Iterator[str]:
    if not gap <= TOLERANCE * max(scale, 1e-12):  # also when it is no number
        yield f"the logits of {SAMPLE} differ by {gap:.2g} where the largest is {scale:.2g}"


def _json(path: Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} holds {type(found).__name__}, not a JSON object")
    return found
