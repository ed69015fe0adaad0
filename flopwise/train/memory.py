"""Batches that do not fit the memory are worked on in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from flopwise.errors import RunError

__all__ = ["Pieces", "ShortError", "out_of_memory"]

T = TypeVar("T")
SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


class ShortError(Exception):
    """The memory of one process of a group is short: all have to begin again with `size`."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(slots=True)
class Pieces:
    """How many images fit the memory at once, learnt by trying.

    Attributes:
        size: Most images to work on at once.
        alone: Whether a smaller size may be tried at once: no other process waits meanwhile.
    """

    size: int
    alone: bool = True

    def fit(self, work: Callable[[int], T]) -> T:
        """Returns what `work(size)` returns, with half the size each time memory runs out."""
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.size == 1:
                    raise RunError("a single image does not fit the memory") from error
            # Outside the handler, so that the failed call's tensors are no longer held.
            self.size = (self.size + 1) // 2
            if not self.alone:
                raise ShortError(self.size)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(sign in str(error).lower() for sign in SIGNS)
