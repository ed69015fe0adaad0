"""Other ways out: files beside those for timm, each read back and compared with the network.

Source: https://docs.pytorch.org/docs/stable/onnx_export.html and .../export.html; the batch is the
one free dimension.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flopwise.errors import RunError, nearest

__all__ = ["WAYS", "Way", "compare", "needed", "write_ways"]

BATCHES = (1, 3)
"""Images in the batches that are compared; the network was traced with two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One more form of a trained network.

    Attributes:
        file: The file it is written to.
        what: What it is, in a line.
        write: Writes a module, given images of its shape.
        open: Returns a function from images to logits; None where the file is weights alone.
        tolerance: Largest difference of a logit, over the largest logit.
        needs: Packages that the extra of the same name installs.
        code: Whether reading the file may run what is in it.
    """

    file: str
    what: str
    write: Callable[[nn.Module, Tensor, Path], None]
    open: Callable[[Path], Callable[[Tensor], Tensor]] | None = None
    tolerance: float = 0.0
    needs: tuple[str, ...] = ()
    code: bool = False


def write_ways(
    names: Collection[str], model: nn.Module, folder: Path, images: Callable[[int], Tensor]
) -> dict[str, dict[str, Any]]:
    """Writes a network in more forms, and compares each with the module.

    Args:
        names: Keys of `WAYS`.
        model: The network, in eval mode.
        folder: Where to write.
        images: Number of images -> a batch of them.

    Returns:
        For each form its file and how far it is off.

    Raises:
        RunError: A form is unknown, its packages are missing, or it gives other logits.
    """
    needed(names)
    found = {}
    for name in names:
        way = WAYS[name]
        (folder / way.file).parent.mkdir(exist_ok=True)
        with _quiet():
            way.write(model, images(2), folder / way.file)
        with torch.inference_mode():
            pairs = [(batch, model(batch)) for batch in map(images, BATCHES)]
        found[name] = {"file": way.file, **compare(name, folder, pairs)}
    return found


def needed(names: Collection[str]) -> None:
    """Refuses forms that are unknown, or whose packages are not installed."""
    for name in names:
        if name not in WAYS:
            near = nearest(name, WAYS)
            meant = f"; did you mean '{near}'?" if near else ""
            raise RunError(f"there is no form '{name}'{meant} (forms: {', '.join(WAYS)})")
        if gone := [package for package in WAYS[name].needs if find_spec(package) is None]:
            raise RunError(
                f"the form '{name}' needs packages that are not installed: {', '.join(gone)}; "
                f"install them with  pip install 'flopwise[{name}]'"
            )


def compare(name: str, folder: Path, pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Reads a file back and holds its logits against known ones.

    Args:
        name: A key of `WAYS`.
        folder: Where the file lies.
        pairs: Batches of images, each with its logits.

    Raises:
        RunError: They differ by more than the form allows.
    """
    way = WAYS[name]
    if way.open is None:
        return {}
    with torch.inference_mode(), _quiet():
        run = way.open(folder / way.file)
        gaps = torch.cat([(run(images) - logits).flatten() for images, logits in pairs])
    gap = gaps.abs().max().item()
    scale = max(logits.abs().max().item() for _, logits in pairs)
    if not gap <= way.tolerance * max(scale, 1e-12):  # also when it is no number
        raise RunError(
            f"{way.file} gives other logits than the network: they differ by {gap:.2g} where the "
            f"largest is {scale:.2g}, and {way.tolerance:g} of it is allowed"
        )
    return {"difference": gap, "relative": gap / max(scale, 1e-12), "tolerance": way.tolerance}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the exporters tell about their own insides from the terminal."""
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(loud)


def _free() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch", min=1, max=2**20)},)


def _write_onnx(model: nn.Module, images: Tensor, path: Path) -> None:
    """Writes ONNX in the opset that the installed torch writes by itself; one file up to 2 GB.

    Traced with the plain attention: the fused one lays its result out in memory in a way that ONNX
    has not, and torch fails on the view of it.
    """
    size = sum(value.nbytes for value in model.state_dict().values())
    with sdpa_kernel(SDPBackend.MATH):
        torch.onnx.export(
            model,
            (images,),
            path,
            dynamo=True,
            verbose=False,
            dynamic_shapes=_free(),
            input_names=["images"],
            output_names=["logits"],
            external_data=size > 1_900_000_000,
        )


def _open_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    from onnxruntime import InferenceSession

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_program(model: nn.Module, images: Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=_free()), path)


def _open_program(path: Path) -> Callable[[Tensor], Tensor]:
    program: nn.Module = torch.export.load(path).module()
    return program


def _write_state(model: nn.Module, images: Tensor, path: Path) -> None:
    """Writes the weights under our own names, and reads them back."""
    state = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    save_file({key: value.clone() for key, value in state.items()}, path)
    found = load_file(path)
    if not all(torch.equal(found[key], value) for key, value in state.items()):
        raise RunError(f"{path.name} does not hold the weights that were written to it")


WAYS: Mapping[str, Way] = {
    "onnx": Way(
        file="more/model.onnx",
        what="ONNX, for onnxruntime and others",
        write=_write_onnx,
        open=_open_onnx,
        tolerance=1e-4,
        needs=("onnx", "onnxscript", "onnxruntime"),
    ),
    "program": Way(
        file="more/model.pt2",
        what="a program of torch.export, which needs torch alone",
        write=_write_program,
        open=_open_program,
        tolerance=1e-5,
        code=True,  # torch unpickles what an archive says is pickled
    ),
    "state-dict": Way(
        file="more/state_dict.safetensors",
        what="the weights under the names of the spec, for Design.build() and train --from",
        write=_write_state,
    ),
}
