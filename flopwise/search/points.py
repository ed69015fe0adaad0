"""The points of a scaling law: what each training computed, and the loss it came to.

Compute is counted, never timed: multiply-adds of a forward pass, times three for a forward and a
backward pass (one more product for the gradient of the inputs, one for that of the weights), times
the images that were looked at. The first layer needs no gradient of its inputs, so the true number
is a little smaller (Kaplan et al. 2020, arXiv:2001.08361, section 2.1, counts alike).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.errors import RunError, many, nearest

if TYPE_CHECKING:  # types only: it imports torch
    from flopwise.search.rows import Run

__all__ = ["COUNTED", "PASS", "Point", "point_of", "read_points", "training_macs"]

PASS = 3
"""A forward and a backward pass, in forward passes."""
COUNTED = "multiply-adds of the training: 3 x those of a forward pass x images seen"
"""What compute is, as it stands on every axis and in every file."""
WANTED = ("compute", "loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A training of a family.

    Attributes:
        compute: Multiply-adds of the whole training, or what a printed file counts.
        loss: Mean cross-entropy on images that were held out, above 0.
        model: The network's name; empty where a file names none.
        macs: Multiply-adds of a forward pass; None where they are not known.
        epochs: Passes over the training images, perhaps a part of one.
        lr: Peak learning rate.
        seed: Which of several equal trainings it is.
        images: Training images that were looked at.
        test_loss: Mean cross-entropy on the test split, by which nothing is chosen.
        test_top1: Per cent of the test images that were classified right.
    """

    compute: float
    loss: float
    model: str = ""
    macs: float | None = None
    epochs: float | None = None
    lr: float | None = None
    seed: float | None = None
    images: float | None = None
    test_loss: float | None = None
    test_top1: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values: a row of `points.csv`."""
        return {name: _whole(value) for name, value in asdict(self).items()}


COLUMNS = ("model", *(each.name for each in fields(Point) if each.name != "model"))


def training_macs(macs: int, images: int, passes: int = 1) -> int:
    """Returns the multiply-adds of a training.

    >>> training_macs(1_000_000, 50_000)
    150000000000

    Args:
        macs: Multiply-adds of a forward pass over one image.
        images: Images that were looked at, over all epochs.
        passes: Forward and backward passes over each; two for sharpness-aware minimisation.
    """
    return PASS * macs * images * passes


def point_of(run: Run, model: str) -> Point:
    """Returns a finished training as a point; its loss is that of the last epoch on validation."""
    macs = run.costs["macs"]
    return Point(
        compute=training_macs(macs, run.seen, run.passes),
        loss=run.validation["loss"],
        model=model,
        macs=macs,
        epochs=run.epochs,
        lr=run.lr,
        seed=run.seed,
        images=run.seen,
        test_loss=run.scores["loss"],
        test_top1=run.scores["top1"],
    )


def read_points(path: Path) -> list[Point]:
    """Reads trainings from a CSV with the columns compute and loss; others are optional.

    Lines that begin with # are comments. Columns that mean nothing here are left out.

    Raises:
        RunError: There is no such file, a column is missing, or a cell is no number above 0.
    """
    if not path.is_file():
        raise RunError(f"there is no file {path} (a CSV with the columns compute and loss)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is no text ({error.reason} at byte {error.start})") from None
    lines = text.splitlines()
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    rows = list(csv.reader(line for _, line in numbered))
    heads = [each.strip().lower() for each in rows[0]] if rows else []
    _check_heads(path, heads)
    cells = zip((number for number, _ in numbered[1:]), rows[1:], strict=False)
    points = [_point(f"{path}:{number}", heads, row) for number, row in cells]
    if len(points) < 2:
        raise RunError(f"{path} has {many(len(points), 'trainings')}; a law needs several")
    return points


def _check_heads(path: Path, heads: Sequence[str]) -> None:
    """Refuses a file without the columns that are needed."""
    for name in WANTED:
        if name not in heads:
            near = nearest(name, [each for each in heads if each not in COLUMNS])
            meant = f"; is it '{near}'? then rename it" if near else ""
            there = ", ".join(heads) or "none"
            also = ", ".join(each for each in COLUMNS if each not in WANTED)
            raise RunError(
                f"{path}:1 has no column '{name}' (columns: {there}){meant}; "
                f"wanted are compute and loss, and where they are known {also}"
            )


def _point(place: str, heads: Sequence[str], row: Sequence[str]) -> Point:
    cells = {name: cell.strip() for name, cell in zip(heads, row, strict=False)}
    known = dict(_numbers(place, cells))
    for name in WANTED:
        if name not in known:
            raise RunError(f"{place}: '{name}' is empty; write a number above 0")
    return Point(model=cells.get("model", ""), **known)


def _numbers(place: str, cells: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yields the columns that hold a number; every one but seed and test scores is above 0."""
    for name in COLUMNS[1:]:
        if text := cells.get(name, ""):
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            free = name in ("seed", "test_loss", "test_top1")
            if not isfinite(value) or (value <= 0 and not free):
                raise RunError(f"{place}: '{name}' is {text!r}; write a number above 0")
            yield name, value


def _whole(value: Any) -> Any:
    """Returns a number without a fraction as a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
