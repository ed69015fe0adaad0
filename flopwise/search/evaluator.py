"""What a search needs to know about trainings: the words, not the work.

A search does not train. It hands a network and a recipe to an `Evaluate` and gets a `Measure`; a
real training is the default (`training.py`), a table of known results or a plain function is as good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Network, Recipe

__all__ = ["Diverged", "Evaluate", "Judge", "Measure", "OnEpoch", "Verdict"]

OnEpoch: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
"""Called after every epoch with its number from 1, how many there are, and the scores so far."""


class Diverged(RuntimeError):
    """A training whose loss is no longer a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What one training gave, judged on the validation split only.

    Attributes:
        scores: Metric -> value; the objective of the search is one of them.
        epochs: Epochs behind the scores.
        seconds: Time spent training, over all sessions.
        images_per_s: Training images per second.
        weights: The file with the trained weights, if there is one.
        kind: Which weights were judged: raw or ema.
    """

    scores: Mapping[str, float]
    epochs: int = 0
    seconds: float = 0.0
    images_per_s: float = 0.0
    weights: Path | None = None
    kind: str = "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the test split says about trained weights.

    Attributes:
        scores: Metric -> value.
        correct: For every test image, in the order of the split, whether it was classified right.
    """

    scores: Mapping[str, float]
    correct: NDArray[np.bool_] = field(repr=False)


class Evaluate(Protocol):
    """Trains (or looks up) one network."""

    def __call__(
        self, network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch
    ) -> Measure:
        """Returns the measure; continues a training that `folder` already holds."""


class Judge(Protocol):
    """Judges trained weights on the test split; only the last step of a search holds one."""

    def __call__(self, network: Network, recipe: Recipe, measure: Measure) -> Verdict:
        """Returns the verdict of the test split."""
