from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flopwise.train.cut import arrange, validation_size
from flopwise.train.images import Images, spread
from flopwise.train.sources import ALL, Source

labels = st.lists(st.integers(0, 4), min_size=4, max_size=200).map(np.array)


def blank(index: int) -> Image.Image:
    raise AssertionError("nothing is read while images are divided")


def listed(found: np.ndarray, prefix: str) -> Images:
    names = tuple(f"{prefix}{index}" for index in range(len(found)))
    return Images(names, found.astype(np.int64), blank)


@given(labels, st.integers(0, 9))
def test_every_beginning_of_the_order_is_stratified(found: np.ndarray, seed: int) -> None:
    order = spread(found, seed)
    assert sorted(order) == list(range(len(found)))
    counts = np.bincount(found)
    for length in range(len(found) + 1):
        share = np.bincount(found[order[:length]], minlength=len(counts))
        # the cut through the places is the same for all classes, each within one image of it
        places = [share[c] / counts[c] for c in range(len(counts)) if counts[c]]
        widths = [1 / counts[c] for c in range(len(counts)) if counts[c]]
        assert max(p - w for p, w in zip(places, widths, strict=True)) <= min(
            p + w for p, w in zip(places, widths, strict=True)
        )


@given(labels, st.sampled_from([(ALL,), ("train",), ("train", "val"), ("train", "test"),
                                ("train", "val", "test")]))  # fmt: skip
def test_splits_share_no_image_and_lose_none(found: np.ndarray, names: tuple[str, ...]) -> None:
    splits = {name: partial(listed, found, name) for name in names}
    cut = arrange(Source(tuple("abcde"), splits))
    parts = [set(each.names) for each in (cut.train, cut.validation, cut.test())]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(names) * len(found)
    again = arrange(Source(tuple("abcde"), splits))
    assert again.validation.names == cut.validation.names


@given(st.integers(0, 10**7))
def test_validation_leaves_two_thirds_to_training(count: int) -> None:
    size = validation_size(count)
    assert 3 * size <= count and (size >= 500 or 3 * (size + 1) > count)
    assert size <= max(500, -(-count // 10))
