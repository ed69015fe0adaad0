"""How many CPU threads a training uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["fitting_threads"]

SMALL = 2_000_000_000
"""MACs of one forward pass of a batch below which several threads mostly wait for each other."""


@contextmanager
def fitting_threads(macs: int, batch: int) -> Iterator[None]:
    """Makes a context with one thread for small steps, and torch's own number for others.

    Two threads train a net of 1 MMAC more slowly than one, and crawl where cores are shared
    (measured: 2,387 images/s with one, 1,680 and, on a busy machine, 203 with two).
    OMP_NUM_THREADS in the environment has the last word.

    Args:
        macs: MACs of the network for one image.
        batch: Images of one step.
    """
    before = torch.get_num_threads()
    if macs * batch < SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
