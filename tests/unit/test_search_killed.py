"""kill -9 at any moment: nothing finished is lost, nothing is trained twice."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.searches import ended, epochs_of, started, tiny, without_clock

SPEC = tiny("""
vars: {w: 8, d: 2}
search:
  space:
    w: {range: [4, 32], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 700k}}
  trials: 12
  sampler: {kind: tpe, seed: 3}
  final: {top: 1, seeds: 2, epochs: 3}
train: {data: digits, epochs: 3, lr: 0.004}
""")

SEARCH = """
import sys, time
from pathlib import Path
from flopwise.dsl import load
from flopwise.search import search
from tests.searches import noted

home = Path(sys.argv[2])
search(load(sys.argv[1]), home, evaluator=noted(home / "notes.txt", lambda *_: time.sleep(0.01)))
"""


def killed_after(
    process: subprocess.Popen[str], folder: Path, epochs: int, late: float = 0.0
) -> None:
    """Kills a search that many seconds after that many epochs are on disk."""
    while epochs_of(folder) < epochs and process.poll() is None:
        time.sleep(0.005)
    time.sleep(late)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_a_search_killed_at_random_ends_as_if_nothing_had_happened(
    tmp_path: Path, kills: int
) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC)
    ended(started(SEARCH, spec, tmp_path / "straight"))
    rng = random.Random(0)
    for kill in range(kills):
        process = started(SEARCH, spec, tmp_path / "killed")
        epochs = 36 * (kill + 1) // (kills + 2)
        killed_after(process, tmp_path / "killed", epochs, late=rng.random() * 0.05)
    ended(started(SEARCH, spec, tmp_path / "killed"))
    assert without_clock(tmp_path / "killed") == without_clock(tmp_path / "straight")
    assert epochs_of(tmp_path / "killed") == 12 * 3
