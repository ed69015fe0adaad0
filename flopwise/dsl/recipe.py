"""The `train` section as data: its words, types, defaults and limits. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained; each field is a key of the `train` section."""

    data: str = "digits"
    """Where the images come from: digits, a folder, a tar of one, torch/NAME or hfds/NAME."""
    epochs: int = 5
    """Passes over the training images."""
    batch: int = 64
    """Images per optimizer step; kept by accumulation when memory forces smaller pieces."""
    opt: str = "adamw"
    """Optimizer, by timm's name."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.05
    """Decoupled weight decay; norms, biases and position tables carry none."""
    momentum: float = 0.9
    """Momentum, for the optimizers that have one."""
    sched: str = "cosine"
    """Learning-rate schedule, by timm's name."""
    warmup: float = 1.0
    """Epochs of linear warm-up."""
    min_lr: float = 1e-6
    """Where the schedule ends."""
    smoothing: float = 0.1
    """Label smoothing."""
    mixup: float = 0.0
    """Mixup alpha; 0 is off."""
    cutmix: float = 0.0
    """CutMix alpha; 0 is off."""
    flip: bool = True
    """Random horizontal flips."""
    crop: float = 0.08
    """Smallest share of the image a random resized crop keeps; 1 pads and shifts instead."""
    augment: str = ""
    """RandAugment or AutoAugment by timm's string, such as rand-m9-mstd0.5-inc1; empty is off."""
    erase: float = 0.0
    """Probability of random erasing."""
    drop_path: float = 0.0
    """Stochastic depth rate of the last block, rising linearly from 0."""
    dropout: float = 0.0
    """Dropout before the classifier."""
    ema: float = 0.0
    """Decay of the weights' moving average; 0 is off."""
    amp: str = "none"
    """Autocast: none or bf16."""
    clip: float = 0.0
    """Gradient clipping; 0 is off."""
    clip_mode: str = "norm"
    """What is clipped: norm, value or agc (adaptive, Brock et al. 2021)."""
    images: int = 0
    """Training images used, a seeded stratified sample; 0 is all."""
    validation: str = ""
    """Name of the split trials are judged on; empty cuts 10 % of train, at least 500 images."""
    seed: int = 0
    """Seed of the weights, the order of the images and the augmentations."""
    workers: int = 0
    """Loader processes; 0 loads in the training process."""
