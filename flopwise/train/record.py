"""What a training says about itself: one `Epoch` after another, and the `Result`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from flopwise.errors import RunError
from flopwise.train.score import Weights

__all__ = ["DivergedError", "Epoch", "OnEpoch", "Result", "Stop"]


class Stop(Exception):  # noqa: N818 - a request, not an error
    """Raised by `on_epoch` to end a training after the epoch that was just recorded."""


class DivergedError(RunError):
    """A training whose loss is no longer a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One pass over the training images, judged on the validation split.

    Attributes:
        epoch: Its number, from 1.
        epochs: How many there will be.
        lr: Learning rate of its last update.
        train_loss: Mean training loss, with smoothing and mixing.
        top1: Per cent of the validation images that were classified right.
        balanced: Mean over the classes of the per cent right in each.
        loss: Mean cross-entropy on the validation images.
        weights: Which weights were judged: raw, or ema, their moving average.
        seconds: Wall time of training and judging.
        images_per_second: Training images per second of training.
        outside_share: CPU time outside the network's own work, over all CPU time of the epoch.
    """

    epoch: int
    epochs: int
    lr: float
    train_loss: float
    top1: float
    balanced: float
    loss: float
    weights: Weights
    seconds: float
    images_per_second: float
    outside_share: float

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values: a line of epochs.jsonl."""
        return asdict(self)


OnEpoch: TypeAlias = Callable[[Epoch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a training gave.

    Attributes:
        best: The epoch with the best top-1 on the validation split; of equals, the last.
        last: The last epoch.
        history: All epochs, those of earlier sessions included.
        weights: File with the judged weights of the best epoch (safetensors).
        kind: Which weights they are: raw, or ema, their moving average.
        seconds: Wall time of all epochs.
        images_per_second: Training images per second of training, over all epochs.
        outside_share: CPU time outside the network's own work, over all CPU time.
        piece: Images that went through the network at once; less than the recipe's batch where
            memory was short.
        stopped: Whether `on_epoch` ended it early.
        processes: Processes that shared its last session.
    """

    best: Epoch
    last: Epoch
    history: tuple[Epoch, ...]
    weights: str
    kind: Weights
    seconds: float
    images_per_second: float
    outside_share: float
    piece: int
    stopped: bool = False
    processes: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {**asdict(self), "history": [each.as_dict() for each in self.history]}
