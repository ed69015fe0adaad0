"""What a table of trainings says: intervals, differences that survive, agreement of two orders.

Three seeds a row are few, so what all rows share is pooled: the deviation within a row. A bootstrap
of three values is never taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from flopwise.search.compare import Comparison, compare

__all__ = [
    "Agreement",
    "Contrast",
    "Spread",
    "Standing",
    "agreement",
    "contrasts",
    "holm",
    "paired",
    "spread",
    "standing",
]

LEVEL = 0.95
DRAWS = 10_000
"""Draws behind the interval of a rank agreement."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The deviation within rows, pooled over a table.

    Attributes:
        deviation: Standard deviation of one training around the mean of its row.
        freedom: Degrees of freedom: trainings less rows.
    """

    deviation: float
    freedom: int

    def half(self, trainings: int) -> float | None:
        """Returns half the 95 % interval of a mean, by Student's t; None without freedom."""
        if not self.freedom:
            return None
        quantile = float(stats.t.ppf((1 + LEVEL) / 2, self.freedom))
        return quantile * self.deviation / sqrt(trainings)


def spread(rows: Sequence[Sequence[float]]) -> Spread:
    """Returns the pooled spread of the scores of each row; every row has one score or more."""
    squares = sum(sum((x - sum(row) / len(row)) ** 2 for x in row) for row in rows)
    freedom = sum(len(row) - 1 for row in rows)
    return Spread(sqrt(squares / freedom) if freedom else 0.0, freedom)


def paired(rows: Sequence[Mapping[int, float]]) -> Spread:
    """Returns the pooled spread within rows without what a seed does to all of them.

    That is the residual of rows and seeds as blocks (two-way analysis of variance without
    interaction), by least squares, so rows may lack seeds.

    Args:
        rows: Seed -> score, for each row.
    """
    seeds = sorted({seed for row in rows for seed in row})
    cells = [(at, seeds.index(seed)) for at, row in enumerate(rows) for seed in row]
    design = np.zeros((len(cells), len(rows) + len(seeds)))
    for cell, (row, seed) in enumerate(cells):
        design[cell, [row, len(rows) + seed]] = 1
    scores = np.array([score for row in rows for score in row.values()])
    fitted, _, rank, _ = np.linalg.lstsq(design, scores, rcond=None)
    freedom = len(cells) - int(rank)
    squares = float(((scores - design @ fitted) ** 2).sum())
    return Spread(sqrt(squares / freedom) if freedom else 0.0, freedom)


@dataclass(frozen=True, slots=True)
class Contrast:
    """The difference of a row from the one it is compared with.

    Attributes:
        row: The row.
        base: What it is compared with.
        found: The difference, paired by seed and test image.
        chance: Holm-corrected probability of so large a difference between equal networks.
    """

    row: str
    base: str
    found: Comparison
    chance: float

    @property
    def word(self) -> str:
        """What the difference amounts to: a tie, better or worse; nothing with one seed."""
        if self.found.seeds == 1:
            return "one seed"
        if self.chance > 1 - LEVEL:
            return "a tie"
        return "better" if self.found.difference > 0 else "worse"


def contrasts(
    pairs: Mapping[str, str],
    correct: Mapping[str, Mapping[int, NDArray[np.bool_]]],
    noise: Spread | None = None,
) -> tuple[Contrast, ...]:
    """Compares rows with others, over the seeds both have, and corrects for their number.

    Args:
        pairs: Row -> the row it is compared with.
        correct: Row -> seed -> which test images a training got right.
        noise: What seeds do to differences, from all rows (see `paired`); each pair's own without.
    """
    found: list[tuple[str, str, Comparison]] = []
    error = (noise.deviation * sqrt(2), noise.freedom) if noise and noise.freedom else None
    for row, base in pairs.items():
        seeds = sorted(correct[row].keys() & correct[base].keys())
        if seeds:
            first, second = ([correct[name][seed] for seed in seeds] for name in (row, base))
            found.append((row, base, compare(first, second, error)))
    chances = holm([each.chance for _, _, each in found])
    return tuple(Contrast(*each, chance) for each, chance in zip(found, chances, strict=True))


def holm(chances: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number (Holm 1979, the step-down procedure).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    found, least = [0.0] * len(chances), 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        least = max(least, min(1.0, (len(chances) - place) * chances[index]))
        found[index] = least
    return found


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two orders of the same rows agree.

    Attributes:
        tau: Kendall's tau-b: 1 for the same order, -1 for the opposite one.
        low: Lower end of its 95 % interval.
        high: Upper end.
        rows: Rows behind it.
    """

    tau: float
    low: float
    high: float
    rows: int


def agreement(printed: Sequence[float], scores: Sequence[Sequence[float]]) -> Agreement | None:
    """Returns how the order of the rows agrees with a printed column; None for fewer than three.

    The interval is what the noise of the trainings leaves: the means of the rows are drawn again
    from Student's t with the pooled deviation. Without repeated trainings it is the whole range.
    """
    if len(printed) < 3:
        return None
    means = np.array([sum(row) / len(row) for row in scores])
    tau = float(stats.kendalltau(printed, means).statistic)
    noise = spread(scores)
    if not noise.freedom:
        return Agreement(tau, -1.0, 1.0, len(printed))
    dice = np.random.default_rng(0)
    scale = noise.deviation / np.sqrt([len(row) for row in scores])
    drawn = means + scale * dice.standard_t(noise.freedom, (DRAWS, len(means)))
    taus = _taus(np.asarray(printed, dtype=float), drawn)
    low, high = np.quantile(taus, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Agreement(tau, float(low), float(high), len(printed))


def _taus(printed: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns tau-b of each drawn row of means, which has no ties, against the printed column."""
    first, second = np.triu_indices(len(printed), 1)
    wanted = np.sign(printed[first] - printed[second])
    found = np.sign(drawn[:, first] - drawn[:, second])
    taus: NDArray[np.float64] = (found @ wanted) / sqrt(len(first) * float(abs(wanted).sum()))
    return taus


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one score ranks among others.

    Attributes:
        rank: 1 for the highest; of equals, the best.
        low: The best rank of its 95 % interval.
        high: The worst one.
        of: How many scores there are, its own among them.
    """

    rank: int
    low: int
    high: int
    of: int


def standing(score: float, others: Sequence[float], noise: Spread) -> Standing:
    """Returns where a score ranks among others, with the interval that their noise leaves.

    All scores are drawn again from Student's t with the deviation of one training.

    Args:
        score: The score whose rank is wanted; high is good.
        others: The other scores.
        noise: Deviation of a single score; without freedom the interval is the whole range.
    """
    rank, count = 1 + sum(each > score for each in others), 1 + len(others)
    if not noise.freedom:
        return Standing(rank, 1, count, count)
    dice = np.random.default_rng(0)
    means = np.array([score, *others])
    drawn = means + noise.deviation * dice.standard_t(noise.freedom, (DRAWS, count))
    ranks = 1 + (drawn[:, 1:] > drawn[:, :1]).sum(axis=1)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(ranks, ends, method="nearest")
    return Standing(rank, int(low), int(high), count)
