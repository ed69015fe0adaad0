"""What a user of timm does with exported folders: python stranger.py JOBS REPORT, with timm alone.

JOBS is a list of {folder, inputs}: `inputs` holds images and the logits they should give. REPORT
takes, per job, what was done; an answer that is not true is a failure.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, accuracy, freeze

STEPS = 8


def opened(folder: Path) -> str:
    if (folder / "model.py").exists():
        sys.modules.pop("model", None)
        sys.path.insert(0, str(folder))
        importlib.import_module("model")
        sys.path.pop(0)
    return f"local-dir:{folder}"


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=True, **options)


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def backbone(name: str) -> Any:
    """The network as features; of one with fewer than five levels timm must be told how many."""
    try:
        return made(name, features_only=True)
    except IndexError:
        levels = len(made(name).feature_info)
        return made(name, features_only=True, out_indices=tuple(range(levels)))


def tuned(name: str, images: torch.Tensor, idle: list[str]) -> dict[str, Any]:
    """Trains a folder's network on eight images of two new classes, in timm's own way."""
    model = made(name, num_classes=2)
    if idle:
        freeze(model, idle)
    labels = torch.arange(len(images)) % 2
    optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05, layer_decay=0.9)
    scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=STEPS)
    loss_of, average = LabelSmoothingCrossEntropy(0.1), ModelEmaV3(model, decay=0.9)
    losses = []
    model.train()
    for step in range(STEPS):
        loss = loss_of(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model)
        scheduler.step(step + 1)
        losses.append(loss.item())
    (top1,) = accuracy(model(images), labels)
    averaged = average(images)
    return {
        "the loss falls": losses[-1] < losses[0],
        "the average is finite": bool(averaged.isfinite().all()) and bool(top1.isfinite()),
    }


@torch.inference_mode()
def used(name: str, images: torch.Tensor, logits: torch.Tensor) -> dict[str, Any]:
    model = made(name).eval()
    cfg = model.pretrained_cfg
    answers = {"logits": close(model(images), logits)}
    if cfg.get("classifier"):
        other = made(name, num_classes=3).eval()
        answers["3 classes"] = other(images).shape == (len(images), 3)
        bare = made(name, num_classes=0).eval()(images)
        answers["no classes"] = close(
            bare, model.forward_head(model.forward_features(images), True)
        )
    if cfg.get("first_conv") and images.shape[1] == 3:
        grey = images[:, :1]
        found = made(name, in_chans=1).eval()(grey)
        wanted = model(grey.expand(-1, 3, -1, -1))
        standard = "StdConv" in type(model.get_submodule(cfg["first_conv"])).__name__
        same = torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)
        answers["in_chans=1"] = same or standard  # a sum of standardised filters is another filter
    if model.feature_info:
        trunk = backbone(name).eval()
        maps = trunk(images)
        answers["features"] = bool(maps) and all(
            channels in each.shape[1:]
            for each, channels in zip(maps, trunk.feature_info.channels(), strict=True)
        )
    return answers


def main(jobs: str, report: str) -> None:
    sys.modules["flopwise"] = None  # type: ignore[assignment]  # whoever imports it now fails
    found = []
    for job in json.loads(Path(jobs).read_text()):
        folder, inputs = Path(job["folder"]), load_file(job["inputs"])
        config = json.loads((folder / "config.json").read_text())
        try:
            name = opened(folder)
            answers = used(name, inputs["images"], inputs["logits"])
            if config["pretrained_cfg"].get("classifier"):
                answers |= tuned(
                    name, inputs["images"], config.get("shipped", {}).get("layers", [])
                )
        except Exception:  # whatever a library may raise is the finding
            answers = {"error": traceback.format_exc()}
        found.append(answers)
    Path(report).write_text(json.dumps({"timm": timm.__version__, "answers": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
