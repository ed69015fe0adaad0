"""What a search needs to know about trainings: the words, not the work.

A search does not train. It hands a network and a recipe to an `Evaluate` and gets a `Measure`. A
real training is the default (`training.py`); a table of known results or a function does as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Network, Recipe

__all__ = ["Evaluate", "Evaluator", "Judge", "Measure", "OnEpoch", "Verdict", "keep"]

OnEpoch: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
"""Called after every epoch with its number from 1, how many there are, and the scores so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What one training gave, judged on the validation split only.

    Attributes:
        scores: Metric -> value; the objective of the search is one of them.
        epochs: Epochs behind the scores.
        seconds: Time spent training, over all sessions.
        images_per_s: Training images per second.
        outside_share: Share of the CPU time that was spent outside the network's own work.
        weights: The file with the trained weights, if there is one.
        kind: Which weights were judged: raw or ema.
        processes: Processes that shared its last session.
    """

    scores: Mapping[str, float]
    epochs: int = 0
    seconds: float = 0.0
    images_per_s: float = 0.0
    outside_share: float = 0.0
    weights: Path | None = None
    kind: str = "raw"
    processes: int = 1


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


def keep(folder: Path) -> None:
    """Leaves a folder as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Everything a search is told about how candidates get their scores.

    Attributes:
        evaluate: Gives one candidate its validation scores.
        judge: Opens the test split for the last step; None when there is nothing to open, and then
            the search ends with its best trial.
        facts: What the scores depend on besides the spec (such as the digest of the data); part of
            the study's identity, so a study is never continued with other data.
        images: Training images of one epoch; 0 when nothing is trained.
        data: Facts about the data that the winner's folder keeps for export.
        manifest: Everything about the data that the study keeps, such as the validation indices.
        notes: What a person should know about the data before the search starts.
        tidy: Called with the folder of a training once its scores are on record.
    """

    evaluate: Evaluate
    judge: Judge | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    images: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tidy: Callable[[Path], None] = keep
