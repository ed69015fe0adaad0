"""The scaling law of a family of trainings: loss, best model and epochs, learning rate.

The steps, as in Smith et al. 2023 (arXiv:2310.16764, figures 2 and 3):

1. Trainings that differ by their seed alone are one *cell*: the mean of the log loss.
2. Of the learning rates of a model and an epoch budget, that of the lowest cell is the best one.
3. Of the models, those are optimal that no other beats at their compute (`envelope`).
4. Lines on log-log axes through the optimal ones: their loss, their size and their epochs against
   compute (`laws`).

For the bands the cells are drawn again, from Student's t with the deviation of log loss within a
cell, pooled over the family (three trainings are too few to be drawn from), and steps 2 to 4 are
taken anew in each draw, so that the choice of the best is part of what the bands show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from flopwise.search.envelope import rivals
from flopwise.search.laws import LEVEL, Law, law
from flopwise.search.points import Point
from flopwise.search.statistics import Spread, spread

__all__ = ["DRAWS", "Cell", "Rate", "Scaling", "scaling"]

DRAWS = 2_000
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Curves = Mapping[tuple[str, float], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Trainings of one model, one compute and one learning rate, which differ by their seed.

    Attributes:
        first: One of them, for what they share.
        losses: The loss of each.
        loss: Their geometric mean.
        low: Lower end of its 95 % interval; None without repeated trainings.
        high: Upper end.
        best: Whether no other learning rate of its model and epochs has a lower loss.
        optimal: Whether it is the best one, and no other model beats it at its compute.
        compared: Whether there is another model to compare it with.
        test_loss: Geometric mean of the test losses; None where they are not known.
    """

    first: Point
    losses: tuple[float, ...]
    loss: float
    low: float | None
    high: float | None
    best: bool
    optimal: bool
    compared: bool
    test_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The best learning rate of a model at an epoch budget.

    Attributes:
        model: The model.
        epochs: Its epochs; None where they are not known.
        compute: Its compute.
        lr: The rate of the lowest loss.
        low: The lowest rate that is best in 95 % of the draws; None without repeated trainings.
        high: The highest such rate.
        tried: All rates, rising.
    """

    model: str
    epochs: float | None
    compute: float
    lr: float
    low: float | None
    high: float | None
    tried: tuple[float, ...]

    @property
    def edge(self) -> str:
        """Which end of the tried rates it is: lowest, highest or, as it should be, neither."""
        return {self.tried[0]: "lowest", self.tried[-1]: "highest"}.get(self.lr, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What a family of trainings says.

    Attributes:
        cells: Its cells, model by model, compute rising.
        spread: Deviation of a log loss within its cell, pooled.
        alone: Whether there were no two models to compare.
        loss: Loss of the optimal trainings against compute.
        macs: Their multiply-adds of a forward pass against compute.
        epochs: Their epochs against compute.
        rates: Best learning rates, where several were tried.
    """

    cells: tuple[Cell, ...]
    spread: Spread
    alone: bool
    loss: Law | None
    macs: Law | None
    epochs: Law | None
    rates: tuple[Rate, ...]

    @property
    def optimal(self) -> tuple[Cell, ...]:
        """The optimal cells, compute rising."""
        chosen = (each for each in self.cells if each.optimal)
        return tuple(sorted(chosen, key=lambda each: each.first.compute))


def scaling(points: Sequence[Point], *, draws: int = DRAWS, seed: int = 0) -> Scaling:
    """Works out the scaling law of trainings.

    Args:
        points: The trainings.
        draws: How often the losses are drawn again.
        seed: Seed of the draws.
    """
    return _Family(points, draws, seed).scaling()


class _Family:
    """The cells of a family as arrays, and what is drawn from them."""

    def __init__(self, points: Sequence[Point], draws: int, seed: int) -> None:
        self.cells = _cells(points)
        self.dice = np.random.default_rng(seed)
        logs = [[log(each.loss) for each in cell] for cell in self.cells]
        self.spread = spread(logs)
        self.counts = np.array([len(each) for each in logs], dtype=float)
        self.halves = {count: self.spread.half(count) for count in {*map(len, logs)}}
        self.means = np.array([[sum(each) / len(each) for each in logs]])
        self.drawn = np.repeat(self.means, draws, axis=0)
        if freedom := self.spread.freedom:
            scale = self.spread.deviation / np.sqrt(self.counts)
            self.drawn = self.drawn + scale * self.dice.standard_t(freedom, self.drawn.shape)
        self.groups = _groups(self.cells)
        firsts = [self.cells[cells[0]][0] for cells in self.groups.values()]
        self.x = np.log([each.compute for each in firsts])
        self.rivals = rivals(self.x, [each.model for each in firsts])
        self.sizes = _logs([each.macs for each in firsts])
        self.budgets = _logs([each.epochs for each in firsts])

    def scaling(self) -> Scaling:
        best, lowest = self.best(self.means)
        chosen, drawn = self.best(self.drawn)
        optimal, again = self.rivals.optimal(lowest), self.rivals.optimal(drawn)
        return Scaling(
            cells=tuple(self.cell(each, best[0], optimal[0]) for each in range(len(self.cells))),
            spread=self.spread,
            alone=self.rivals.alone,
            loss=law(self.x, (lowest, optimal), (drawn, again), self.dice),
            macs=None if self.rivals.alone else self.trend(self.sizes, optimal, again),
            epochs=None if self.rivals.alone else self.trend(self.budgets, optimal, again),
            rates=tuple(self.rates(best[0], chosen)),
        )

    def best(self, losses: Array) -> tuple[NDArray[np.intp], Array]:
        """Returns the best cell of each model and budget, and its log loss: (draws, groups)."""
        picked = [
            np.array(cells)[losses[:, cells].argmin(axis=1)] for cells in self.groups.values()
        ]
        best = np.stack(picked, axis=1)
        return best, np.take_along_axis(losses, best, axis=1)

    def trend(self, logs: Array | None, optimal: Mask, again: Mask) -> Law | None:
        """Returns how a setting of the optimal trainings grows; None where it is not known."""
        if logs is None:
            return None
        many = np.repeat(logs[None], len(again), axis=0)
        return law(self.x, (logs[None], optimal), (many, again), self.dice)

    def cell(self, index: int, best: NDArray[np.intp], optimal: Mask) -> Cell:
        """Returns what is said of a cell."""
        points, mean = self.cells[index], float(self.means[0, index])
        group = next(at for at, cells in enumerate(self.groups.values()) if index in cells)
        half = self.halves[len(points)]
        tests = [log(each.test_loss) for each in points if each.test_loss]
        return Cell(
            first=points[0],
            losses=tuple(each.loss for each in points),
            loss=exp(mean),
            low=None if half is None else exp(mean - half),
            high=None if half is None else exp(mean + half),
            best=bool(best[group] == index),
            optimal=bool(best[group] == index and optimal[group]),
            compared=bool(self.rivals.compared[group]),
            test_loss=exp(sum(tests) / len(tests)) if len(tests) == len(points) else None,
        )

    def rates(self, best: NDArray[np.intp], chosen: NDArray[np.intp]) -> list[Rate]:
        """Returns the best learning rates where several were tried."""
        found = []
        known = np.array([cell[0].lr or np.nan for cell in self.cells])
        for group, cells in enumerate(self.groups.values()):
            if len(cells) < 2 or np.isnan(known[cells]).any():
                continue
            first, low, high = self.cells[cells[0]][0], None, None
            if self.spread.freedom:
                ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
                low, high = np.quantile(known[chosen[:, group]], ends, method="nearest").tolist()
            found.append(
                Rate(
                    model=first.model,
                    epochs=first.epochs,
                    compute=first.compute,
                    lr=float(known[best[group]]),
                    low=low,
                    high=high,
                    tried=tuple(sorted(known[cells].tolist())),
                )
            )
        return found


def _cells(points: Sequence[Point]) -> list[list[Point]]:
    """Returns the trainings that differ by their seed alone, model by model, compute rising."""
    cells: dict[tuple[str, float, float], list[Point]] = {}
    order = list(dict.fromkeys(each.model for each in points))
    for each in sorted(points, key=lambda p: (order.index(p.model), p.compute, p.lr or 0.0)):
        cells.setdefault((each.model, each.compute, each.lr or 0.0), []).append(each)
    return list(cells.values())


def _groups(cells: Sequence[Sequence[Point]]) -> Curves:
    """Returns the cells of each model and compute, which differ by their learning rate."""
    groups: dict[tuple[str, float], list[int]] = {}
    for index, (first, *_) in enumerate(cells):
        groups.setdefault((first.model, first.compute), []).append(index)
    return groups


def _logs(values: Sequence[float | None]) -> Array | None:
    """Returns logarithms; None where one is not known."""
    known = [each for each in values if each is not None]
    return np.log(known) if len(known) == len(values) else None
