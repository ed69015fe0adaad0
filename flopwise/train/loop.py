"""The training loop: thin over timm, exact about what it can be resumed from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from flopwise.dsl.recipe import Recipe
from flopwise.train.checkpoint import load_weights
from flopwise.train.data import Data
from flopwise.train.randomness import own_randomness
from flopwise.train.record import OnEpoch, Result
from flopwise.train.training import Training

__all__ = ["train"]


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    folder: str | Path,
    *,
    on_epoch: OnEpoch | None = None,
    device: torch.device | str | None = None,
    keep: Literal["best", "last"] = "best",
) -> Result:
    """Trains a network, or goes on with the training that `folder` holds.

    After every epoch the folder holds all that is needed to go on, written in one step; a training
    that was killed ends as if nothing had happened. On a CPU the same seed gives the same weights,
    bit for bit, with the same number of threads. Nothing is printed and nothing is sent anywhere;
    `on_epoch` is the hook for both, for example for TensorBoard:

        writer = SummaryWriter(folder)
        def on_epoch(epoch: Epoch) -> None:
            for name in ("top1", "loss", "train_loss", "lr"):
                writer.add_scalar(name, getattr(epoch, name), epoch.epoch)

    and `wandb.log(epoch.as_dict())` or `mlflow.log_metrics(...)` likewise.

    Args:
        model: The network; at the end it holds the judged weights of the epoch to keep.
        data: The images; only train and validation are looked at.
        recipe: How it is trained.
        folder: Where its files are; created when missing.
        on_epoch: Called after every epoch, when its checkpoint is on disk. May raise `Stop`.
        device: Where to train; a GPU where there is one.
        keep: Which epoch: the best by validation, or the last, for which nothing was chosen.

    Raises:
        SpecError: The recipe asks for what timm or the network does not have.
        DivergedError: The loss is no longer a number.
        RunError: The folder holds another training, or not even one image fits the memory.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with own_randomness(recipe.seed):
        training = Training.begin(model.to(place), data, recipe, home, place)
        training.resume()
        stopped = training.run(on_epoch)
    if keep == "best":
        load_weights(model, training.weights)
    else:
        model.load_state_dict(training.judged.state_dict())
    return training.result(stopped)
