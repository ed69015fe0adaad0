"""The recipes of the papers, and what they need beyond timm."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import flopwise
from flopwise.dsl import Recipe, loads
from flopwise.dsl.presets import recipes
from flopwise.errors import SpecError
from flopwise.train import open_data
from flopwise.train.batches import batches
from flopwise.train.sam import climbed
from flopwise.train.tools import clip, make_optimizer
from flopwise.train.training import Training
from tests.unit.pictures import SmallNet

NET = """
spec: 1
name: net
input: {size: 28}
classes: 10
train: %s
net:
  stem: {block: conv, dim: 8}
  head: {block: classifier}
"""
MIXED = {"augment": "rand-m9-mstd0.5-inc1", "mixup": 0.8, "cutmix": 1.0, "erase": 0.25}
CONVNEXT = {**MIXED, "opt": "adamw", "lr": 4e-3, "weight_decay": 0.05, "batch": 4096,
            "sched": "cosine", "smoothing": 0.1}  # fmt: skip
PRINTED: dict[str, dict[str, Any]] = {
    # 1512.03385 section 3.4; 600,000 steps of 256 among 1.28 M images are 120 epochs
    "resnet": {"opt": "momentum", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "batch": 256,
               "epochs": 120, "sched": "step", "smoothing": 0.0},
    # 2201.03545 tables 5 and 6, appendix A.1
    "convnext": {**CONVNEXT, "epochs": 300, "warmup": 20.0, "ema": 0.9999, "drop_path": 0.1},
    "resnet_modern": {**CONVNEXT, "epochs": 300, "warmup": 20.0, "ema": 0.0, "drop_path": 0.1},
    "convnext_22k": {**CONVNEXT, "epochs": 90, "warmup": 5.0, "ema": 0.0, "drop_path": 0.0},
    "convnext_384": {"opt": "adamw", "lr": 5e-5, "weight_decay": 1e-8, "batch": 512, "epochs": 30,
                     "layer_decay": 0.7, "mixup": 0.0, "cutmix": 0.0, "erase": 0.25,
                     "smoothing": 0.1, "drop_path": 0.8, "warmup": 0.0, "ema": 0.0},
    "convnext_22k_1k": {"opt": "adamw", "lr": 5e-5, "weight_decay": 1e-8, "batch": 512,
                        "epochs": 30, "layer_decay": 0.8, "mixup": 0.0, "erase": 0.25,
                        "smoothing": 0.1, "drop_path": 0.0, "warmup": 0.0},
    # 2012.12877 table 9
    "deit": {**MIXED, "opt": "adamw", "lr": 1e-3, "weight_decay": 0.05, "batch": 1024,
             "epochs": 300, "warmup": 5.0, "smoothing": 0.1, "drop_path": 0.1, "repeats": 3},
    # 2101.11986 section 4.1 and the released code
    "t2t": {**MIXED, "opt": "adamw", "lr": 5e-4, "weight_decay": 0.05, "batch": 512,
            "epochs": 310, "warmup": 10.0, "min_lr": 1e-5, "ema": 0.99996, "drop_path": 0.1},
    "t2t_cifar": {"opt": "momentum", "lr": 0.05, "batch": 64, "epochs": 60, "sched": "cosine"},
    # 2010.11929 table 3, appendix B.1
    "vit_imagenet": {"lr": 3e-3, "weight_decay": 0.3, "batch": 4096, "epochs": 300,
                     "sched": "cosine", "dropout": 0.1, "clip": 1.0},
    "vit_imagenet21k": {"lr": 1e-3, "weight_decay": 0.03, "batch": 4096, "epochs": 90,
                        "sched": "poly", "dropout": 0.1},
    "vit_finetune": {"opt": "momentum", "lr": 0.03, "momentum": 0.9, "weight_decay": 0.0,
                     "batch": 512, "epochs": 8, "sched": "cosine", "clip": 1.0},
    # 2102.06171 section 4.1
    "nfnet": {"opt": "sgd", "lr": 1.6, "momentum": 0.9, "weight_decay": 2e-5, "batch": 4096,
              "epochs": 360, "warmup": 5.0, "min_lr": 0.0, "clip": 0.01, "clip_mode": "agc",
              "smoothing": 0.1, "ema": 0.99999, "drop_path": 0.25, "dropout": 0.2,
              "mixup": 0.2, "augment": "rand-n4-m5"},
    # 2310.16764 sections 2 and 3: 224 to 256 and 384 to 480 pixels
    "nfnet_scaling": {"opt": "sgd", "lr": 1.6, "batch": 4096, "sched": "cosine", "clip": 0.01,
                      "clip_mode": "agc", "test_size": 32},
    "nfnet_finetune": {"epochs": 50, "sam": 0.05, "dropout": 0.25, "drop_path": 0.1,
                       "batch": 2048, "lr": 0.1, "weight_decay": 1e-5, "test_size": 35},
}  # fmt: skip


def recipe(train: str) -> Recipe:
    return loads(NET % train).recipe


def test_every_recipe_is_compared_with_its_paper() -> None:
    assert set(PRINTED) == set(recipes())


@pytest.mark.parametrize("name", PRINTED)
def test_a_recipe_says_what_its_paper_prints(name: str) -> None:
    found = recipe(f"{{preset: {name}}}")
    assert {key: getattr(found, key) for key in PRINTED[name]} == PRINTED[name]


def test_what_is_written_beside_a_preset_goes_before_it() -> None:
    whole = recipe("{preset: convnext}")
    assert recipe("{preset: convnext, epochs: 3}") == replace(whole, epochs=3)
    assert recipe("{}").lr != whole.lr
    spec = loads(NET % "{preset: convnext, lr: 1.0}")
    other = spec.set([("train.preset", "nfnet")]).recipe
    assert (other.lr, other.clip_mode) == (1.0, "agc")
    assert loads(spec.render()).recipe == spec.recipe


def test_explain_names_the_preset() -> None:
    found = flopwise.loads(NET % "{preset: deit, epochs: 7}").explain("train.epochs")[0]
    assert [(step.text, step.who) for step in found.sources[0].steps] == [
        ("300", "preset 'deit'"),
        ("7", ""),
    ]


def test_a_wrong_preset_is_told_with_the_nearest() -> None:
    with pytest.raises(SpecError) as error:
        recipe("{preset: convnxt}")
    (fault,) = error.value.faults
    assert (fault.code, fault.helps) == ("E204", ("did you mean 'convnext'?",))


class Normed(nn.Module):
    """A linear map behind a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.norm(x))
        return found


def test_sam_takes_the_gradient_at_the_top_of_its_ball() -> None:
    torch.manual_seed(0)
    model, x, y = Normed().double(), torch.randn(8, 4).double(), torch.randint(3, (8,))
    names = dict(model.named_parameters())

    def gradient(at: dict[str, Tensor]) -> dict[str, Tensor]:
        leaves = {name: value.detach().requires_grad_() for name, value in at.items()}
        loss = F.cross_entropy(torch.func.functional_call(model, leaves, (x,)), y)
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    start = {name: value.detach().clone() for name, value in names.items()}
    slope = gradient(start)
    length = math.sqrt(sum(float((each**2).sum()) for each in slope.values()))
    wanted = gradient({name: start[name] + 0.5 / length * slope[name] for name in start})
    model.norm.reset_running_stats()
    F.cross_entropy(model(x), y).backward()
    mean = model.norm.running_mean.clone()
    with climbed(model, 0.5):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
    for name, weight in names.items():
        assert torch.equal(weight, start[name])
        torch.testing.assert_close(weight.grad, wanted[name])
    assert not torch.allclose(wanted["fc.weight"], slope["fc.weight"], rtol=1e-2)
    assert torch.equal(model.norm.running_mean, mean)
    assert model.norm.momentum == 0.1


def test_sam_trains(tmp_path: Path) -> None:
    plain = Recipe(epochs=1, images=240, batch=32, crop=1.0, flip=False)
    found = []
    for radius in (0.0, 0.1):
        torch.manual_seed(0)
        data = open_data(plain, size=(8, 8))
        run = Training.begin(
            SmallNet(1, 10), data, replace(plain, sam=radius), tmp_path, torch.device("cpu")
        )
        found.append(run.epoch().train_loss)
    assert found[0] != found[1]
    assert all(map(math.isfinite, found))


def test_agc_clips_each_unit_by_the_ratio_of_its_norms() -> None:
    """Brock et al. 2021, equation 3: rows of a matrix, filters of a convolution."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Linear(7, 2))
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    wanted = []
    for weight in model.parameters():
        found = weight.grad.clone()
        units = range(len(weight)) if weight.ndim > 1 else [slice(None)]
        for unit in units:
            most = 0.01 * max(float(weight[unit].detach().norm()), 1e-3)
            if float(found[unit].norm()) > most:
                found[unit] *= most / float(found[unit].norm())
        wanted.append(found)
    clip(model, Recipe(clip=0.01, clip_mode="agc"))
    for weight, each in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(weight.grad, each)


def test_repeated_augmentation_shows_fewer_images_more_often() -> None:
    plain = Recipe(images=240, batch=32, crop=0.3, flip=False)
    data = open_data(plain, size=(8, 8))
    once = batches(data, plain, torch.Generator().manual_seed(0))
    thrice = batches(data, replace(plain, repeats=4), torch.Generator().manual_seed(0))
    assert len(thrice) == len(once)
    for images, labels in thrice.epoch():
        groups = labels.view(-1, 4)
        assert (groups == groups[:, :1]).all()
        assert len({tuple(view.flatten().tolist()) for view in images[:4]}) > 1


def test_layer_decay_falls_from_the_head_to_the_stem() -> None:
    model = flopwise.load("std/convnext_tiny", {"classes": 10}).build()
    rates = {}
    for group in make_optimizer(model, Recipe(layer_decay=0.5)).param_groups:
        for weight in group["params"]:
            rates[id(weight)] = group["lr_scale"]
    found = {name: rates[id(weight)] for name, weight in model.named_parameters()}
    assert found["head.fc.weight"] == 1.0
    assert found["stem.0.weight"] < found["stage2.0.mlp.fc1.weight"] < 1.0


def test_images_are_judged_at_the_test_size(tmp_path: Path) -> None:
    plain = Recipe(images=240, batch=32, test_size=12)
    data = open_data(plain, size=(8, 8))
    assert data.validation.sized is not None
    assert data.train.sized is not None
    assert data.validation.sized.shape[2:] == data.test().sized.shape[2:] == (12, 12)
    assert data.train.sized.shape[2:] == (8, 8)
    assert data.facts.as_dict()["test_size"] == [12, 12]
    begin = Training.begin
    begin(SmallNet(1, 10), data, plain, tmp_path, torch.device("cpu"))
    fixed = flopwise.loads(
        NET.replace("28", "{size: 8}").replace("size: {size: 8}", "size: 8")
        .replace("  stem: {block: conv, dim: 8}", "  stem: {block: patchify, patch: 2, dim: 8}\n"
                 "  pos: {block: position}") % "{}"
    )  # fmt: skip
    with pytest.raises(SpecError, match="test_size is 12"):
        begin(fixed.build(), data, plain, tmp_path, torch.device("cpu"))
