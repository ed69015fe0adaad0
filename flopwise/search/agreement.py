"""How well scores without training rank the trained networks of a study, beside plain baselines.

All trials of a study lie inside its budget, so this is the correlation *within the window*: the one
that a search under a budget could use. Over networks of all sizes nearly any score correlates with
accuracy, since larger networks are better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Network
from flopwise.errors import RunError, many
from flopwise.search.record import TrialRow, equally_long
from flopwise.search.scores import Images, scores_of
from flopwise.search.surrogate import spearman

__all__ = ["FEWEST", "PLAIN", "Agreement", "agreements", "interval", "kendall"]

Array: TypeAlias = NDArray[np.float64]
Correlation: TypeAlias = Callable[[Array, Array], float]
Scores: TypeAlias = Callable[[Network, Sequence[str]], Mapping[str, float]]

PLAIN = ("macs", "params", "activations", "depth")
"""What any score must beat; these are always shown beside it."""

FEWEST = 5
"""Trained networks that are needed to speak of a correlation."""
RESAMPLES = (200, 1000)
"""Bootstrap samples behind an interval: fewest, and most, as long as they hold `DRAWN` networks."""
DRAWN = 300_000
"""Networks that are drawn for an interval; thousands of networks need few samples, and time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a score ranks trained networks.

    Attributes:
        score: The score.
        trials: Networks behind it: those for which the score can be told.
        share: How long they were trained, as a share of the recipe's epochs.
        spearman: Rank correlation with the objective, turned so that more is better.
        spearman_95: Its 95 % bootstrap interval over networks.
        kendall: Share of pairs ranked alike minus share ranked otherwise (tau-b).
        kendall_95: The same for it.
    """

    score: str
    trials: int
    share: float
    spearman: float
    spearman_95: tuple[float, float]
    kendall: float
    kendall_95: tuple[float, float]

    def flat(self) -> dict[str, float | str]:
        """Returns the row of `agreement.csv`."""
        found: dict[str, float | str] = {}
        for name, value in asdict(self).items():
            ends = zip((f"{name}_low", f"{name}_high"), value, strict=True) if "_95" in name else ()
            found |= dict(ends) or {name: value}
        return found


def _measured(network: Network, names: Sequence[str]) -> Mapping[str, float]:
    return scores_of(names, network, Images.noise(network))


def agreements(
    rows: Sequence[TrialRow],
    networks: Mapping[int, Network],
    objective: tuple[str, str],
    names: Sequence[str],
    scored: Scores = _measured,
) -> list[Agreement]:
    """Returns how each score ranks trainings of equal length, the longest of which enough ended.

    Args:
        rows: Trials of the study.
        networks: Number of a trial -> its network.
        objective: Direction and metric.
        names: The scores; the plain baselines come before them, asked for or not.
        scored: Returns scores of a network; they are measured on noise by default.

    Raises:
        RunError: Of no length were `FEWEST` networks trained.
    """
    done = equally_long(rows, FEWEST)
    if not done:
        counts = Counter(row.share for row in rows if row.state == "done")
        most = max(counts.values(), default=0)
        fact = f"the study has {many(most, 'trained networks')} of equal length"
        raise RunError(f"{fact}; {FEWEST} are needed to say how a score ranks them")
    direction, metric = objective
    sign = 1.0 if direction == "maximize" else -1.0
    truth = np.array([sign * row.scores[metric] for row in done])
    wanted = [name for name in dict.fromkeys(names) if name not in PLAIN]
    told = []
    for row in done:
        network = networks[row.number]
        told.append({**scores_of(PLAIN, network), **scored(network, wanted)})
    scores = {name: np.array([each[name] for each in told]) for name in (*PLAIN, *wanted)}
    return [_agreement(name, done[0].share, score, truth) for name, score in scores.items()]


def _agreement(name: str, share: float, score: Array, truth: Array) -> Agreement:
    known = np.isfinite(score)
    score, truth = score[known], truth[known]
    return Agreement(
        score=name,
        trials=len(score),
        share=share,
        spearman=spearman(score, truth),
        spearman_95=interval(spearman, score, truth),
        kendall=kendall(score, truth),
        kendall_95=interval(kendall, score, truth),
    )


def kendall(first: Array, second: Array) -> float:
    """Returns Kendall's tau-b; 0 where one row is constant.

    >>> round(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])), 6)
    0.333333
    """
    from scipy import stats  # half a second

    found = stats.kendalltau(first, second, method="asymptotic").statistic
    return float(np.nan_to_num(found))


def interval(of: Correlation, first: Array, second: Array) -> tuple[float, float]:
    """Returns the 95 % percentile interval of a correlation over resampled networks."""
    if len(first) < 2:
        return -1.0, 1.0
    rng = np.random.default_rng(0)
    samples = int(np.clip(DRAWN // len(first), *RESAMPLES))
    draws = (rng.integers(len(first), size=len(first)) for _ in range(samples))
    found = [of(first[at], second[at]) for at in draws]
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
