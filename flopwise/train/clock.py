"""CPU time, and how much of it a network's own work takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Clock"]


@dataclass
class Clock:
    """Adds up CPU time of all threads and finished loader processes, epoch by epoch.

    A network's own work is forward, loss, backward, clipping, the optimizer's step and the moving
    average; outside it are images, their views, mixing, bookkeeping and everything else.

    Attributes:
        total: CPU seconds of all epochs.
        within: CPU seconds of the networks' own work in them.
    """

    total: float = 0.0
    within: float = 0.0
    _began: float = 0.0
    _before: float = 0.0

    def start(self) -> None:
        """An epoch begins."""
        self._began, self._before = _cpu_seconds(), self.within

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Makes a context for the network's own work."""
        began = time.process_time()
        try:
            yield
        finally:
            self.within += time.process_time() - began

    def stop(self) -> float:
        """An epoch ends; returns the share of its CPU time outside the network's work."""
        spent = _cpu_seconds() - self._began
        self.total += spent
        return _outside(spent, self.within - self._before)

    @property
    def share(self) -> float:
        """The share outside the network's work, of all epochs."""
        return _outside(self.total, self.within)


def _outside(total: float, within: float) -> float:
    """Returns what is left of `total`, as a share of it."""
    return max(0.0, 1.0 - within / total) if total > 0 else 0.0


def _cpu_seconds() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system
