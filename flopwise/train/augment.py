"""Random views of training images: vectorised where the images lie in memory, else timm's.

Pixels that already have the size that is seen are cropped, shifted and flipped as whole batches, a
few microseconds an image; policies such as RandAugment then run image by image as timm has them.
Images of other sizes go through timm's training transform from their original pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import create_transform
from timm.data.auto_augment import AugmentOp
from torch import Generator, Tensor
from torchvision import transforms

from flopwise.dsl.recipe import Recipe
from flopwise.train.data import Facts
from flopwise.train.faults import refusal
from flopwise.train.group import ALONE, Group

__all__ = ["Transform", "boxes", "cropped", "picture_transform", "policy", "shifted"]

Transform = Callable[[Any], Any]
RATIO = (3 / 4, 4 / 3)  # of width to height, as in timm
TRIES = 10


def shifted(pixels: Tensor, *, flip: bool, dice: Generator, group: Group = ALONE) -> Tensor:
    """Pads an eighth of the size with black, cuts at a random place, and flips half of them.

    A group draws for its whole batch, so that the images are those of one process.

    Shape: uint8 (B, C, H, W) -> uint8 (B, C, H, W).
    """
    b, _, h, w = pixels.shape
    whole, own = b * group.size, group.own
    pad_h, pad_w = max(1, h // 8), max(1, w // 8)
    top = torch.randint(2 * pad_h + 1, (whole, 1), generator=dice)[own]
    left = torch.randint(2 * pad_w + 1, (whole, 1), generator=dice)[own]
    rows, columns = top + torch.arange(h), torch.arange(w).expand(b, w)
    if flip:
        turned = torch.rand(whole, 1, generator=dice)[own] < 0.5
        columns = torch.where(turned, w - 1 - columns, columns)
    columns = left + columns
    padded = F.pad(pixels, (pad_w, pad_w, pad_h, pad_h)).permute(0, 2, 3, 1)
    taken = padded[torch.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return taken.permute(0, 3, 1, 2).contiguous()


def cropped(
    pixels: Tensor, *, least: float, flip: bool, dice: Generator, group: Group = ALONE
) -> Tensor:
    """Takes a random box of each image, stretches it bilinearly to full size, and flips half.

    The box is drawn as timm and torchvision draw it: area share uniform in [least, 1], log ratio
    uniform, ten tries, then the whole image. The result is rounded to bytes, as Pillow does. A
    group draws for its whole batch, so that the images are those of one process.

    Shape: uint8 (B, C, H, W) -> uint8 (B, C, H, W).
    """
    b, _, h, w = pixels.shape
    whole, own = b * group.size, group.own
    top, left, height, width = (each[own] for each in boxes(whole, h, w, least, dice))
    scale_x, scale_y = width / w, height / h
    shift_x, shift_y = (2 * left + width) / w - 1, (2 * top + height) / h - 1
    if flip:
        turned = torch.rand(whole, generator=dice)[own] < 0.5
        scale_x = torch.where(turned, -scale_x, scale_x)
    zero = torch.zeros(b)
    theta = torch.stack([scale_x, zero, shift_x, zero, scale_y, shift_y], 1).view(b, 2, 3)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    stretched = F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
    return stretched.round_().to(torch.uint8)


def boxes(count: int, h: int, w: int, least: float, dice: Generator) -> Iterator[Tensor]:
    """Yields top, left, height, width of a random box in each of `count` images."""
    area = torch.empty(count, TRIES).uniform_(least, 1.0, generator=dice) * h * w
    low, high = map(math.log, RATIO)
    ratio = torch.empty(count, TRIES).uniform_(low, high, generator=dice).exp_()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths <= w) & (heights <= h) & (widths >= 1) & (heights >= 1)
    first = fits.float().argmax(1, keepdim=True)
    some = fits.any(1)
    width = torch.where(some, widths.gather(1, first)[:, 0], w)
    height = torch.where(some, heights.gather(1, first)[:, 0], h)
    top = (torch.rand(count, generator=dice) * (h - height + 1)).floor()
    left = (torch.rand(count, generator=dice) * (w - width + 1)).floor()
    yield from (top, left, height, width)


def policy(recipe: Recipe, facts: Facts) -> Transform | None:
    """Returns the policy that `recipe.augment` names, on images of the size that is seen."""
    if not recipe.augment:
        return None
    _, second, _ = _timm(recipe, facts, separate=True)
    return _bounded(second)


def picture_transform(recipe: Recipe, facts: Facts) -> Transform:
    """Returns timm's training transform, from an original to a normalised tensor.

    With `crop: 1` the image is resized and cropped as in evaluation and then shifted by an eighth.
    """
    if recipe.crop < 1:
        return _bounded(_timm(recipe, facts))
    _, second, third = _timm(recipe, facts, separate=True)
    resize = create_transform(
        (facts.channels, *facts.size),
        interpolation=facts.interpolation,
        crop_pct=facts.crop_pct,
        crop_mode=facts.crop_mode,
    ).transforms[:-2]
    padding = (max(1, facts.size[1] // 8), max(1, facts.size[0] // 8))
    shift = [transforms.RandomCrop(facts.size, padding=padding)]
    flip = [transforms.RandomHorizontalFlip()] if recipe.flip else []
    return _bounded(transforms.Compose([*resize, *shift, *flip, second, third]))


def _timm(recipe: Recipe, facts: Facts, **options: Any) -> Any:
    options |= {
        "scale": (recipe.crop, 1.0),
        "hflip": 0.5 if recipe.flip else 0.0,
        "color_jitter": None,
        "auto_augment": recipe.augment or None,
        "interpolation": "random",
        "mean": facts.mean,
        "std": facts.std,
        "re_prob": recipe.erase,
        "re_mode": "pixel",
    }
    if recipe.augment.startswith("augmix") and facts.channels == 1:  # timm 1.0.17 fails on these
        raise refusal(
            "E617",
            "train.augment: timm's augmix needs coloured images, and these are grey",
            helps=["choose another policy, such as rand-m9-mstd0.5-inc1"],
        )
    try:
        return create_transform((facts.channels, *facts.size), is_training=True, **options)
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise refusal(
            "E617",
            f"train.augment: timm does not understand '{recipe.augment}'",
            helps=[
                "write it as timm does: rand-m9-mstd0.5-inc1, original-mstd0.5 or 3a; '' is none"
            ],
            notes=[str(error)] if str(error) else [],
        ) from error


def _bounded(transform: Any) -> Transform:
    """Keeps posterize from keeping no bit at all, which Pillow 13 refuses.

    timm's magnitudes reach 0 bits (an image of one colour) about once in a thousand images of
    `rand-m9-mstd0.5-inc1`; one bit is the strongest that is drawn here. Only the operations of this
    transform are touched, timm's tables stay as they are.
    """
    for op in _operations(transform):
        if op.name.startswith("Posterize") and op.level_fn:
            op.level_fn = _AtLeastOneBit(op.level_fn)
    return transform  # type: ignore[no-any-return]


class _AtLeastOneBit:
    """A level function of timm whose bits are at least 1; a class, so that loaders can send it."""

    def __init__(self, level: Callable[[float, Any], tuple[int] | int]) -> None:
        self.level = level

    def __call__(self, magnitude: float, hparams: Any) -> tuple[int]:
        bits = self.level(magnitude, hparams)
        return (max(1, bits[0] if isinstance(bits, tuple) else bits),)


def _operations(transform: Any) -> Iterator[AugmentOp]:
    """Yields the operations inside a transform, whichever policy holds them."""
    if isinstance(transform, AugmentOp):
        yield transform
        return
    inner = [getattr(transform, name, ()) for name in ("transforms", "ops", "policy")]
    nested = transform if isinstance(transform, (list, tuple)) else ()
    for each in (*inner, nested):
        for member in each:
            yield from _operations(member)
