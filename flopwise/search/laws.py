"""Power laws y = K x^b: straight lines on log-log axes, with bands.

The lines are least squares on the logarithms. Two things make a line uncertain, and both are drawn:
the noise of the trainings, which moves the points and with them which points are optimal, and what
the points of the family lie off a line even without noise. The first is given as draws of the
points, the second is drawn here from Student's t with the deviation of the residuals. These hold
some of the noise already, so that part counts twice: without it 150 simulated families of a known
law were inside their 95 % intervals in 87 to 94 of 100 cases, with it in 92 to 99; where nothing is
trained twice, and nothing is known of the noise, in about 90.

An interval is the basic bootstrap's (Davison and Hinkley 1997, section 5.2): the draws are mirrored
at what was found. The lowest of several noisy losses is too low, and in every draw too low again;
mirrored, the two cancel, where the quantiles of the draws would add them up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Law", "Line", "interval", "law", "lines"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEVEL = 0.95
GRID = 33
"""Places at which a band is worked out."""
LEAST = 3
"""Fewest points that a line is fitted to."""


@dataclass(frozen=True, slots=True)
class Line:
    """Least-squares lines, one per draw.

    Attributes:
        slope: (draws,).
        height: At `middle`, (draws,).
        middle: Mean of x, (draws,).
        square: Sum of squares of x around it, (draws,).
        points: How many there are, (draws,).
        residual: Deviation of the points around the line, with points - 2 below, (draws,).
    """

    slope: Array
    height: Array
    middle: Array
    square: Array
    points: Array
    residual: Array

    def at(self, x: Array) -> Array:
        """Returns the lines at places: (places,) -> (draws, places)."""
        away = x[None] - self.middle[:, None]
        found: Array = self.height[:, None] + self.slope[:, None] * away
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A power law y = K x^exponent with its 95 % band.

    Attributes:
        exponent: Slope of the line on log-log axes.
        low: Lower end of its interval.
        high: Upper end.
        scale: K.
        points: Points that it is fitted to.
        residual: Deviation of log y around the line.
        x: Places, rising.
        y: The law there.
        band_low: Lower edge of the band there.
        band_high: Upper edge.
    """

    exponent: float
    low: float
    high: float
    scale: float
    points: int
    residual: float
    x: tuple[float, ...]
    y: tuple[float, ...]
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]


def lines(x: Array, y: Array, chosen: Mask) -> Line:
    """Fits a line to the chosen points of each draw; nan where fewer than two x are chosen.

    Args:
        x: (points,).
        y: (draws, points).
        chosen: Which points count, (draws, points).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        points = chosen.sum(1).astype(float)
        middle = (chosen * x).sum(1) / points
        height = (chosen * y).sum(1) / points
        away = chosen * (x[None] - middle[:, None])
        square = (away**2).sum(1)
        slope = (away * (y - height[:, None])).sum(1) / np.where(square > 0, square, np.nan)
        off = chosen * (y - height[:, None] - slope[:, None] * away)
        residual = np.sqrt((off**2).sum(1) / np.maximum(points - 2, 1))
    return Line(slope, height, middle, square, points, residual)


def law(
    x: Array,
    found: tuple[Array, Mask],
    drawn: tuple[Array, Mask],
    dice: np.random.Generator,
) -> Law | None:
    """Returns the power law through chosen points; None for fewer than three, or one x.

    Args:
        x: Logarithm of x of each point, (points,).
        found: Logarithm of y, (1, points), and which of them count.
        drawn: The same for resampled trainings, (draws, points).
        dice: Draws what the points lie off the line.
    """
    line = lines(x, *found)
    count = int(line.points[0])
    if count < LEAST or not line.square[0] > 0:
        return None
    many = lines(x, *drawn)
    off = float(line.residual[0])
    slopes, heights = dice.standard_t(count - 2, (2, len(many.slope)))
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = many.slope + off / np.sqrt(many.square) * slopes
        height = many.height + off / np.sqrt(many.points) * heights
    usable = np.isfinite(slope)
    places = np.linspace(*_ends(x[found[1][0]]), GRID)
    away = places[None] - many.middle[usable, None]
    curves = height[usable, None] + slope[usable, None] * away
    straight = line.at(places)[0]
    low, high = interval(curves, straight)
    least, most = interval(slope[usable], line.slope)
    return Law(
        exponent=float(line.slope[0]),
        low=float(least[0]),
        high=float(most[0]),
        scale=float(np.exp(line.at(np.zeros(1))[0, 0])),
        points=count,
        residual=float(line.residual[0]),
        x=_plain(places),
        y=_plain(straight),
        band_low=_plain(low),
        band_high=_plain(high),
    )


def interval(drawn: Array, found: Array) -> tuple[Array, Array]:
    """Returns the 95 % interval of the basic bootstrap: draws (draws, ...) mirrored at `found`."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.atleast_1d(2 * found - high), np.atleast_1d(2 * found - low)


def _ends(x: Array) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _plain(logarithms: Array) -> tuple[float, ...]:
    return tuple(float(each) for each in np.exp(np.clip(logarithms, -700, 700)))
