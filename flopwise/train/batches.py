"""Batches of training images, in an order and with views that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from flopwise.dsl.recipe import Recipe
from flopwise.errors import SpecError
from flopwise.train.augment import Transform, cropped, picture_transform, policy, shifted
from flopwise.train.data import Data, Facts
from flopwise.train.faults import refusal
from flopwise.train.group import ALONE, Group
from flopwise.train.randomness import forked, lent_randomness
from flopwise.train.split import Split, Views, plain_faults
from flopwise.train.view import normalised

__all__ = ["Batches", "batches", "images_seen"]


@dataclass(frozen=True)
class Batches:
    """The training images of one epoch after another.

    Attributes:
        split: The images.
        facts: Mean and standard deviation.
        recipe: How they are varied.
        size: Images of one batch; even where images are mixed in pairs.
        dice: Draws the order, the boxes and the flips, and nothing else, so that all networks
            trained from one seed see the same images in the same order.
        group: The processes that share a batch; each has every so many-th image of it.
    """

    split: Split
    facts: Facts
    recipe: Recipe
    size: int
    dice: Generator
    group: Group = ALONE

    def __len__(self) -> int:
        return max(1, len(self.split) // self.size)

    @property
    def share(self) -> int:
        """Images of a batch that this process looks at."""
        return self.size // self.group.size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised images (B, C, H, W) and labels (B,); the odd rest is left out.

        With repeated augmentation an epoch is as long as without: it holds fewer images, each of
        them as often as `repeats` says (Berman et al. 2019, arXiv:1902.05509, section 3.2).
        """
        order = torch.randperm(len(self.split), generator=self.dice)
        order = order.repeat_interleave(self.recipe.repeats)
        chosen = order[: len(self) * self.size].view(len(self), self.size)
        chosen = chosen[:, self.group.own]
        sized = self.split.sized
        if sized is not None and (self.split.uniform or self.recipe.crop == 1):
            yield from self._from_memory(sized, chosen)
        elif self.recipe.workers:
            yield from self._from_workers(chosen)
        else:
            yield from self._one_by_one(chosen)

    def _from_memory(self, sized: Tensor, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        recipe, labels = self.recipe, self.split.labels
        vary = policy(recipe, self.facts)
        erase = RandomErasing(recipe.erase, mode="pixel", device="cpu")
        mean, std = (
            torch.tensor(each).view(-1, 1, 1) for each in (self.facts.mean, self.facts.std)
        )
        for indices in chosen:
            pixels = sized[indices]
            if recipe.crop < 1:
                pixels = cropped(
                    pixels,
                    least=recipe.crop,
                    flip=recipe.flip,
                    dice=self.dice,
                    group=self.group,
                )
            else:
                pixels = shifted(pixels, flip=recipe.flip, dice=self.dice, group=self.group)
            if vary:
                pixels = _varied(pixels, vary)
            images = normalised(pixels, mean, std)
            if recipe.erase:
                with lent_randomness(self.dice, self.group.rank):
                    images = erase(images)
            yield images, labels[indices]

    def _one_by_one(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        views = Views(self.split, picture_transform(self.recipe, self.facts))
        labels = self.split.labels
        for indices in chosen:
            with lent_randomness(self.dice, self.group.rank):
                images = torch.stack([views[int(index)] for index in indices])
            yield images, labels[indices]

    def _from_workers(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        alone = self.group.size == 1
        dice = self.dice if alone else forked(self.dice, self.group.rank)
        loader: DataLoader[Any] = DataLoader(
            Views(self.split, picture_transform(self.recipe, self.facts)),
            batch_sampler=chosen.tolist(),
            num_workers=self.recipe.workers,
            generator=dice,  # gives every worker its seed
        )
        labels = self.split.labels
        with plain_faults():
            for indices, images in zip(chosen, loader, strict=True):
                yield images, labels[indices]


def batches(data: Data, recipe: Recipe, dice: Generator, group: Group = ALONE) -> Batches:
    """Returns the batches of the training split of a recipe.

    Raises:
        SpecError: A batch cannot be mixed in pairs, or shared out evenly.
    """
    mixed = recipe.mixup > 0 or recipe.cutmix > 0
    if mixed and recipe.batch % 2:
        raise refusal(
            "E618",
            f"train.batch is {recipe.batch}, but mixup and cutmix mix pairs",
            helps=[f"write an even number: {recipe.batch + 1}"],
        )
    size = min(recipe.batch, len(data.train))
    size = size - size % 2 if mixed else size
    if group.size > 1 and size % (group.size * (2 if mixed else 1)):
        raise _uneven(recipe, size, group.size, len(data.train))
    return Batches(data.train, data.facts, recipe, size, dice, group)


def _uneven(recipe: Recipe, size: int, processes: int, images: int) -> SpecError:
    """Returns the error of a batch that a group cannot share out evenly."""
    mixed = recipe.mixup > 0 or recipe.cutmix > 0
    step = 2 if mixed else 1
    whole = f"a batch is all {size} training images"
    pairs = " in pairs, as mixup and cutmix need them" if mixed else ""
    least = size // (processes * step) * processes * step
    near = [each for each in (least, least + processes * step) if 0 < each <= images]
    fits = next((n for n in range(processes - 1, 1, -1) if not size % (n * step)), 1)
    return refusal(
        "E512",
        f"{whole if recipe.batch > size + 1 else f'train.batch is {size}'}, which {processes} "
        f"processes cannot share evenly{pairs}",
        helps=[
            *([f"write train.batch: {' or '.join(map(str, near))}"] if near else []),
            f"train with {fits} GPU{'s' if fits > 1 else ''}",
        ],
        notes=["each process of a training looks at the same share of every batch"],
    )


def images_seen(data: Data, recipe: Recipe) -> int:
    """Returns how many images a whole training looks at; every view of an image counts."""
    epoch = batches(data, recipe, Generator())
    return recipe.epochs * len(epoch) * epoch.size


def _varied(pixels: Tensor, vary: Transform) -> Tensor:
    """Changes every image by a policy on Pillow images; uint8 (B, C, H, W) -> the same."""
    arrays = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    if arrays.shape[3] == 1:
        arrays = arrays[..., 0]
    changed = np.empty_like(arrays)
    for index, array in enumerate(arrays):
        changed[index] = np.asarray(vary(Image.fromarray(array)))
    return torch.from_numpy(changed).view(len(pixels), *pixels.shape[2:], -1).permute(0, 3, 1, 2)
