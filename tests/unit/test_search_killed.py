"""kill -9 at any moment: nothing finished is lost, nothing is trained twice."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

SPEC = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8, d: 2}
net:
  stem: {block: conv_stem, dim: $w, kernel: 3, stride: 1}
  body: {block: basic, dim: $w, depth: $d}
  head: {block: classifier, pool: avg}
search:
  space:
    w: {range: [4, 32], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 700k}}
  trials: 12
  sampler: {kind: tpe, seed: 3}
  final: {top: 1, seeds: 2, epochs: 3}
train: {data: digits, epochs: 3, lr: 0.004}
"""

# Three epochs of a few milliseconds, each on disk before it counts; every epoch is noted.
FUNCTION = """
import json, sys, time
from pathlib import Path
from flopwise.dsl import loads
from flopwise.search import Evaluator, Measure, search

def evaluate(network, recipe, folder, on_epoch):
    done = folder / "epochs.txt"
    first = len(done.read_text().split()) if done.exists() else 0
    for epoch in range(first + 1, recipe.epochs + 1):
        time.sleep(0.01)
        with done.open("a") as file:
            file.write(f"{epoch}\\n")
        on_epoch(epoch, recipe.epochs, {})
    value = int(network.hash[:6], 16) / 1e6
    return Measure(scores={"top1": value}, epochs=recipe.epochs, seconds=0.03)

spec = loads(Path(sys.argv[1]).read_text())
search(spec, sys.argv[2], evaluator=Evaluator(evaluate=evaluate))
"""

TRAINING = """
import sys
from pathlib import Path
from flopwise.dsl import loads
from flopwise.search import search

search(loads(Path(sys.argv[1]).read_text()), sys.argv[2], trials=int(sys.argv[3]))
"""


def start(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def epochs_in(folder: Path) -> int:
    """Returns how many epochs of trials are on disk, in whatever file the trainings note them."""
    files = [*folder.glob("trials/*/epochs.txt"), *folder.glob("trials/*/epochs.jsonl")]
    return sum(len(file.read_text().splitlines()) for file in files)


def killed_after(
    process: subprocess.Popen[str], folder: Path, epochs: int, late: float = 0.0
) -> None:
    """Kills a search that many seconds after that many epochs are on disk."""
    while epochs_in(folder) < epochs and process.poll() is None:
        time.sleep(0.005)
    time.sleep(late)
    process.kill()
    process.communicate()


def rows(folder: Path) -> list[dict[str, object]]:
    with (folder / "trials.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_a_search_killed_at_random_ends_as_if_nothing_had_happened(
    tmp_path: Path, kills: int
) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC)
    finished(start(FUNCTION, spec, tmp_path / "straight"))
    rng = random.Random(0)
    for kill in range(kills):
        process = start(FUNCTION, spec, tmp_path / "killed")
        epochs = 36 * (kill + 1) // (kills + 2)
        killed_after(process, tmp_path / "killed", epochs, late=rng.random() * 0.05)
    finished(start(FUNCTION, spec, tmp_path / "killed"))
    assert rows(tmp_path / "killed") == rows(tmp_path / "straight")
    assert epochs_in(tmp_path / "killed") == 12 * 3
