"""The scaling line on CIFAR-10: every planned training is in its file, and the line is theirs."""

from __future__ import annotations

import re
from itertools import product
from math import exp, log
from pathlib import Path

import numpy as np
import pytest

from flopwise.dsl import load
from flopwise.search.rows import Run, read_runs

HERE = Path(__file__).parents[2] / "examples" / "cifar10_scaling"
PRINTED = (HERE / "results" / "scaling.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Returns what was trained."""
    return list(read_runs(HERE / "results" / "results.jsonl"))


def test_every_model_has_each_budget_with_each_seed_once(runs: list[Run]) -> None:
    spec = load(HERE / "nfnets.yaml")
    planned = product([f"{row}-e{epochs}" for row in spec.rows for epochs in (1, 2, 4)], range(3))
    assert sorted((run.row, run.seed) for run in runs) == sorted(planned)
    for run in runs:
        network = spec.row(run.row.partition("-")[0]).network()
        assert (run.hash, run.costs["macs"]) == (network.hash, network.graph.macs)
        assert run.scores["top1"] == pytest.approx(100 * run.answers.mean()) and not run.reason


def test_the_printed_line_goes_through_the_printed_optimal_trainings(runs: list[Run]) -> None:
    optimal = re.findall(r"^\| (w\d+) +\| +[\d.]+M \| +(\d) \|.* optimal \|$", PRINTED, re.M)
    assert len(optimal) > 2
    points = []
    for model, epochs in optimal:
        of = [run for run in runs if run.row == f"{model}-e{epochs}"]
        mean = exp(sum(log(run.validation["loss"]) for run in of) / len(of))
        points.append((3 * of[0].costs["macs"] * of[0].seen, mean))
    slope, start = np.polyfit(*np.log(points).T, 1)
    assert f"loss = {exp(start):.4g} x compute^{slope:.3f} " in PRINTED
