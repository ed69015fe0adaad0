"""The training loop: thin over timm, exact about what it can be resumed from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from flopwise.dsl.recipe import Recipe
from flopwise.errors import SpecError
from flopwise.train.check import wrong_settings
from flopwise.train.checkpoint import load_weights, read_checkpoint
from flopwise.train.data import Data
from flopwise.train.group import ALONE, Group
from flopwise.train.launch import Job, run_group
from flopwise.train.randomness import own_randomness
from flopwise.train.record import OnEpoch, Result
from flopwise.train.training import LAST, Training

__all__ = ["train", "train_here", "usual_device"]

Keep = Literal["best", "last"]


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    folder: str | Path,
    *,
    on_epoch: OnEpoch | None = None,
    device: torch.device | str | None = None,
    keep: Keep = "best",
    processes: int = 1,
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
        processes: How many share the training, started by torchrun, each on a GPU of its own where
            there are GPUs. The batch is the recipe's, whatever their number, and a training may go
            on with another number of them.

    Raises:
        SpecError: The recipe asks for what timm or the network does not have, or for a batch that
            the processes cannot share evenly.
        DivergedError: The loss is no longer a number.
        RunError: The folder holds another training, or not even one image fits the memory.
    """
    if faults := [fault for _, fault in wrong_settings(data, recipe, processes)]:
        raise SpecError(faults)
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    place = torch.device(device) if device else usual_device()
    if processes == 1:
        return train_here(model, data, recipe, home, place, on_epoch=on_epoch, keep=keep)
    result = run_group(Job(model, data, recipe, home, place.type), processes, on_epoch)
    if keep == "best":
        load_weights(model, result.weights)
    else:
        state = read_checkpoint(home / LAST, recipe, data.train.digest)
        assert state, "a training leaves its checkpoint"
        model.load_state_dict(state["average"] or state["model"])
    return result


def usual_device() -> torch.device:
    """Returns where work is done unless somebody says otherwise: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_here(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    *,
    on_epoch: OnEpoch | None = None,
    keep: Keep = "best",
    group: Group = ALONE,
    piece: int | None = None,
) -> Result:
    """Trains in this process, alone or as one of a group; see `train`.

    Args:
        model: The network.
        data: The images.
        recipe: How it is trained.
        folder: Where its files are.
        device: Where to train.
        on_epoch: Called after every epoch; by the first of a group only.
        keep: Which epoch's weights the network holds at the end.
        group: The processes that share the training.
        piece: Most images that go through the network at once, if that is known.
    """
    with own_randomness(recipe.seed):
        training = Training.begin(model.to(device), data, recipe, folder, device, group)
        training.resume()
        training.pieces.size = min(training.pieces.size, piece or training.pieces.size)
        stopped = training.run(on_epoch)
    if keep == "best":
        load_weights(model, training.weights)
    else:
        model.load_state_dict(training.judged.state_dict())
    return training.result(stopped)
