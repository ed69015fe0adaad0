"""Which trainings of a family are optimal: those that no other model beats at their compute.

At the compute of a training every other model is read off its own curve, straight between its own
trainings on log-log axes. A training is optimal where it lies no higher than any of them, and no
higher than any training of less compute, which is to be had for its compute too. Where no other
model was trained with less and with more compute, nothing can be compared and nothing is called
optimal. If that is so everywhere (one model, or a file that names none), only the trainings of at
most its compute count.

All of it is arithmetic on arrays (draws, trainings), so that it can be repeated for resampled
losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rivals", "rivals"]

Array = NDArray[np.float64]
SAME = 1e-9
"""Logarithms of compute that differ by less are the same compute."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """What each training is compared with.

    Attributes:
        weights: A row per comparison: how the rival's log loss is made of those of its trainings.
        owner: The training that each comparison is about.
        compared: Which trainings can be optimal at all.
        alone: Whether there are no two models to compare.
    """

    weights: Array
    owner: NDArray[np.intp]
    compared: NDArray[np.bool_]
    alone: bool

    def optimal(self, losses: Array) -> NDArray[np.bool_]:
        """Returns which trainings no rival beats: log losses (draws, trainings) -> the same."""
        lost = losses[:, self.owner] > losses @ self.weights.T + SAME
        found = np.repeat(self.compared[None], len(losses), axis=0)
        for comparison, owner in enumerate(self.owner):
            found[:, owner] &= ~lost[:, comparison]
        return found


def rivals(computes: Array, models: Sequence[str]) -> Rivals:
    """Returns what the trainings of a family are compared with.

    Args:
        computes: Logarithm of the compute of each, (trainings,); a model has each once.
        models: The model of each.
    """
    around = list(_of_models(computes, models))
    rows = [*around, *_of_cheaper(computes)]
    owner = np.array([each for each, _ in rows], dtype=np.intp)
    weights = np.array([row for _, row in rows]).reshape(len(rows), len(computes))
    compared = np.isin(np.arange(len(computes)), [each for each, _ in around])
    return Rivals(weights, owner, compared | (not around), not around)


def _of_models(computes: Array, models: Sequence[str]) -> Iterator[tuple[int, Array]]:
    """Yields every training with every other model that was trained around its compute."""
    for model in dict.fromkeys(models):
        own = np.array([each == model for each in models])
        curve = np.flatnonzero(own)[np.argsort(computes[own])]
        for each in np.flatnonzero(~own):
            row = _read_off(computes, curve, computes[each])
            if row is not None:
                yield int(each), row


def _read_off(computes: Array, curve: NDArray[np.intp], at: float) -> Array | None:
    """Returns the weights of a curve's trainings at a compute; None outside the curve."""
    x = computes[curve]
    if not x[0] - SAME <= at <= x[-1] + SAME:
        return None
    row = np.zeros(len(computes))
    right = int(np.searchsorted(x, at - SAME))
    if right == 0 or abs(x[right] - at) <= SAME:
        row[curve[right]] = 1.0
        return row
    share = (at - x[right - 1]) / (x[right] - x[right - 1])
    row[curve[right - 1]], row[curve[right]] = 1 - share, share
    return row


def _of_cheaper(computes: Array) -> Iterator[tuple[int, Array]]:
    """Yields every training with every other one of at most its compute."""
    for each, at in enumerate(computes):
        for other in np.flatnonzero(computes <= at + SAME):
            if other != each:
                yield each, np.eye(len(computes))[other]
