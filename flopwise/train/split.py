"""Images of one split: decoded once and kept in memory, or left in their files when too many."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from flopwise.errors import RunError
from flopwise.train.faults import refusal
from flopwise.train.images import Images, opened
from flopwise.train.view import View

__all__ = ["GREY", "MEMORY", "Split", "Views", "channels_of", "load_split", "plain_faults"]

MEMORY = 2**30  # bytes of pixels that a split may keep in memory
PROBED = 256  # images whose headers say what the rest is like
GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "F"})

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Split:
    """One split, ready to be trained on or judged on.

    Attributes:
        name: train, validation or test.
        images: The list behind it.
        view: How its images are seen.
        digest: Hex digest of names, labels and, where they were all read, contents.
        sized: uint8 (N, C, H, W) as seen by evaluation; None when too large for memory.
        originals: Pixels (H, W) or (H, W, C) before resizing; None when `sized` says it all, or
            when too large for memory.
        uniform: Whether every original already has the size that is seen.
    """

    name: str
    images: Images
    view: View
    digest: str
    sized: Tensor | None = field(repr=False, default=None)
    originals: tuple[Pixels, ...] | None = field(repr=False, default=None)
    uniform: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        """Class of each image, (N,)."""
        return torch.from_numpy(self.images.labels)

    def picture(self, index: int) -> Image.Image:
        """Returns one original in the mode that is seen."""
        if self.uniform and self.sized is not None:
            return Image.fromarray(_array(self.sized[index]))
        if self.originals is not None:
            return Image.fromarray(self.originals[index])
        try:
            return self.images.picture(index).convert(self.view.mode)
        except (OSError, ValueError, SyntaxError) as error:
            name = self.images.names[index]
            raise RunError(f"'{name}' of {self.name} cannot be read: {_reason(error)}") from error


class Views(Dataset[Tensor]):
    """Transformed originals of a split, for loaders."""

    def __init__(self, split: Split, transform: Callable[[Image.Image], Tensor]) -> None:
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.split.picture(index))


@contextmanager
def plain_faults() -> Iterator[None]:
    """Strips the traceback of a loader process from what a person is told."""
    try:
        yield
    except RunError as error:
        raise RunError(str(error).rpartition("RunError: ")[2].strip()) from error


def _array(pixels: Tensor) -> Pixels:
    """(C, H, W) -> (H, W) or (H, W, C), as Pillow has it."""
    found: Pixels = pixels.permute(1, 2, 0).contiguous().numpy()
    return found[:, :, 0] if found.shape[2] == 1 else found


def channels_of(images: Images) -> int:
    """Returns 1 when images are grey, 3 when any is coloured; reads headers of at most 256."""
    faults = []
    for index in _probe(len(images)):
        try:
            if images.picture(index).mode not in GREY:
                return 3
        except (OSError, ValueError, SyntaxError) as error:
            faults.append((images.names[index], _reason(error)))
    if faults:
        raise _unreadable("train", faults)
    return 1


def load_split(
    name: str, images: Images, view: View, *, memory: int = MEMORY, originals: bool = False
) -> Split:
    """Decodes a split into memory if it fits.

    Args:
        name: What the split is called.
        images: What is in it.
        view: How its images are seen.
        memory: Most bytes of pixels to keep.
        originals: Whether pixels before resizing are wanted as well.
    """
    if (images.labels < 0).any():
        raise refusal("E623", f"train.data: images of {name} have no label")
    if len(images) * view.bytes > memory:
        return Split(name, images, view, _digest_of_names(images))
    keep = originals and _bytes_of(images, view.channels) + len(images) * view.bytes <= memory
    transform, digest = view.transform(), hashlib.sha256()
    sized = torch.empty((len(images), view.channels, *view.size), dtype=torch.uint8)
    kept: list[Pixels] = []
    uniform = True
    for index, picture in _decoded(name, images, view, digest):
        ready = view.crop_pct == 1.0 and picture.size == view.size[::-1]  # nothing to resize
        sized[index] = pil_to_tensor(picture) if ready else transform(picture)
        uniform = uniform and ready
        if keep:
            kept.append(np.asarray(picture))
    before = tuple(kept) if keep and not uniform else None
    return Split(name, images, view, digest.hexdigest(), sized, before, uniform)


def _decoded(
    name: str, images: Images, view: View, digest: Any
) -> Iterator[tuple[int, Image.Image]]:
    """Yields every image once; names all that cannot be read, together."""
    faults = []
    for index, label in enumerate(images.labels):
        try:
            content = images.read(index)
            picture = opened(content)
            if view.channels == 1 and picture.mode not in GREY:
                raise _mixed(images.names[index])
            picture = picture.convert(view.mode)
        except (OSError, ValueError, SyntaxError) as error:
            if isinstance(error, ValueError) and hasattr(error, "faults"):
                raise
            faults.append((images.names[index], _reason(error)))
            continue
        data = content if isinstance(content, bytes) else picture.tobytes()
        digest.update(f"{images.names[index]}\0{label}\0{len(data)}\0".encode())
        digest.update(data)
        yield index, picture
    if faults:
        raise _unreadable(name, faults)


def _digest_of_names(images: Images) -> str:
    listed = "\n".join(
        f"{name}\0{label}" for name, label in zip(images.names, images.labels, strict=True)
    )
    return hashlib.sha256(listed.encode()).hexdigest()


def _probe(count: int) -> list[int]:
    """Returns at most 256 evenly spaced indices."""
    return sorted({index * count // min(count, PROBED) for index in range(min(count, PROBED))})


def _bytes_of(images: Images, channels: int) -> int:
    """Estimates the bytes of all originals from the headers of a few."""
    areas = []
    for index in _probe(len(images)):
        try:
            width, height = images.picture(index).size
        except (OSError, ValueError, SyntaxError):
            continue  # named with all others when it is decoded
        areas.append(width * height)
    return int(np.mean(areas) * channels * len(images)) if areas else 0


def _reason(error: Exception) -> str:
    return "not an image" if isinstance(error, UnidentifiedImageError) else str(error)


def _mixed(name: str) -> ValueError:
    return refusal(
        "E612",
        f"train.data: '{name}' is coloured although other training images are grey",
        helps=["set input.channels to 3 and save at least the first grey images as RGB"],
    )


def _unreadable(split: str, faults: Sequence[tuple[str, str]]) -> ValueError:
    count = f"{len(faults)} images" if len(faults) > 1 else "an image"
    return refusal(
        "E611",
        f"train.data: {count} of {split} cannot be read",
        helps=["remove or replace the file" if len(faults) == 1 else "remove or replace them"],
        notes=[f"{name}: {reason}" for name, reason in faults[:10]]
        + ([f"and {len(faults) - 10} more"] if len(faults) > 10 else []),
    )
