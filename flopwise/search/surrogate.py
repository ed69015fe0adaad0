"""A small model of a space: kernel regression on what is known before training, and its own judge.

The model is fitted to a few dozen scores. Whether it is worth anything is told by leaving each of
them out in turn, which for kernel regression needs no second fit.

Ten scores tell little of thirty columns, so the model may begin from what is expected: that of
networks of one cost those do better that pool less, for poolings cost nothing and learn nothing,
and those of better scores without training. Whether to begin from it, and how firmly, is decided
by the trained scores, as all else is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Choice, Domain, Permutation, Range, Subset
from flopwise.search.candidates import Candidate, Pick, ladder

__all__ = ["LEVEL", "NOISES", "Features", "Known", "Model", "Seen", "fit", "ranks", "spearman"]

Array = NDArray[np.float64]
Seen: TypeAlias = tuple[Sequence[float], Mapping[str, float], Sequence[float]]
"""Further numbers of a candidate; some that have names, 0 where there is none; what is expected."""
KERNELS = (0.0, 1.0, 0.5)
"""Lengths of the radial kernels that are tried, in standard deviations; 0 is the linear one."""
NOISES = (0.03, 0.3, 3.0)
"""Variances of the noise that are tried, in those of the scores."""
LEVEL = 1.0
"""Variance of the mean of all networks around that of the scores, in theirs; ten may lie off it."""
LEANINGS = (0.0, 0.5)
"""Standard deviations of the scores that are tried for one of what is expected."""
SAME = 1e-9
"""Deviation, relative to their size, below which numbers differ by rounding only."""
DIGITS = 6
"""Digits that are kept of numbers along a way: sums over many ways differ in the last ones."""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of candidates before they are trained.

    Attributes:
        groups: A matrix per group of numbers, a row per candidate.
        expected: A column per reason to expect something, in any unit; higher is better, NaN where
            it says nothing. They weigh the same.
    """

    groups: tuple[Array, ...]
    expected: Array

    def of(self, rows: Sequence[int] | NDArray[np.intp]) -> Known:
        """Returns what is known of some of them."""
        return Known(tuple(group[rows] for group in self.groups), self.expected[rows])


@dataclass(frozen=True)
class Features:
    """What a model sees of candidates, in groups that weigh the same.

    Attributes:
        domains: Target -> domain.
        more: What else is known of a candidate, such as how deep its network is, how many layers
            of each kind it has, and what is expected of it; may be expensive.
    """

    domains: Mapping[str, Domain]
    more: Callable[[Candidate], Seen]
    _known: dict[str, tuple[list[float], ...]] = field(default_factory=dict, repr=False)
    _names: dict[str, None] = field(default_factory=dict, repr=False)

    def __call__(self, candidates: Sequence[Candidate]) -> Known:
        """Returns what is known of candidates: picks, how often each, numbers, named.

        A name that is met for the first time is a new column at the end of the last one.
        """
        rows = [self._row(each) for each in candidates]
        width = len(self._names)
        named = [[*row[3], *[0.0] * (width - len(row[3]))] for row in rows]
        groups = (*(np.array([row[place] for row in rows]) for place in range(3)), np.array(named))
        expected = np.array([row[4] for row in rows])
        return Known(tuple(group for group in groups if group.shape[1]), expected)

    def look(self, candidates: Iterable[Candidate]) -> None:
        """Finds out what is known of candidates, in this order, so that it is there."""
        for each in candidates:
            self._row(each)

    def _row(self, candidate: Candidate) -> tuple[list[float], ...]:
        name = candidate.identity
        if name not in self._known:
            numbers, named, expected = self.more(candidate)
            self._names.update(dict.fromkeys(named))
            self._known[name] = (
                self._picks(candidate),
                self._counts(candidate),
                [*(math.log(max(cost, 1)) for cost in candidate.costs.values()), *numbers],
                [round(named.get(each, 0.0), DIGITS) for each in self._names],
                [round(each, DIGITS) for each in expected],
            )
        return self._known[name]

    def _picks(self, candidate: Candidate) -> list[float]:
        return [
            value
            for name, domain in self.domains.items()
            for value in _coded(domain, candidate.picks.get(name))
        ]

    def _counts(self, candidate: Candidate) -> list[float]:
        """Returns how often each value of domains that several targets share was picked."""
        shared: dict[str, list[str]] = {}
        for name, domain in self.domains.items():
            if isinstance(domain, Choice):
                shared.setdefault(str(domain), []).append(name)
        found = []
        for names in shared.values():
            if len(names) > 1:
                for value in self.domains[names[0]].values():
                    found.append(float(sum(candidate.picks.get(n) == value for n in names)))
        return found


@dataclass(frozen=True)
class _Columns:
    """What a model sees of a group: those of its columns that differ, standardised."""

    group: int
    places: NDArray[np.intp]
    mean: Array
    spread: Array

    def __call__(self, groups: Sequence[Array]) -> Array:
        return np.asarray((groups[self.group][:, self.places] - self.mean) / self.spread)


@dataclass(frozen=True)
class Model:
    """A fitted model.

    Attributes:
        groups: What it was fitted to, standardised.
        columns: Where that stands in the groups of candidates.
        length: Its kernel.
        weights: One per candidate that it was fitted to.
        leaning: Mean of each column of what is expected, and how much of it is added.
        scale: Mean and standard deviation of the scores.
        agreement: Rank correlation of its predictions with scores that were left out.
    """

    groups: tuple[Array, ...]
    columns: tuple[_Columns, ...]
    length: float
    weights: Array
    leaning: tuple[Array, Array]
    scale: tuple[float, float]
    agreement: float

    @property
    def trusted(self) -> bool:
        """Whether it ranks better than chance: two standard errors above none."""
        return self.agreement * math.sqrt(max(len(self.weights) - 1, 0)) > 2

    def __call__(self, known: Known) -> Array:
        """Returns the predicted scores of candidates."""
        put = [each(known.groups) for each in self.columns]
        told = (_kernel(put, self.groups, self.length) + LEVEL) @ self.weights
        mean, spread = self.scale
        ahead = np.round(told + _leaned(known.expected, *self.leaning), DIGITS)
        return np.asarray(ahead * spread + mean)


def fit(known: Known, scores: Sequence[float]) -> Model:
    """Fits every kernel, noise and leaning and keeps those under which the scores are likeliest.

    That is the marginal likelihood of a Gaussian process (Rasmussen and Williams 2006, equation
    2.30), at the best scale. What is picked has many columns; from few scores the last two groups
    alone are often the better model, so both are tried.

    Args:
        known: What is known of candidates.
        scores: Their scores, higher is better.
    """
    y = np.asarray(scores, float)
    scale = float(y.mean()), float(y.std()) or 1.0
    z = (y - scale[0]) / scale[1]
    leanings = tuple(_leanings(known.expected))
    columns = tuple(_columns(group, place) for place, group in enumerate(known.groups))
    best: tuple[float, Model] | None = None
    for seen in (columns, columns[-2:]):
        put = tuple(each(known.groups) for each in seen)
        for length in KERNELS:
            kernel = _kernel(put, put, length) + LEVEL
            for noise in NOISES:
                inverse = np.linalg.inv(kernel + noise * np.eye(len(z)))
                volume = np.linalg.slogdet(inverse)[1]
                for leaning in leanings:
                    rest = z - _leaned(known.expected, *leaning)
                    weights = inverse @ rest
                    likely = float(volume - len(z) * math.log(max(float(rest @ weights), 1e-12)))
                    if best is None or likely > best[0]:
                        out = spearman(z - weights / np.diag(inverse), z)
                        best = likely, Model(put, seen, length, weights, leaning, scale, out)
    assert best
    return best[1]


def _leanings(expected: Array) -> Iterator[tuple[Array, Array]]:
    """Yields what may be expected: the middle of each column, and its slope."""
    known = np.isfinite(expected)
    count = np.maximum(known.sum(0), 1)
    middle = np.where(known, expected, 0).sum(0) / count
    spread = np.sqrt((np.where(known, expected - middle, 0) ** 2).sum(0) / count)
    each = np.divide(1, spread, out=np.zeros_like(spread), where=spread > SAME * (1 + abs(middle)))
    unit = float(_leaned(expected, middle, each).std())
    for leaning in LEANINGS if unit else LEANINGS[:1]:
        yield middle, each * (leaning / (unit or 1))


def _leaned(expected: Array, middle: Array, slopes: Array) -> Array:
    """Returns what is expected of candidates, in standard deviations of their scores."""
    return np.asarray(np.nan_to_num((expected - middle) * slopes).sum(1))


def _columns(group: Array, place: int) -> _Columns:
    mean, spread = group.mean(0), group.std(0)
    apart = spread > SAME * (1 + abs(mean))
    differ = np.flatnonzero(apart) if apart.any() else np.zeros(1, np.intp)
    return _Columns(place, differ, mean[differ], np.where(apart, spread, 1.0)[differ])


def spearman(first: Array, second: Array) -> float:
    """Returns the rank correlation of two rows of numbers; 0 where one of them is constant."""
    a, b = ranks(first), ranks(second)
    if not (a.std() and b.std()):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def ranks(values: Array) -> Array:
    """Returns the rank of each number, from 1; equal ones share the mean of theirs.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _kernel(first: Sequence[Array], second: Sequence[Array], length: float) -> Array:
    """Returns the kernel of candidates with candidates; each group has the same weight."""
    dots = sum(a @ b.T / a.shape[1] for a, b in zip(first, second, strict=True)) / len(first)
    if not length:
        return np.asarray(dots)
    squares = [
        sum((g**2).sum(1) / g.shape[1] for g in each) / len(first) for each in (first, second)
    ]
    distance = np.maximum(squares[0][:, None] + squares[1][None] - 2 * dots, 0)
    return np.asarray(np.exp(-distance / (2 * length**2)))


def _coded(domain: Domain, value: Pick | None) -> list[float]:
    """Returns a pick as numbers; of a target that does not count, zeros."""
    if isinstance(domain, Choice):
        steps = ladder(domain)
        place = (
            [] if steps is None else [steps.index(value) / len(steps) if value in steps else 0.0]
        )
        return [*(float(value == option) for option in domain.options), *place]
    if isinstance(domain, Range):
        number = float(value) if isinstance(value, int | float) else domain.low
        low, high = float(domain.low), float(domain.high)
        if domain.log:
            number, low, high = math.log(number), math.log(low), math.log(high)
        return [(number - low) / (high - low) if high > low else 0.0]
    assert isinstance(domain, Subset | Permutation)
    chosen = value if isinstance(value, tuple) else ()
    if isinstance(domain, Subset):
        return [float(each in chosen) for each in domain.elements]
    return [float(chosen.index(each)) if each in chosen else 0.0 for each in domain.elements]
