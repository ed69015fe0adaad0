"""Every generator a training draws from: seeded, stored, restored, and given back afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = [
    "forked",
    "generators",
    "lent_randomness",
    "own_randomness",
    "seed_generators",
    "set_generators",
]


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeds the global generators for a while, then gives them back as they were.

    timm's mixing and policies draw from Python's and numpy's, dropout and drop path from torch's.
    """
    before = generators()
    seed_generators(seed)
    try:
        yield
    finally:
        set_generators(before)


def seed_generators(*seeds: int) -> None:
    """Seeds all global generators; several numbers make a seed of their own."""
    seed = seeds[0] if len(seeds) == 1 else int(np.random.SeedSequence(seeds).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - timm draws from numpy's global generator
    torch.manual_seed(seed)


def forked(dice: torch.Generator, rank: int) -> torch.Generator:
    """Returns a generator for one process of a group, from one draw that all of them make."""
    seed = int(torch.randint(2**62, (), generator=dice))
    return torch.Generator().manual_seed(seed + rank)


@contextmanager
def lent_randomness(dice: torch.Generator, rank: int = 0) -> Iterator[None]:
    """Lets torch's global CPU generator draw from `dice` for a while.

    timm's and torchvision's transforms draw from the global generator, as dropout does; a network's
    dropout must not change the images it is shown.

    Args:
        dice: What it draws from.
        rank: Which process of a group this is; each draws something else.
    """
    before = torch.get_rng_state()
    torch.set_rng_state(forked(dice, rank).get_state())
    try:
        yield
    finally:
        torch.set_rng_state(before)


def generators() -> dict[str, Any]:
    """Returns the states of all global generators, as plain values and tensors."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    keys = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {**numpy["state"], "key": keys}},
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def set_generators(states: dict[str, Any]) -> None:
    """Restores what `generators` returned."""
    random.setstate(states["python"])
    numpy = states["numpy"]
    keys = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": keys}})  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"]:  # of the GPU that it is on
        torch.cuda.set_rng_state(states["cuda"][0])
