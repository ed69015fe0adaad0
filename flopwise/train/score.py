"""How well weights do on a split: answers image by image, and the scores they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from flopwise.train.data import Data, SplitName
from flopwise.train.group import ALONE, Group
from flopwise.train.images import Labels
from flopwise.train.memory import Pieces
from flopwise.train.split import Split, Views, plain_faults
from flopwise.train.view import normalised

__all__ = ["Answers", "Score", "Timed", "Weights", "answer", "evaluate"]

Weights = Literal["raw", "ema"]
Timed = Callable[[], AbstractContextManager[object]]
BATCH = 256  # images judged at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What weights reach on one split.

    Attributes:
        split: train, validation or test.
        top1: Per cent of the images that were classified right.
        balanced: Mean over the classes of the per cent right in each.
        loss: Mean cross-entropy, without smoothing.
        images: Images behind it.
        weights: Which weights were judged: raw, or ema, their moving average.
    """

    split: str
    top1: float
    balanced: float
    loss: float
    images: int
    weights: Weights

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a network says about every image of a split, in the order of the split.

    Attributes:
        split: train, validation or test.
        labels: The right classes.
        said: The network's classes.
        losses: Cross-entropy of each image.
    """

    split: str
    labels: Labels = field(repr=False)
    said: Labels = field(repr=False)
    losses: NDArray[np.float32] = field(repr=False)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image was classified right."""
        return np.equal(self.said, self.labels)

    def score(self, weights: Weights = "raw") -> Score:
        """Adds the answers up."""
        counts = np.bincount(self.labels)
        right = np.bincount(self.labels, weights=self.correct)
        present = counts > 0
        return Score(
            split=self.split,
            top1=100 * float(self.correct.mean()),
            balanced=100 * float((right[present] / counts[present]).mean()),
            loss=float(self.losses.mean(dtype=np.float64)),
            images=len(self.labels),
            weights=weights,
        )


def answer(
    model: nn.Module,
    data: Data,
    split: SplitName | Split = "validation",
    *,
    device: torch.device | str | None = None,
    timed: Timed = nullcontext,
    group: Group = ALONE,
) -> Answers:
    """Runs a network over a split, in evaluation mode and full precision.

    A group deals out the batches of images, each to one process, and all of them get all answers.

    Args:
        model: The network; where it is decides where it runs, unless `device` says otherwise.
        data: The data it was trained on.
        split: Which split; `test` opens it.
        device: Where to run.
        timed: Makes a context that the network's own work runs in.
        group: The processes that share the work.
    """
    chosen = split if isinstance(split, Split) else data.split(split)
    place = torch.device(device) if device else next(model.parameters()).device
    labels = chosen.labels
    said, losses = torch.zeros_like(labels), torch.zeros(len(labels))
    if own := torch.arange(len(chosen)).split(BATCH)[group.rank :: group.size]:
        logits, mine = _run(model.to(place), chosen, own, data, place, timed), torch.cat(own)
        said[mine] = logits.argmax(1)
        losses[mine] = F.cross_entropy(logits, labels[mine], reduction="none")
    said, losses = group.whole(said), group.whole(losses)
    return Answers(chosen.name, labels.numpy(), said.numpy(), losses.numpy())


def evaluate(
    model: nn.Module,
    data: Data,
    split: SplitName = "validation",
    *,
    weights: Weights = "raw",
    device: torch.device | str | None = None,
) -> Score:
    """Scores a network on a split; `weights` is which of its weights it holds, for the record."""
    return answer(model, data, split, device=device).score(weights)


def _run(
    model: nn.Module,
    split: Split,
    own: Sequence[Tensor],
    data: Data,
    device: torch.device,
    timed: Timed,
) -> Tensor:
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (data.facts.mean, data.facts.std))
    training, pieces, found = model.training, Pieces(BATCH), []
    model.eval()
    try:
        for pixels in _pixels(split, own, data.workers):
            images = normalised(pixels, mean, std)
            found.append(pieces.fit(partial(_forward, model, images, device, timed)))
    finally:
        model.train(training)
    return torch.cat(found)


def _forward(
    model: nn.Module, images: Tensor, device: torch.device, timed: Timed, size: int
) -> Tensor:
    with torch.inference_mode(), timed():
        return torch.cat([model(part.to(device)).float().cpu() for part in images.split(size)])


def _pixels(split: Split, own: Sequence[Tensor], workers: int) -> Iterator[Tensor]:
    """Yields uint8 batches as evaluation sees them."""
    if split.sized is not None:
        yield from (split.sized[indices] for indices in own)
        return
    loader: DataLoader[Any] = DataLoader(
        Views(split, split.view.transform()),
        batch_sampler=[indices.tolist() for indices in own],
        num_workers=workers,
        generator=torch.Generator(),  # or the loader would draw from the global one
    )
    with plain_faults():
        yield from loader
