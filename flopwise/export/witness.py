"""Loads exported folders as a stranger would: torch and timm, nothing of ours.

`verify` runs this file in a process of its own, `python -P witness.py JOBS REPORT`, in which
flopwise cannot be imported. If a folder has a `model.py`, that is imported first. JOBS is a list
of {folder, inputs, outputs} and perhaps {pictures}: `inputs` holds a batch and test images,
`pictures` is a folder of the same test images for timm's own transform, `outputs` takes the logits
of all. REPORT takes the versions and what was found, one object per job.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

__all__ = ["main"]

CHUNK = 64
Check: TypeAlias = Callable[[], bool]


def main(jobs: str, report: str) -> None:
    """Answers every job; a folder that fails does not stop the others."""
    assert "flopwise" not in sys.modules, "the witness must not know us"
    sys.modules["flopwise"] = None  # type: ignore[assignment]  # whoever imports it now fails
    found = [_attempt(partial(_witness, job)) for job in json.loads(Path(jobs).read_text())]
    versions = {"timm": timm.__version__, "torch": torch.__version__}
    Path(report).write_text(json.dumps({**versions, "jobs": found}))


def _witness(job: dict[str, str]) -> dict[str, Any]:
    config = json.loads((Path(job["folder"]) / "config.json").read_text())
    name = _opened(Path(job["folder"]), config["architecture"])
    inputs = load_file(job["inputs"])
    model = timm.create_model(name, pretrained=True).eval()
    batches = {**inputs, **({"pictures": _seen(model, job)} if "pictures" in job else {})}
    save_file({key: _logits(model, images) for key, images in batches.items()}, job["outputs"])
    checks = _checks(name, model, inputs["batch"], config) if "batch" in inputs else {}
    if not name.startswith("local-dir:"):
        checks |= _own_checks(job["folder"], name, model, batches)
    levels = _levels(name, next(iter(batches.values()))[:2])
    checks["features_only"] = lambda: levels.get("right", not model.feature_info)
    answers = {key: _attempt(check) for key, check in checks.items()}
    return {"checks": answers, "levels": levels}


def _opened(folder: Path, architecture: str) -> str:
    """Returns the name by which timm makes the network of a folder."""
    if not (folder / "model.py").exists():
        return f"local-dir:{folder}"
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert spec and spec.loader
    sys.modules["model"] = importlib.util.module_from_spec(spec)  # no other file of the folder runs
    spec.loader.exec_module(sys.modules["model"])
    return architecture


def _checks(name: str, model: nn.Module, batch: Tensor, config: Any) -> dict[str, Check]:
    """What users of timm do next, where the folder says that it is possible."""
    classes, cfg = config["num_classes"], config["pretrained_cfg"]
    checks: dict[str, Check] = {
        "random": lambda: (
            not torch.equal(
                _logits(timm.create_model(name, pretrained=False).eval(), batch),
                _logits(model, batch),
            )
        ),
    }
    if "classifier" in cfg:
        checks["num_classes"] = lambda: _other_classes(name, model, batch, classes + 1)
        checks["no_classifier"] = lambda: _other_classes(name, model, batch, 0)
    if batch.shape[1] == 3 and "first_conv" in cfg:
        checks["in_chans"] = lambda: _one_channel(name, model, batch)
    return checks


def _own_checks(folder: str, name: str, model: Any, batches: dict[str, Tensor]) -> dict[str, Check]:
    """What a folder with its own classes promises beyond that."""
    batch = next(iter(batches.values()))[:2]
    return {
        "local_dir": lambda: _alike(
            _logits(timm.create_model(f"local-dir:{folder}", pretrained=True).eval(), batch),
            _logits(model, batch),
        )
    }


def _levels(name: str, batch: Tensor) -> dict[str, Any]:
    """How `features_only` is asked for and what it gives; nothing where it never works.

    Of most networks timm wants five levels unless told otherwise, and fails where they have fewer.
    """
    for count in (0, 5, 4, 3, 2, 1):
        asked = {"out_indices": list(range(count))} if count else {}
        found: dict[str, Any] = _attempt(partial(_taken, name, batch, asked))
        if "error" not in found:
            return found
    return {}


@torch.inference_mode()
def _taken(name: str, batch: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """The levels that were asked for, and whether their maps have the channels they tell."""
    trunk: Any = timm.create_model(name, pretrained=True, features_only=True, **asked).eval()
    channels = trunk.feature_info.channels()
    maps = zip(trunk(batch), channels, strict=True)
    right = all(width in each.shape[1:] for each, width in maps)
    return {**asked, "channels": channels, "steps": trunk.feature_info.reduction(), "right": right}


def _seen(model: nn.Module, job: dict[str, str]) -> Tensor:
    """Returns pictures as timm prepares them from what config.json says."""
    facts = resolve_model_data_config(model, use_test_size=True)
    prepare = create_transform(**facts, is_training=False)
    files = sorted(Path(job["pictures"]).iterdir())
    return torch.stack([prepare(Image.open(file)) for file in files])


def _attempt(work: Callable[[], Any]) -> Any:
    """Returns what the work returns, or the error as text."""
    try:
        return work()
    except Exception as error:  # whatever a library may raise is the finding
        return {"error": f"{type(error).__name__}: {error}"}


@torch.inference_mode()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(piece) for piece in torch.split(images, CHUNK)])


@torch.inference_mode()
def _other_classes(name: str, model: nn.Module, batch: Tensor, classes: int) -> bool:
    """Another head is asked for: the features stay ours, the head has the right width."""
    other = timm.create_model(name, pretrained=True, num_classes=classes).eval()
    same = _alike(_features(other, batch), _features(model, batch))
    return same and (not classes or other(batch).shape[1] == classes)


def _alike(found: Tensor, wanted: Tensor) -> bool:
    """Equal but for rounding, which may depend on where tensors lie in memory."""
    return torch.allclose(found, wanted, rtol=0.0, atol=1e-5 * float(wanted.abs().max()))


def _features(model: Any, batch: Tensor) -> Tensor:
    found: Tensor = model.forward_features(batch)
    return found


@torch.inference_mode()
def _one_channel(name: str, model: nn.Module, batch: Tensor) -> bool:
    """Grey images give what the same images give as three equal channels.

    Where the weights that see the image are standardised, timm's sum of them gives only alike.
    """
    grey = batch[:, :1]
    other: Any = timm.create_model(name, pretrained=True, in_chans=1).eval()
    if "StdConv" in type(other.get_submodule(other.pretrained_cfg["first_conv"])).__name__:
        return bool(other(grey).isfinite().all())
    return torch.allclose(other(grey), model(grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    main(*sys.argv[1:])
