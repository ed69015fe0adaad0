"""Labelled images that are listed and not yet read, and how a list of them is divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Images", "Labels", "opened", "spread"]

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Images:
    """A list of images; nothing of them is read before `read` or `picture` is called.

    Attributes:
        names: What each image is called in messages and digests.
        labels: Class of each image.
        read: Index -> the bytes of its file, or the image where there is no file.
    """

    names: tuple[str, ...]
    labels: Labels
    read: Callable[[int], bytes | Image.Image]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, chosen: Labels) -> Images:
        """Returns the chosen images, in the chosen order."""
        names = tuple(self.names[index] for index in chosen)
        return Images(names, self.labels[chosen], partial(_read_chosen, self.read, chosen))

    def picture(self, index: int) -> Image.Image:
        """Reads one image; its pixels are decoded when they are first used."""
        return opened(self.read(index))


def opened(content: bytes | Image.Image) -> Image.Image:
    """Returns what was read as an image."""
    return Image.open(BytesIO(content)) if isinstance(content, bytes) else content


def _read_chosen(
    read: Callable[[int], bytes | Image.Image], chosen: Labels, index: int
) -> bytes | Image.Image:
    return read(int(chosen[index]))


def spread(labels: Labels, seed: int) -> Labels:
    """Returns a seeded order of all images in which every beginning is stratified.

    The k-th image (from 0, shuffled) of a class of n stands at (k + u) / n with one u in [0.4, 0.6)
    per class: the first share s of the order holds s * n images of every class, up to one, and up
    to s = 0.4 it leaves at least one image of every class to the rest.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> sorted(labels[spread(labels, seed=0)[:4]].tolist())
    [0, 0, 1, 1]
    """
    dice = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = dice.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + dice.uniform(0.4, 0.6)) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)
