"""The `train` section as data: its words, types, defaults and limits. No torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from flopwise.dsl.values import Rule, RuleType

__all__ = ["Recipe", "recipe_rules"]


def _say(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Makes a field with its default, its line of help, and its limits."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained; each field is a key of the `train` section."""

    data: str = _say(
        "digits",
        "Where the images come from: digits, a folder, a tar of one, torch/NAME or hfds/NAME.",
    )
    epochs: int = _say(5, "Passes over the training images.", low=1, high=100_000)
    batch: int = _say(
        64,
        "Images per optimizer step; kept by accumulation when memory forces smaller pieces.",
        low=1,
        high=1_000_000,
    )
    opt: str = _say("adamw", "Optimizer, by timm's name.")
    lr: float = _say(1e-3, "Peak learning rate.", low=0.0)
    weight_decay: float = _say(
        0.05, "Weight decay; norms, biases and position tables carry none.", low=0.0
    )
    momentum: float = _say(0.9, "Momentum, for the optimizers that have one.", low=0.0, high=1.0)
    sched: str = _say("cosine", "Learning-rate schedule, by timm's name.")
    warmup: float = _say(1.0, "Epochs of linear warm-up.", low=0.0)
    min_lr: float = _say(1e-6, "Where the schedule ends.", low=0.0)
    smoothing: float = _say(0.1, "Label smoothing.", low=0.0, high=1.0)
    mixup: float = _say(0.0, "Mixup alpha; 0 is off.", low=0.0)
    cutmix: float = _say(0.0, "CutMix alpha; 0 is off.", low=0.0)
    flip: bool = _say(True, "Random horizontal flips.")
    crop: float = _say(
        0.08,
        "Smallest share of the image a random resized crop keeps; 1 pads and shifts instead.",
        low=0.0,
        high=1.0,
    )
    augment: str = _say(
        "",
        "RandAugment or AutoAugment by timm's string, such as rand-m9-mstd0.5-inc1; empty is off.",
    )
    erase: float = _say(0.0, "Probability of random erasing.", low=0.0, high=1.0)
    drop_path: float = _say(0.0, "Stochastic depth rate of the last block.", low=0.0, high=1.0)
    drop_path_rule: str = _say(
        "linear",
        "How the rates of the blocks grow: linear from 0 at the first one; stagewise from 0 in the "
        "first stage (so none where there is one), the same in all blocks of a stage; constant is "
        "one rate for all.",
        choices=("linear", "stagewise", "constant"),
    )
    dropout: float = _say(0.0, "Dropout before the classifier.", low=0.0, high=1.0)
    ema: float = _say(0.0, "Decay of the weights' moving average; 0 is off.", low=0.0, high=1.0)
    repeats: int = _say(
        1,
        "Repeated augmentation: how often an image stands in a batch, each time another view.",
        low=1,
        high=64,
    )
    sam: float = _say(
        0.0, "Radius of sharpness-aware minimisation (Foret et al. 2021); 0 is off.", low=0.0
    )
    layer_decay: float = _say(
        1.0,
        "Factor on the learning rate from each group of layers to the one before it; 1 is off.",
        low=0.0,
        high=1.0,
    )
    test_size: int = _say(
        0, "Pixels at which images are judged; 0 is input.size.", low=0, high=16_384
    )
    amp: str = _say("none", "Autocast: none or bf16.", choices=("none", "bf16"))
    clip: float = _say(0.0, "Gradient clipping; 0 is off.", low=0.0)
    clip_mode: str = _say(
        "norm",
        "What is clipped: norm, value or agc (adaptive, Brock et al. 2021).",
        choices=("norm", "value", "agc"),
    )
    images: int = _say(
        0, "Training images used, a seeded stratified sample; 0 is all.", low=0, high=1_000_000_000
    )
    validation: str = _say(
        "",
        "Name of the split trials are judged on; empty cuts 10 % of train, at least 500 images.",
    )
    seed: int = _say(
        0, "Seed of the weights, the order of the images and the augmentations.", low=0, high=2**32
    )
    workers: int = _say(0, "Loader processes; 0 loads in the training process.", low=0, high=256)


@cache
def recipe_rules() -> dict[str, Rule]:
    """Returns what each key of `train` may hold."""
    types: dict[type, RuleType] = {bool: "bool", int: "int", float: "float", str: "text"}
    return {
        each.name: Rule(
            name=each.name,
            type=types[type(each.default)],
            doc=each.metadata["doc"],
            example=f"{each.name}: {json.dumps(each.default)}",
            low=each.metadata["low"],
            high=each.metadata["high"],
            choices=each.metadata["choices"],
        )
        for each in fields(Recipe)
    }
