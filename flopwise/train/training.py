"""A training in progress: everything that changes, and the step that changes it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flopwise.dsl.recipe import Recipe
from flopwise.errors import RunError
from flopwise.train.batches import Batches, batches
from flopwise.train.checkpoint import (
    read_checkpoint,
    write_checkpoint,
    write_lines,
    write_weights,
)
from flopwise.train.clock import Clock
from flopwise.train.data import Data
from flopwise.train.group import ALONE, Group
from flopwise.train.memory import Pieces
from flopwise.train.randomness import generators, seed_generators, set_generators
from flopwise.train.record import DivergedError, Epoch, OnEpoch, Result, Stop
from flopwise.train.sam import climbed
from flopwise.train.score import Weights, answer
from flopwise.train.tools import (
    clip,
    make_average,
    make_mixup,
    make_optimizer,
    make_schedule,
    refuse_test_size,
    set_drop,
)

__all__ = ["LAST", "Training"]

LAST = "last.pt"


@dataclass
class Training:
    """A training in progress: everything that changes, in one place.

    Attributes:
        shared: What is called in training; the model, or what averages its gradients over a group.
    """

    model: nn.Module
    shared: nn.Module
    data: Data
    recipe: Recipe
    folder: Path
    device: torch.device
    batches: Batches
    pieces: Pieces
    optimizer: Any
    schedule: Any
    average: Any
    mixup: Any
    group: Group = ALONE
    updates: int = 0
    history: list[Epoch] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def begin(
        cls,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        folder: Path,
        device: torch.device,
        group: Group = ALONE,
    ) -> Training:
        """Makes everything from the recipe, at step 0."""
        set_drop(model, recipe)
        refuse_test_size(model, recipe, data.facts.channels)
        source = batches(data, recipe, torch.Generator().manual_seed(recipe.seed), group)
        optimizer = make_optimizer(model, recipe)
        sample = torch.zeros(1, data.facts.channels, *data.facts.size)
        return cls(
            model=model,
            shared=group.shared(model, sample),
            data=data,
            recipe=recipe,
            folder=folder,
            device=device,
            batches=source,
            pieces=Pieces(source.share, alone=group.size == 1),
            optimizer=optimizer,
            schedule=make_schedule(optimizer, recipe, len(source)),
            average=make_average(model, recipe),
            mixup=make_mixup(recipe, len(data.facts.classes)),
            group=group,
        )

    @property
    def kind(self) -> Weights:
        """Which weights are judged."""
        return "ema" if self.average is not None else "raw"

    @property
    def judged(self) -> nn.Module:
        """The network whose weights are judged."""
        return self.model if self.average is None else self.average.module

    @property
    def weights(self) -> Path:
        """The file of the best epoch."""
        return self.folder / "best.safetensors"

    @property
    def best(self) -> Epoch:
        """The best epoch so far; of equals, the last."""
        return max(self.history, key=lambda each: (each.top1, each.epoch))

    def run(self, on_epoch: OnEpoch | None) -> bool:
        """Trains the epochs that are left; returns whether it was asked to stop."""
        while len(self.history) < self.recipe.epochs:
            self.history.append(self.epoch())
            stop = False
            if self.group.first:
                self.save()
                stop = self.asked_to_stop(on_epoch)
            if self.group.agreed(stop):
                return True
        return False

    def asked_to_stop(self, on_epoch: OnEpoch | None) -> bool:
        """Tells of the last epoch; returns whether it is to be the last one indeed."""
        try:
            if on_epoch:
                on_epoch(self.history[-1])
        except Stop:
            return True
        return False

    def epoch(self) -> Epoch:
        """Passes once over the training images and judges the weights."""
        self.clock.start()
        began, losses, rate = time.perf_counter(), 0.0, 0.0
        self.model.train()
        if not self.group.first:  # the generators of the first are kept in the checkpoint
            seed_generators(self.recipe.seed, len(self.history), self.group.rank)
        for pixels, labels in self.batches.epoch():
            loss, rate = self.step(pixels, labels)
            losses += loss
        trained = time.perf_counter()
        found = answer(
            self.judged,
            self.data,
            self.data.validation,
            timed=self.clock.inside,
            group=self.group,
        )
        score = found.score(self.kind)
        return Epoch(
            epoch=len(self.history) + 1,
            epochs=self.recipe.epochs,
            lr=rate,
            train_loss=losses / len(self.batches),
            top1=score.top1,
            balanced=score.balanced,
            loss=score.loss,
            weights=self.kind,
            seconds=time.perf_counter() - began,
            images_per_second=len(self.batches) * self.batches.size / (trained - began),
            outside_share=self.clock.stop(),
        )

    @property
    def piece(self) -> int:
        """Images that go through the network at once; the whole batch where all shares do."""
        whole = self.pieces.size >= self.batches.share
        return self.batches.size if whole else self.pieces.size

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def step(self, pixels: Tensor, labels: Tensor) -> tuple[float, float]:
        """Updates the weights once; returns the loss and the learning rate it was done with."""
        targets = labels
        if self.mixup is not None:
            pixels, targets = self.mixup(pixels, labels)
        with self.clock.inside():
            gradients = partial(self._gradients, pixels, targets, torch.get_rng_state())
            loss = self.group.mean(self.pieces.fit(gradients))
            if not math.isfinite(loss):
                raise self._diverged(loss)
            if self.recipe.sam:
                with climbed(self.model, self.recipe.sam):
                    self.pieces.fit(gradients)
            clip(self.model, self.recipe)
            self.optimizer.step()
            rate = self.rate
            self.updates += 1
            if self.schedule is not None:
                self.schedule.step_update(self.updates)
            if self.average is not None:
                self.average.update(self.model, step=self.updates)
        return loss, rate

    def _gradients(self, pixels: Tensor, targets: Tensor, dice: Tensor, size: int) -> float:
        """Adds up the gradients of one batch in pieces; a second try draws the same dropout."""
        torch.set_rng_state(dice)
        self.optimizer.zero_grad()
        smoothing = self.recipe.smoothing if self.mixup is None else 0.0
        second_order = getattr(self.optimizer, "is_second_order", False)
        total, left = 0.0, len(pixels)
        for some, right in zip(pixels.split(size), targets.split(size), strict=True):
            left -= len(some)
            with self.group.quiet(self.shared, left > 0):
                with torch.autocast(self.device.type, torch.bfloat16, self.recipe.amp == "bf16"):
                    logits = self.shared(some.to(self.device))
                right = right.to(self.device)
                loss = F.cross_entropy(logits.float(), right, label_smoothing=smoothing)
                share = loss * (len(some) / len(pixels))
                share.backward(create_graph=second_order)
            total += float(share.detach())
        return total

    def _diverged(self, loss: float) -> DivergedError:
        step = self.updates % len(self.batches) + 1
        return DivergedError(
            f"the loss became {loss} in epoch {len(self.history) + 1}, step {step}: lower train.lr "
            f"(it is {self.recipe.lr:g}), raise train.warmup, or set train.clip to 1"
        )

    def save(self) -> None:
        """Writes the epoch's files; last.pt comes last and makes them count."""
        if self.best is self.history[-1]:
            facts = {"epoch": str(self.best.epoch), "weights": self.kind}
            write_weights(self.weights, self.judged.state_dict(), facts)
        write_checkpoint(self.folder / LAST, self.recipe, self.data.train.digest, self.state())
        write_lines(self.folder / "epochs.jsonl", (each.as_dict() for each in self.history))

    def state(self) -> dict[str, Any]:
        """Returns all that changes."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "average": self.average.module.state_dict() if self.average is not None else None,
            "updates": self.updates,
            "piece": self.piece,
            "dice": self.batches.dice.get_state(),
            "generators": generators(),
            "history": [each.as_dict() for each in self.history],
            "clock": [self.clock.total, self.clock.within],
        }

    def resume(self) -> None:
        """Goes back to the last finished epoch, if the folder holds one."""
        state = read_checkpoint(self.folder / LAST, self.recipe, self.data.train.digest)
        if state is None:
            return
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise RunError(f"'{self.folder}' holds a training of another network") from error
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.updates = state["updates"]
        self.pieces.size = min(state["piece"], self.pieces.size)
        self.batches.dice.set_state(state["dice"])
        set_generators(state["generators"])
        self.history = [Epoch(**each) for each in state["history"]]
        self.clock = Clock(*state["clock"])
        if self.group.first:
            write_lines(self.folder / "epochs.jsonl", (each.as_dict() for each in self.history))

    def result(self, stopped: bool) -> Result:
        """Returns what the training gave so far."""
        seconds = sum(1 / each.images_per_second for each in self.history)
        return Result(
            best=self.best,
            last=self.history[-1],
            history=tuple(self.history),
            weights=str(self.weights),
            kind=self.kind,
            seconds=sum(each.seconds for each in self.history),
            images_per_second=len(self.history) / seconds,
            outside_share=self.clock.share,
            piece=self.piece,
            stopped=stopped,
            processes=self.group.size,
        )
