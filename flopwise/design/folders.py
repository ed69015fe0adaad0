"""Exported folders: written, and checked again. Torch arrives with the first call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # types only: the rooms import torch
    from flopwise.export.proof import Proof
    from flopwise.export.rechecking import Recheck

__all__ = ["export", "verify"]


def export(
    study: str | Path,
    folder: str | Path,
    *,
    trial: int | None = None,
    also: Sequence[str] = (),
    command: str = "",
) -> Proof:
    """Writes what a search or a training gave as a folder that timm loads.

    Args:
        study: The folder of a search or training.
        folder: Where to write.
        trial: Number of another trial than the winner.
        also: Other forms to lay beside: `onnx`, `program`, `state-dict`.
        command: The command that asked for it, for the records.

    Returns:
        The proof, found in processes that import only timm: the lowest and the newest.

    Raises:
        RunError: There is nothing to export, or the proof fails.
    """
    from flopwise.design.shipping import export_study

    return export_study(Path(study), Path(folder), trial, also=also, command=command)


def verify(folder: str | Path, data: str = "", *, allow_code: bool = False) -> Recheck:
    """Checks an exported folder again: files, weights, logits and, with images, the accuracy.

    Args:
        folder: An exported folder.
        data: Where test images lie: digits, a folder, a tar, torch/NAME or hfds/NAME.
        allow_code: Whether code in the folder may run although it is not what flopwise writes and
            nobody has allowed it before; from then on it is.

    Raises:
        RunError: Something does not hold; every reason is named.
    """
    from flopwise.design.shipping import verify_folder

    return verify_folder(Path(folder), data, allow_code=allow_code)
