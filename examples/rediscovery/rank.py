"""Prints where the written network ranks among all that a search trained.

    python examples/rediscovery/rank.py runs/convnext_steps

Ranked are the validation scores of the trials, one training each. The interval is what the noise of
a training leaves: its variance is that between the fresh seeds of the last step, pooled, plus that
of drawing so many validation images, p (1 - p) / n. The images are shared by all trials, so the
second part errs on the side of a wide interval; so does none of it know that the last step may
train longer than a trial.
"""

from __future__ import annotations

import csv
import json
import sys
from math import sqrt
from pathlib import Path

from flopwise.search.statistics import Spread, standing


def main(folder: Path) -> None:
    trials = [row for row in _rows(folder / "trials.csv") if row["state"] == "done"]
    longest = max(float(row.get("share", 1)) for row in trials)
    trials = [row for row in trials if float(row.get("share", 1)) == longest]
    written = next((row for row in trials if row["written"] == "true"), None)
    if written is None:
        sys.exit(f"the network as it is written is not among the finished trials of {folder}")
    own = float(written["val_top1"])
    others = [float(row["val_top1"]) for row in trials if row is not written]
    noise = _noise(folder, own)
    place = standing(own, others, noise)
    print(
        f"the written network is {place.rank} of {place.of} ({own:.2f} % of the validation "
        f"images); 95 % interval: {place.low} to {place.high}"
    )
    print(
        f"deviation of one training: {noise.deviation:.2f} points, {noise.freedom} degrees of "
        "freedom, images counted in"
    )


def _noise(folder: Path, score: float) -> Spread:
    """Returns the deviation of one validation score, from the fresh seeds and the images."""
    finals = _rows(folder / "finals.csv") if (folder / "finals.csv").exists() else []
    repeated = [(float(row["test_top1_sd"]), len(row["seeds"].split())) for row in finals]
    freedom = sum(seeds - 1 for _, seeds in repeated)
    if not freedom:
        return Spread(0.0, 0)
    between = sum(sd**2 * (seeds - 1) for sd, seeds in repeated) / freedom
    images = json.loads((folder / "data.json").read_text(encoding="utf-8"))["images"]["validation"]
    return Spread(sqrt(between + score * (100 - score) / images), freedom)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the folder of a search, as in  rank.py runs/convnext_steps")
    main(Path(sys.argv[1]))
