"""Which images are for training, for choices, and for the last step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil

import numpy as np

from flopwise.train.faults import refusal
from flopwise.train.images import Images, Labels, spread
from flopwise.train.sources import ALL, Source
from flopwise.train.tree import TEST, TRAIN, VALIDATION

__all__ = ["Cut", "arrange", "validation_size"]

SEED = 0  # of the splits; never the seed of a training, so all trials share them
TEST_SHARE = 0.2
SHARE, LEAST, MOST = 0.1, 500, 1 / 3  # of the training images, for validation


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A data set, divided.

    Attributes:
        train: Training images, validation taken out.
        validation: What choices look at.
        test: Lists the test images; nothing calls it before the last step.
        chosen: Indices of the validation images in the split they were cut from.
        chosen_of: That split, or the split that is validation as a whole.
        notes: How it came about, for people.
        seed: Seed of every cut.
    """

    train: Images
    validation: Images
    test: Callable[[], Images] = field(repr=False)
    chosen: Labels = field(repr=False)
    chosen_of: str
    notes: tuple[str, ...]
    seed: int = SEED

    def sample(self, wanted: int) -> Images:
        """Returns a stratified sample of the training images; 0 wants them all.

        Raises:
            SpecError: As `refuse_sample`.
        """
        self.refuse_sample(wanted)
        return self.train.take(self.order[:wanted]) if wanted else self.train

    def refuse_sample(self, wanted: int) -> None:
        """Refuses a sample that cannot be had.

        Raises:
            SpecError: There are not as many images, or as few would leave a class out (E614).
        """
        if wanted and not self.least <= wanted <= len(self.train):
            raise refusal(
                "E614",
                f"train.images is {wanted:,}, but there are {len(self.train):,} training images "
                f"of {len(np.unique(self.train.labels))} classes",
                helps=[f"write a number from {self.least} to {len(self.train)}, or 0 for all"],
            )

    @cached_property
    def order(self) -> Labels:
        """The training images' indices; every sample is a beginning of it."""
        return spread(self.train.labels, seed=2)

    @cached_property
    def least(self) -> int:
        """The size of the smallest sample that holds every class."""
        return int(np.unique(self.train.labels[self.order], return_index=True)[1].max()) + 1


def arrange(source: Source, wanted: str = "") -> Cut:
    """Divides a source; `wanted` names the split that is to be validation.

    A source without a test split has 20 % of its training images set aside first. Where `val` is
    the only split beside `train`, it is the test split, and validation is cut from train.
    """
    train = _first(source.splits, (*TRAIN, ALL))
    assert train, "every source has a train split or is one"
    test, own, notes = _roles(source, wanted, train)
    images = source.splits[train]()
    if test is None:
        images, opened, note = _cut_test(images, train)
        notes.append(note)
    else:
        opened = source.splits[test]
    if own is None:
        return _cut_validation(images, train, opened, notes)
    validation = source.splits[own]()
    return Cut(
        train=images,
        validation=validation,
        test=opened,
        chosen=np.arange(len(validation), dtype=np.int64),
        chosen_of=own,
        notes=(*notes, f"validation: {len(validation):,} images of '{own}'"),
    )


def _roles(source: Source, wanted: str, train: str) -> tuple[str | None, str | None, list[str]]:
    """Returns the names of the test and the validation split, where there are any, and notes."""
    others = [name for name in source.splits if name != train]
    if wanted and wanted not in others:
        raise refusal(
            "E615",
            f"train.validation: there is no split '{wanted}' beside '{train}'",
            helps=["leave train.validation out, and validation is cut from the training images"],
            notes=[f"splits: {', '.join(others) or 'none'}"],
        )
    test = _first(source.splits, TEST)
    if wanted and wanted == test:
        raise refusal(
            "E616",
            f"train.validation: '{wanted}' is the test split, which no choice may look at",
            helps=["leave train.validation out, and validation is cut from the training images"],
        )
    own = wanted or _first(source.splits, VALIDATION)
    if test or wanted or not own:
        return test, own, []
    note = f"test: '{own}' is the only split beside '{train}', so it is kept for the end"
    return own, None, [note]


def validation_size(count: int) -> int:
    """Returns how many of `count` training images become validation.

    >>> validation_size(50_000), validation_size(2_000), validation_size(90)
    (5000, 500, 30)
    """
    return min(max(LEAST, ceil(SHARE * count)), int(count * MOST))


def _first(splits: Iterable[str], names: Iterable[str]) -> str | None:
    known = {each.lower(): each for each in splits}
    return next((known[name] for name in names if name in known), None)


def _cut_test(images: Images, name: str) -> tuple[Images, Callable[[], Images], str]:
    """Sets every fifth image aside, by name only."""
    order, count = spread(images.labels, SEED), ceil(TEST_SHARE * len(images))
    aside, rest = np.sort(order[:count]), np.sort(order[count:])
    what = "images" if name == ALL else f"images of '{name}'"
    note = f"test: {count:,} of {len(images):,} {what}, stratified, kept for the end"
    return images.take(rest), partial(images.take, aside), note


def _cut_validation(images: Images, name: str, test: Callable[[], Images], notes: list[str]) -> Cut:
    order, count = spread(images.labels, SEED), validation_size(len(images))
    if not count:
        raise refusal(
            "E622",
            f"train.data: {len(images)} training images are too few to cut validation from",
            helps=["give at least 3 images, or a few hundred to learn anything"],
        )
    chosen, rest = np.sort(order[:count]), np.sort(order[count:])
    return Cut(
        train=images.take(rest),
        validation=images.take(chosen),
        test=test,
        chosen=chosen,
        chosen_of=name,
        notes=(*notes, f"validation: {count:,} of {len(images):,} training images, stratified"),
    )
