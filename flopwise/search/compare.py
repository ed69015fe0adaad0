"""Whether two networks differ: paired over seeds and test images, ties called ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RULE", "Comparison", "compare"]

RULE = (
    "a difference within 2 standard errors is a tie; it is paired by seed and by test image, and "
    "its squared error is the sum of the variances over images and over seeds"
)
"""The rule, as it is printed below every comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The difference of two networks in top-1 accuracy on the test split.

    Attributes:
        difference: First minus second, in points (0 to 100).
        error: Its standard error, in points.
        seeds: Pairs of trainings behind it.
        images: Test images behind it.
        freedom: Degrees of freedom of the error, by Welch and Satterthwaite.
    """

    difference: float
    error: float
    seeds: int
    images: int
    freedom: float

    @property
    def chance(self) -> float:
        """The probability of so large a difference between equal networks, by Student's t."""
        from scipy import stats  # half a second

        if not self.error:
            return float(not self.difference)
        return float(2 * stats.t.sf(abs(self.difference) / self.error, self.freedom))

    @property
    def tied(self) -> bool:
        """Whether the difference may be chance."""
        return abs(self.difference) <= 2 * self.error

    @property
    def word(self) -> str:
        """What the difference amounts to: a tie, better or worse."""
        return "a tie" if self.tied else "better" if self.difference > 0 else "worse"

    def __str__(self) -> str:
        return f"{self.difference:+.2f} +- {self.error:.2f}: {self.word}"


def compare(
    first: Sequence[NDArray[np.bool_]],
    second: Sequence[NDArray[np.bool_]],
    noise: tuple[float, int] | None = None,
) -> Comparison:
    """Compares two networks by what each seed got right on the same test images.

    With d[s, i] the difference for seed s and image i (-1, 0 or 1), the variance of its mean is
    taken as var_i(mean_s d) / images + var_s(mean_i d) / seeds. Counting the residual in both terms
    errs on the side of a tie. One seed has no spread over seeds: only images count then.

    Args:
        first: For every seed, which test images the first network got right.
        second: The same seeds and images for the second network.
        noise: Deviation of one difference over seeds, in points, and its degrees of freedom, where
            more than these trainings tell it.
    """
    d = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)  # (seeds, images)
    seeds, images = d.shape
    parts = [(d.mean(axis=0).var(ddof=1) / images, images - 1)]
    if seeds > 1:
        deviation, freedom = noise or (100 * d.mean(axis=1).std(ddof=1), seeds - 1)
        parts.append(((deviation / 100) ** 2 / seeds, freedom))
    variance = sum(part for part, _ in parts)
    below = sum(part**2 / free for part, free in parts)
    return Comparison(
        difference=100 * float(d.mean()),
        error=100 * float(np.sqrt(variance)),
        seeds=seeds,
        images=images,
        freedom=float(variance**2 / below) if below else images - 1,
    )
