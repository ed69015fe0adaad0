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
from flopwise.train.augment import Transform, cropped, picture_transform, policy, shifted
from flopwise.train.data import Data, Facts
from flopwise.train.faults import refusal
from flopwise.train.randomness import lent_randomness
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
    """

    split: Split
    facts: Facts
    recipe: Recipe
    size: int
    dice: Generator

    def __len__(self) -> int:
        return max(1, len(self.split) // self.size)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised images (B, C, H, W) and labels (B,); the odd rest is left out.

        With repeated augmentation an epoch is as long as without: it holds fewer images, each of
        them as often as `repeats` says (Berman et al. 2019, arXiv:1902.05509, section 3.2).
        """
        order = torch.randperm(len(self.split), generator=self.dice)
        order = order.repeat_interleave(self.recipe.repeats)
        chosen = order[: len(self) * self.size].view(len(self), self.size)
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
                pixels = cropped(pixels, least=recipe.crop, flip=recipe.flip, dice=self.dice)
            else:
                pixels = shifted(pixels, flip=recipe.flip, dice=self.dice)
            if vary:
                pixels = _varied(pixels, vary)
            images = normalised(pixels, mean, std)
            if recipe.erase:
                with lent_randomness(self.dice):
                    images = erase(images)
            yield images, labels[indices]

    def _one_by_one(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        views = Views(self.split, picture_transform(self.recipe, self.facts))
        labels = self.split.labels
        for indices in chosen:
            with lent_randomness(self.dice):
                images = torch.stack([views[int(index)] for index in indices])
            yield images, labels[indices]

    def _from_workers(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        loader: DataLoader[Any] = DataLoader(
            Views(self.split, picture_transform(self.recipe, self.facts)),
            batch_sampler=chosen.tolist(),
            num_workers=self.recipe.workers,
            generator=self.dice,  # gives every worker its seed
        )
        labels = self.split.labels
        with plain_faults():
            for indices, images in zip(chosen, loader, strict=True):
                yield images, labels[indices]


def batches(data: Data, recipe: Recipe, dice: Generator) -> Batches:
    """Returns the batches of the training split of a recipe."""
    mixed = recipe.mixup > 0 or recipe.cutmix > 0
    if mixed and recipe.batch % 2:
        raise refusal(
            "E618",
            f"train.batch is {recipe.batch}, but mixup and cutmix mix pairs",
            helps=[f"write an even number: {recipe.batch + 1}"],
        )
    size = min(recipe.batch, len(data.train))
    return Batches(data.train, data.facts, recipe, size - size % 2 if mixed else size, dice)


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
