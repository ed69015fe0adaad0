"""Every generator a training draws from: seeded, stored, restored, and given back afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["generators", "own_randomness", "set_generators"]


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeds the global generators for a while, then gives them back as they were.

    timm's mixing and policies draw from Python's and numpy's, dropout and drop path from torch's.
    """
    before = generators()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - timm draws from numpy's global generator
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_generators(before)


def generators() -> dict[str, Any]:
    """Returns the states of all global generators, as plain values and tensors."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generators(states: dict[str, Any]) -> None:
    """Restores what `generators` returned."""
    random.setstate(states["python"])
    name, keys, position, has_gauss, gauss = states["numpy"]
    state = (name, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    np.random.set_state(state)  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
