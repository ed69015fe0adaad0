"""Searches over a table of known accuracies, against what brute force finds in the same table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from flopwise.design.scoring import study_scores
from flopwise.dsl import load
from flopwise.search import search
from flopwise.search.agreement import PLAIN

SPEC = """
spec: 1
name: net
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8, d: 1}
net:
  stem: {block: conv, dim: $w}
  body: {block: basic, depth: $d}
  head: {block: classifier}
search:
  space:
    w: {range: [4, 28], step: 4}
    d: {range: [1, 4]}
  evaluator: {table: known.csv, scores: {top1: top1}}
"""
POINTS = list(product(range(4, 29, 4), range(1, 5)))
Point = tuple[int, int]


@pytest.fixture
def known(tmp_path: Path) -> dict[Point, tuple[float, int]]:
    """Accuracy and MACs of every point; the accuracies lie in a table, and grow with the MACs."""
    (tmp_path / "net.yaml").write_text(SPEC)
    noise = np.random.default_rng(5).normal(0, 4, len(POINTS))
    scores = {p: round(10 * np.log(p[0] * p[1]) + n, 3) for p, n in zip(POINTS, noise, strict=True)}
    with (tmp_path / "known.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["w", "d", "top1"])
        rows.writerows([*point, score] for point, score in scores.items())
    spec = load(tmp_path / "net.yaml")
    graphs = {point: spec.network({"w": point[0], "d": point[1]}).graph for point in POINTS}
    return {point: (scores[point], graphs[point].macs) for point in POINTS}


def with_lines(folder: Path, lines: str) -> Path:
    (folder / "net.yaml").write_text(SPEC + lines)
    return folder / "net.yaml"


def point_of(picks: Mapping[str, object]) -> Point:
    return int(str(picks["w"])), int(str(picks["d"]))


def unbeaten(known: Mapping[Point, tuple[float, int]]) -> set[Point]:
    """Returns the points that no other beats in accuracy and MACs."""

    def beats(a: Point, b: Point) -> bool:
        (score, macs), (other, more) = known[a], known[b]
        return score >= other and macs <= more and (score, macs) != (other, more)

    return {b for b in known if not any(beats(a, b) for a in known)}


@pytest.mark.parametrize("kind", ["nsga2", "random"])
@pytest.mark.parametrize("trials", [12, len(POINTS)])
def test_a_front_of_two_objectives_is_that_of_all_that_was_tried(
    kind: str, trials: int, tmp_path: Path, known: dict[Point, tuple[float, int]]
) -> None:
    lines = "  objective: [{maximize: top1}, {minimize: macs}]\n"
    spec = load(with_lines(tmp_path, f"{lines}  sampler: {{kind: {kind}}}\n  trials: {trials}\n"))
    outcome = search(spec, tmp_path / "study")
    tried = {point_of(row.picks): known[point_of(row.picks)] for row in outcome.trials}
    assert len(tried) == len(outcome.trials) == trials, "nothing is tried twice"
    assert {point_of(row.picks) for row in outcome.front} == unbeaten(tried)


WINDOWS = ((0, 400_000), (400_000, 1_000_000), (1_000_000, 1_400_000), (1_400_000, 9_000_000))


def test_the_winners_of_several_budgets_are_one_front(
    tmp_path: Path, known: dict[Point, tuple[float, int]]
) -> None:
    windows = ", ".join(f"{{macs: {{min: {low}, max: {high}}}}}" for low, high in WINDOWS)
    path = with_lines(tmp_path, f"  budget: [{windows}]\n  trials: {len(POINTS)}\n")
    outcome = search(load(path), tmp_path / "study")
    inside = [{p: v for p, v in known.items() if low <= v[1] <= high} for low, high in WINDOWS]
    best = [max(each, key=lambda p: each[p]) for each in inside]
    assert [part.winner and point_of(part.winner.picks) for part in outcome.parts] == best
    assert [len(part.trials) for part in outcome.parts] == [len(each) for each in inside]
    front = unbeaten({point: known[point] for point in best})
    assert [row["front"] for row in outcome.budgets] == [point in front for point in best]


def test_scores_stand_beside_plain_baselines_within_the_window(
    tmp_path: Path, known: dict[Point, tuple[float, int]]
) -> None:
    low, high = WINDOWS[1]
    path = with_lines(tmp_path, f"  budget: {{macs: {{min: {low}, max: {high}}}}}\n  trials: 28\n")
    search(load(path), tmp_path / "study")
    inside = [value for value in known.values() if low <= value[1] <= high]
    found = study_scores(tmp_path / "study", ["params"])
    assert [each.score for each in found] == list(PLAIN)
    (macs,) = (each for each in found if each.score == "macs")
    assert macs.trials == len(inside)
    assert macs.spearman == pytest.approx(stats.spearmanr(*zip(*inside, strict=True)).statistic)
    assert macs.spearman_95[0] <= macs.spearman <= macs.spearman_95[1]
