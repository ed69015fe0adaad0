"""A small model of a space: kernel regression on what is known before training, and its own judge.

The model is fitted to a few dozen scores. Whether it is worth anything is told by leaving each of
them out in turn, which for kernel regression needs no second fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Choice, Domain, Permutation, Range, Subset
from flopwise.search.candidates import Candidate, Pick, ladder

__all__ = ["NOISES", "Features", "Model", "fit", "ranks", "spearman"]

Array = NDArray[np.float64]
KERNELS = (0.0, 1.0, 0.5)
"""Lengths of the radial kernels that are tried, in standard deviations; 0 is the linear one."""
NOISES = (0.03, 0.3, 3.0)
"""Variances of the noise that are tried, in those of the scores."""


@dataclass(frozen=True)
class Features:
    """What a model sees of candidates, in groups that weigh the same.

    Attributes:
        domains: Target -> domain.
        more: Further numbers of a candidate, such as how deep its network is; may be expensive.
    """

    domains: Mapping[str, Domain]
    more: Callable[[Candidate], Sequence[float]]
    _known: dict[str, tuple[list[float], ...]] = field(default_factory=dict, repr=False)

    def __call__(self, candidates: Sequence[Candidate]) -> tuple[Array, ...]:
        """Returns a matrix per group, a row per candidate: picks, how often each, numbers."""
        rows = [self._row(each) for each in candidates]
        groups = (np.array([row[place] for row in rows]) for place in range(3))
        return tuple(group for group in groups if group.shape[1])

    def _row(self, candidate: Candidate) -> tuple[list[float], ...]:
        name = candidate.identity
        if name not in self._known:
            parts = self._picks(candidate), self._counts(candidate), self._numbers(candidate)
            self._known[name] = parts
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

    def _numbers(self, candidate: Candidate) -> list[float]:
        costs = [math.log(max(cost, 1)) for cost in candidate.costs.values()]
        return [*costs, *self.more(candidate)]


@dataclass(frozen=True)
class Model:
    """A fitted model.

    Attributes:
        groups: What it was fitted to, standardised.
        shift: Mean and standard deviation of every column of every group.
        length: Its kernel.
        weights: One per candidate that it was fitted to.
        scale: Mean and standard deviation of the scores.
        agreement: Rank correlation of its predictions with scores that were left out.
    """

    groups: tuple[Array, ...]
    shift: tuple[tuple[Array, Array], ...]
    length: float
    weights: Array
    scale: tuple[float, float]
    agreement: float

    @property
    def trusted(self) -> bool:
        """Whether it ranks better than chance: two standard errors above none."""
        return self.agreement * math.sqrt(max(len(self.weights) - 1, 0)) > 2

    def __call__(self, groups: Sequence[Array]) -> Array:
        """Returns the predicted scores of candidates."""
        put = [(g - m) / s for g, (m, s) in zip(groups, self.shift, strict=True)]
        mean, spread = self.scale
        return np.asarray(_kernel(put, self.groups, self.length) @ self.weights * spread + mean)


def fit(groups: Sequence[Array], scores: Sequence[float]) -> Model:
    """Fits every kernel and noise and keeps the one that predicts scores left out best.

    Args:
        groups: What is known of candidates: a matrix per group, a row per candidate.
        scores: Their scores, higher is better.
    """
    y = np.asarray(scores, float)
    scale = float(y.mean()), float(y.std()) or 1.0
    z = (y - scale[0]) / scale[1]
    shift = tuple((g.mean(0), np.where(g.std(0) > 0, g.std(0), 1.0)) for g in groups)
    put = tuple((g - m) / s for g, (m, s) in zip(groups, shift, strict=True))
    best: tuple[float, float, Array, Array] | None = None
    for length in KERNELS:
        kernel = _kernel(put, put, length) + 1e-3
        for noise in NOISES:
            inverse = np.linalg.inv(kernel + noise * np.eye(len(z)))
            weights = inverse @ z
            out = z - weights / np.diag(inverse)  # each predicted by all others
            error = float(((out - z) ** 2).mean())
            if best is None or error < best[0]:
                best = error, length, weights, out
    assert best
    return Model(put, shift, best[1], best[2], scale, spearman(best[3], z))


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
