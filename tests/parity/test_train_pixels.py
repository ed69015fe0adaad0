"""What a network is shown: evaluation to the bit as timm shows it, training as Pillow would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import LEVEL_TO_ARG, rand_augment_transform
from torch import nn

from flopwise.dsl import Recipe, load
from flopwise.dsl.files import presets
from flopwise.train import answer, open_data
from flopwise.train.augment import boxes, cropped, picture_transform, policy, shifted
from flopwise.train.batches import batches
from tests.unit.pictures import write_pictures

ROOT = Path(__file__).parents[2]


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Eye(nn.Module):
    """Remembers what it is shown in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(1))
        self.shown: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x.clone())
        return self.zero.expand(len(x), 3)


@pytest.mark.parametrize("shape", [(16, 16), (24, 16), (12, 20), (144, 144)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_evaluation_shows_the_very_floats_of_timms_transform(
    tmp_path: Path, shape: tuple[int, int], mode: str
) -> None:
    root = write_pictures(tmp_path, {"": 6}, size=20, mode=mode, ext="jpg")
    data = open_data(Recipe(data=str(root)), size=shape)
    facts, eye = data.facts, Eye()
    answer(eye, data, "validation")
    reference = create_transform(
        (facts.channels, *facts.size),
        is_training=False,
        interpolation=facts.interpolation,
        crop_pct=facts.crop_pct,
        mean=facts.mean,
        std=facts.std,
    )
    pictures = [
        reference(Image.open(root / name).convert(mode)) for name in data.validation.images.names
    ]
    assert facts.crop_pct == (0.875 if shape[0] >= 128 else 1.0)
    assert torch.equal(torch.cat(eye.shown), torch.stack(pictures))


def test_a_crop_of_everything_changes_nothing() -> None:
    pixels = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8, generator=dice())
    whole = cropped(pixels, least=1.0, flip=False, dice=dice())
    assert whole.shape == pixels.shape
    unchanged = [torch.equal(a, b) for a, b in zip(whole, pixels, strict=True)]
    assert any(unchanged)  # a ratio of 1 is drawn for some, or the whole image after ten tries


def test_crops_are_what_pillow_makes_of_the_same_boxes() -> None:
    smooth = np.kron(np.random.default_rng(0).integers(0, 256, (8, 8, 3)), np.ones((4, 4, 1)))
    image = Image.fromarray(smooth.astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    for seed in range(30):
        seen = cropped(pixels, least=0.2, flip=False, dice=dice(seed))[0]
        top, left, height, width = (int(x) for x in boxes(1, 32, 32, 0.2, dice(seed)))
        wanted = image.crop((left, top, left + width, top + height)).resize(
            (32, 32), Image.Resampling.BILINEAR
        )
        reference = torch.from_numpy(np.asarray(wanted).copy()).permute(2, 0, 1)
        inner = (slice(None), slice(2, -2), slice(2, -2))  # Pillow sees nothing beyond the box
        assert (seen[inner].float() - reference[inner].float()).abs().max() <= 1


def test_boxes_have_the_areas_and_ratios_of_timm() -> None:
    top, left, height, width = boxes(20_000, 64, 64, 0.25, dice())
    area, ratio = height * width / 64**2, width / height
    assert area.min() > 0.23 and area.max() <= 1.0
    assert (top >= 0).all() and (top + height <= 64).all()
    assert (left >= 0).all() and (left + width <= 64).all()
    assert ratio.log().mean().abs() < 0.01
    assert ratio.min() > 0.72 and ratio.max() < 1.39
    # uniform in [0.25, 1] with the boxes that do not fit drawn again
    assert 0.55 < area.mean() < 0.63


def test_shifts_move_by_at_most_an_eighth_and_flip_half() -> None:
    pixels = torch.zeros(2000, 1, 16, 16, dtype=torch.uint8)
    pixels[:, 0, 8, 4] = 255
    moved = shifted(pixels, flip=True, dice=dice())
    _, _, rows, columns = (moved == 255).nonzero().T
    assert len(rows) == 2000 and set(rows.tolist()) == {6, 7, 8, 9, 10}
    assert set(columns.tolist()) == {2, 3, 4, 5, 6} | {9, 10, 11, 12, 13}
    assert 900 < (columns < 8).sum() < 1100
    still = shifted(pixels, flip=False, dice=dice())
    assert set((still == 255).nonzero()[:, 3].tolist()) == {2, 3, 4, 5, 6}


def test_posterize_keeps_at_least_one_bit_and_timms_table_stays_as_it_is() -> None:
    before = dict(LEVEL_TO_ARG)
    recipe = Recipe(augment="rand-m10-n15-p1.0-inc1")
    data = open_data(recipe, size=(8, 8))
    made = policy(recipe, data.facts)
    assert made is not None
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    for _ in range(50):
        made(image)
    assert before == LEVEL_TO_ARG
    if int(PIL.__version__.split(".")[0]) >= 13:  # older ones return an image of one colour
        with pytest.raises(ValueError, match="bits must be between"):
            stock = rand_augment_transform("rand-m10-n15-p1.0-inc1", {"img_mean": (128,)})
            for _ in range(50):
                stock(image)


def shipped() -> list[Recipe]:
    """Every way of augmenting in a shipped spec, and timm's usual policies."""
    specs = [*presets(), *(str(path) for path in (ROOT / "examples").rglob("*.yaml"))]
    paths = [spec if spec.endswith(".yaml") else f"std/{spec}" for spec in specs]
    found = [load(path, allow_code=True).recipe for path in paths]
    words = ("rand-m9-mstd0.5-inc1", "rand-m9-n3-mstd0.5", "original-mstd0.5", "v0r", "3a")
    found += [Recipe(augment=word, crop=crop) for word in words for crop in (0.3, 1.0)]
    keep = ("crop", "flip", "augment", "erase")
    unique = {tuple(getattr(each, name) for name in keep): each for each in found}
    return list(unique.values())


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 32])
def test_twenty_thousand_images_pass_every_shipped_recipe(tmp_path: Path, size: int) -> None:
    source = "digits" if size == 8 else str(write_pictures(tmp_path, {"train": 100}, size=size))
    for shipped_recipe in shipped():
        recipe = replace(shipped_recipe, data=source, images=0, batch=100, validation="")
        data = open_data(recipe, size=(size, size))
        seen, source_of_batches = 0, batches(data, recipe, dice())
        while seen < 20_000:
            for images, _ in source_of_batches.epoch():
                assert torch.isfinite(images).all()
                seen += len(images)


@pytest.mark.slow
def test_twenty_thousand_originals_pass_the_image_folder_recipe(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 100}, size=40)
    recipe = Recipe(data=str(root), augment="rand-m9-mstd0.5-inc1", erase=0.25, crop=0.3)
    data = open_data(recipe, size=(32, 32))
    transform = picture_transform(recipe, data.facts)
    for index in range(20_000):
        assert transform(data.train.picture(index % len(data.train))).shape == (3, 32, 32)
