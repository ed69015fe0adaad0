"""Folders: exported, checked again, reported. Torch and Optuna arrive with the first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.design.facade import Design
from flopwise.design.loading import load
from flopwise.errors import RunError

if TYPE_CHECKING:  # types only: the rooms import torch
    from flopwise.export.proof import Proof
    from flopwise.export.rechecking import Recheck

__all__ = ["export", "report", "verify"]


def export(
    source: str | Path | Design,
    folder: str | Path,
    *,
    weights: str | Path | None = None,
    images: Mapping[str, Any] | None = None,
    like: str = "",
    data: str = "",
    trial: int | None = None,
    also: Sequence[str] = (),
    command: str = "",
) -> Proof:
    """Writes a trained network as a folder that timm loads.

    Args:
        source: The folder of a search or training; with `weights` a spec, loaded or by its path.
        folder: Where to write.
        weights: Where the weights of the spec lie, under its names or timm's: safetensors, a
            checkpoint of torch that holds plain data only, an exported folder, a folder of timm's,
            or that of a training or search.
        images: How images were treated, where the weights do not tell: `mean`, `std`,
            `interpolation`, `crop_pct`, `crop_mode`, `test_size`, `class_names`.
        like: A model of timm whose images were treated alike, such as `resnet50.a1_in1k`.
        data: Where images lie as they were in training; the test split is classified too.
        trial: Number of another trial of a search than the winner.
        also: Other forms to lay beside: `onnx`, `program`, `state-dict`.
        command: The command that asked for it, for the records.

    Returns:
        The proof, found in processes that import only timm: the lowest and the newest.

    Raises:
        RunError: There is nothing to export, weights do not fit, or the proof fails.
        SpecError: The spec cannot be read.
    """
    if weights is None:
        if isinstance(source, Design) or Path(source).is_file() or images or like or data:
            raise RunError(
                "a spec has no weights of its own: name them, as in  flopwise export net.yaml "
                "--weights FILE; a search or training is named by its folder, and knows its images"
            )
        from flopwise.design.shipping import export_study

        return export_study(Path(source), Path(folder), trial, also=also, command=command)
    if trial is not None:
        raise RunError("a spec has no trials; name the folder of a search, and no weights")
    from flopwise.design.given import export_given

    design = source if isinstance(source, Design) else load(source)
    return export_given(
        design.spec,
        Path(weights),
        Path(folder),
        images=images,
        like=like,
        data=data,
        also=also,
        command=command,
    )


def report(study: str | Path, file: str | Path | None = None) -> Path:
    """Writes the page of a search: charts, the last step, the winner, every trial.

    Args:
        study: Its folder, or the URL of its database; it may still run.
        file: Where to write; `report.html` in its folder by default.

    Returns:
        The page: one HTML file that needs no network.

    Raises:
        RunError: There is no study.
    """
    from flopwise.design.reporting import write_report

    return write_report(study, file)


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
