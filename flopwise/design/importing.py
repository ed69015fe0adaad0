"""A timm model to a spec on disk, with its weights beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flopwise.design.writing import write_new
from flopwise.errors import RunError

if TYPE_CHECKING:  # types only: the room imports torch and timm
    from flopwise.export.importing import Imported

__all__ = ["import_timm", "weights_beside"]


def import_timm(
    name: str,
    file: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    classes: int | None = None,
    prove: bool | None = None,
) -> Imported:
    """Writes a timm model as a spec, and proves that both are the same network.

    Args:
        name: A registered model, such as `resnet50` or `timm:resnet50.a1_in1k`, or an exported
            folder.
        file: The spec to write, which must not exist; nothing is written without it.
        weights: A file of timm's weights for the model; under our keys they are written beside the
            spec, as `FILE.safetensors`.
        classes: Another number of classes than timm's.
        prove: Whether outputs are compared; None does so up to 100 million parameters.

    Returns:
        The text of the spec, its network, the weights, and how timm treats images.

    Raises:
        RunError: There is no such model, the vocabulary lacks a setting of it, the weights do not
            fit, or the proof fails.
        SpecError: The file exists (E123).
    """
    from flopwise.export.importing import import_timm as read_timm

    place = None if file is None else Path(file)
    beside = weights_beside(place) if place and weights else None
    if beside and beside.exists():
        raise RunError(f"{beside} exists already, and is not overwritten; name another file")
    imported = read_timm(name, weights=weights, classes=classes, prove=prove)
    if place:
        write_new(place, imported.text)
    if beside and imported.weights:
        from safetensors.torch import save_file

        tensors = {key: value.contiguous().clone() for key, value in imported.weights.items()}
        save_file(tensors, beside, metadata={"format": "pt"})
    return imported


def weights_beside(file: Path) -> Path:
    """Returns where the weights of a spec lie."""
    return file.with_suffix(".safetensors")
