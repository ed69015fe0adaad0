"""The three splits of a data set, and the facts about it that are printed, stored and exported.

Everything a search, a pruner or a choice of checkpoint looks at comes from `Data.validation`. The
test split is listed by name at most until `Data.test()` is called, and the call is on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flopwise.dsl.recipe import Recipe
from flopwise.train.cut import Cut, arrange
from flopwise.train.faults import refusal
from flopwise.train.images import spread
from flopwise.train.sources import open_source
from flopwise.train.split import MEMORY, Split, channels_of, load_split
from flopwise.train.view import seen_as

__all__ = ["CACHE", "Data", "Facts", "SplitName", "open_data"]

CACHE = Path("~/.cache/flopwise")
SAMPLED = 2000  # images behind mean and std where not all are in memory

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the data say about the network, in timm's words where timm has one.

    Attributes:
        source: The address the images came from.
        classes: Class names, in the order of the logits.
        channels: 1 (grey) or 3 (RGB).
        size: Height and width that the network sees.
        mean: Mean of every channel over the training images, of pixels in [0, 1].
        std: Standard deviation of every channel.
        interpolation: How evaluation resizes.
        crop_pct: Size over resized short edge in evaluation.
        crop_mode: Always the centre.
        test_size: Height and width at which it is judged.
    """

    source: str
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str
    test_size: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Data:
    """A data set with its three splits.

    Attributes:
        facts: What is exported with a network that was trained on it.
        train: The images that weights see.
        validation: The images that choices see.
        notes: How the splits came about, for people.
        cut: Which images are in which split.
        memory: Bytes of pixels that a split may keep in memory.
        workers: Loader processes that judge a split too large for it.
    """

    facts: Facts
    train: Split
    validation: Split
    notes: tuple[str, ...]
    cut: Cut = field(repr=False)
    memory: int = MEMORY
    workers: int = 0
    _test: list[Split] = field(default_factory=list, repr=False)

    @property
    def test_opened(self) -> bool:
        """Whether the test split was ever asked for."""
        return bool(self._test)

    def test(self) -> Split:
        """Opens the test split: the last step of a study, and nothing before it."""
        if not self._test:
            images = self.cut.test()
            self._test.append(load_split("test", images, self.validation.view, memory=self.memory))
        return self._test[0]

    def split(self, name: SplitName) -> Split:
        """Returns a split by name; `test` opens it."""
        if name == "test":
            return self.test()
        return self.train if name == "train" else self.validation

    def manifest(self) -> dict[str, Any]:
        """Returns what a study stores: facts, counts, digests, and the validation images."""
        digests = {"train": self.train.digest, "validation": self.validation.digest}
        images = {"train": len(self.train), "validation": len(self.validation)}
        if self._test:
            digests["test"], images["test"] = self._test[0].digest, len(self._test[0])
        return {
            **self.facts.as_dict(),
            "images": images,
            "digests": digests,
            "validation": self.cut.chosen.tolist(),
            "validation_of": self.cut.chosen_of,
            "split_seed": self.cut.seed,
            "test_opened": self.test_opened,
            "notes": list(self.notes),
        }


def open_data(
    recipe: Recipe,
    *,
    size: tuple[int, int],
    channels: int | None = None,
    classes: int | None = None,
    cache: Path = CACHE,
    memory: int = MEMORY,
) -> Data:
    """Opens the images that a recipe names and divides them; reads no test image.

    The splits depend on the data alone, never on `recipe.seed`, so all trials share them.
    Validation is the split that `recipe.validation` names; else the source's own where a test split
    stands beside it; else 10 % of the training images and at least 500, but never more than a third
    of them, stratified. `recipe.images` then takes a stratified sample of the rest, so that
    validation is the same for every `images`, and a larger sample holds the smaller one.

    Args:
        recipe: Its `data`, `images`, `validation`, `crop` and `test_size` are used.
        size: Height and width the network is trained with.
        channels: Channels the network expects; None takes what the data have.
        classes: Classes the network has; None takes what the data have.
        cache: Where sets that are fetched by name are kept.
        memory: Bytes of pixels a split may keep in memory; larger ones are read as they are used.

    Raises:
        SpecError: The data are not there, cannot be read, or disagree with the network.
    """
    source = open_source(recipe.data, cache.expanduser())
    cut = arrange(source, recipe.validation)
    _refuse_other("classes", classes, len(source.classes), _named(source.classes))
    train = cut.sample(recipe.images)
    found = channels_of(train)
    _refuse_other("input.channels", channels, found, "grey" if found == 1 else "coloured")
    judged = (recipe.test_size, recipe.test_size) if recipe.test_size else size
    splits = (
        load_split("train", train, seen_as(size, found), memory=memory, originals=True),
        load_split("validation", cut.validation, seen_as(judged, found), memory=memory),
    )
    facts = _facts(recipe.data, source.classes, *splits)
    notes = (*source.notes, *cut.notes, *_sizes(splits, recipe.images, len(cut.train)))
    return Data(facts, *splits, notes, cut, memory, recipe.workers)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _named(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")


def _refuse_other(what: str, wanted: int | None, found: int, detail: str) -> None:
    if wanted is not None and wanted != found:
        raise refusal(
            "E613",
            f"the spec says {what}: {wanted}, but the data have {found} ({detail})",
            helps=[f"write {what}: {found}, or name other images in train.data"],
        )


def _facts(source: str, classes: tuple[str, ...], train: Split, validation: Split) -> Facts:
    view, (mean, std) = train.view, _moments(train)
    return Facts(
        source=source,
        classes=classes,
        channels=view.channels,
        size=view.size,
        mean=mean,
        std=std,
        interpolation=view.interpolation,
        crop_pct=view.crop_pct,
        crop_mode=view.crop_mode,
        test_size=validation.view.size,
    )


def _moments(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel, from exact counts of every byte value."""
    sized = split.sized
    if sized is None:
        transform = split.view.transform()
        chosen = spread(split.images.labels, seed=3)[:SAMPLED]
        sized = torch.stack([transform(split.picture(int(index))) for index in chosen])
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in sized.unbind(1):
        counts = np.bincount(channel.reshape(-1).numpy(), minlength=256)
        average = float(counts @ values / counts.sum())
        spread_ = float(np.sqrt(counts @ (values - average) ** 2 / counts.sum()))
        mean.append(round(average, 4))
        std.append(max(round(spread_, 4), 1e-3))  # a blank channel must not divide by zero
    return tuple(mean), tuple(std)


def _sizes(splits: Sequence[Split], wanted: int, pool: int) -> list[str]:
    """Says what is read from files again and again, and what is left out."""
    notes = [
        f"{each.name}: {len(each):,} images stay in their files, too many for memory"
        for each in splits
        if each.sized is None
    ]
    if wanted and wanted < pool:
        notes.append(f"train: {wanted:,} of {pool:,} images (train.images), stratified")
    return notes
