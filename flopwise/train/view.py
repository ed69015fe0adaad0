"""What a network sees of an image: size, channels, and the deterministic transform to get there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

__all__ = ["View", "normalised", "seen_as"]

SMALL = 128  # below this size nothing is cropped away


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The evaluation transform, in timm's words: resize the short edge, crop the centre.

    Attributes:
        size: Height and width.
        channels: 1 (grey) or 3 (RGB).
        interpolation: How the resize interpolates.
        crop_pct: Size over resized short edge; 1 keeps all.
        crop_mode: Always the centre.
    """

    size: tuple[int, int]
    channels: int
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    @property
    def mode(self) -> str:
        """Pillow's name of the channels."""
        return "L" if self.channels == 1 else "RGB"

    @property
    def bytes(self) -> int:
        """Bytes of one image as it is seen."""
        return self.size[0] * self.size[1] * self.channels

    def transform(self) -> Callable[[Image.Image], Tensor]:
        """Returns timm's evaluation transform without the normalisation: uint8 (C, H, W)."""
        made: Callable[[Image.Image], Tensor] = create_transform(
            (self.channels, *self.size),
            is_training=False,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            normalize=False,
        )
        return made


def seen_as(size: tuple[int, int], channels: int) -> View:
    """Returns the view for a size: the whole of small images, the middle 7/8 of large ones."""
    return View(size=size, channels=channels, crop_pct=1.0 if min(size) < SMALL else 0.875)


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 pixels -> floats, by the very operations of timm's transform, so to the same bits.

    They lie channel by channel, also grey ones, whose layout may be read either way: on some CPUs
    torch 2.15 writes beyond its memory in narrow networks (under 8 channels) on the other layout.
    """
    floats = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device).copy_(pixels)
    return floats.div_(255).sub_(mean).div_(std)
