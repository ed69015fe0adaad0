"""Ties are called ties, differences are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flopwise.search.compare import compare


def drawn(
    rate: float, seeds: int, images: int, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    return [rng.random(images) < rate for _ in range(seeds)]


def test_a_network_ties_with_itself() -> None:
    right = drawn(0.9, 3, 360, np.random.default_rng(0))
    result = compare(right, right)
    assert result.tied and result.difference == 0 and result.error == 0
    assert "a tie" in str(result)


def test_equal_networks_are_told_apart_in_few_of_many_comparisons() -> None:
    rng = np.random.default_rng(0)
    verdicts = [
        compare(drawn(0.9, 3, 1_000, rng), drawn(0.9, 3, 1_000, rng)).tied for _ in range(400)
    ]
    assert np.mean(verdicts) > 0.94


def test_three_points_on_ten_thousand_images_are_no_tie() -> None:
    rng = np.random.default_rng(0)
    result = compare(drawn(0.93, 3, 10_000, rng), drawn(0.90, 3, 10_000, rng))
    assert not result.tied and 2 < result.difference < 4 and "better" in str(result)


def test_seeds_that_disagree_make_a_tie_of_what_images_alone_would_call_a_difference() -> None:
    rng = np.random.default_rng(0)
    first = [rng.random(10_000) < rate for rate in (0.80, 0.90, 0.94)]
    second = [rng.random(10_000) < rate for rate in (0.87, 0.86, 0.86)]
    assert compare(first, second).tied


def test_the_pairing_by_image_finds_what_unpaired_scores_would_hide() -> None:
    rng = np.random.default_rng(0)
    second = rng.random(2_000) < 0.8
    first = second | (rng.random(2_000) < 0.05)  # right wherever the other is, and a little more
    result = compare([first], [second])
    unpaired = 100 * np.sqrt(first.var() / 2_000 + second.var() / 2_000)
    assert not result.tied and result.difference < 2 * unpaired


def test_one_seed_is_compared_over_images_only() -> None:
    rng = np.random.default_rng(0)
    result = compare(drawn(0.9, 1, 360, rng), drawn(0.9, 1, 360, rng))
    assert result.seeds == 1 and np.isfinite(result.error)
