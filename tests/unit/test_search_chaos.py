"""Workers killed at random and a database that goes away: the benchmark, in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.postgres import missing
from tests.machine import need

ROOT = Path(__file__).parents[2]
TRIALS = 30


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "postgres"])
def test_nothing_finished_is_lost_and_nothing_is_stuck(tmp_path: Path, storage: str) -> None:
    need(missing() if storage == "postgres" else "")
    out = tmp_path / "chaos.json"
    words = [sys.executable, "benchmarks/chaos.py", "--storage", storage, "--out", str(out)]
    words += ["--trials", str(TRIALS), "--workers", "3", "--pause", "0.3"]
    words += ["--kill", "3", "--kills", "5", "--span", "20", "--away", "2", "--limit", "400"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert not found["stuck"] and found["errors"] == 0
    assert found["kills"] >= 2 and found["restarts"] == (2 if storage == "postgres" else 0)
    states = found["states"]
    assert found["trials"] == TRIALS and set(states) <= {"COMPLETE", "FAIL"}
    assert all("took its worker down twice" in reason for reason in found["failures"])
    assert states["COMPLETE"] >= TRIALS - 3
    assert found["duplicates"] == 0
    assert found["finished trainings without a record"] == 0
    assert found["records without a finished training"] == 0
    # what was done twice was cut off between the work and the note of it, once for each kill
    assert found["trainings that ended twice"] <= found["kills"]
    assert found["epochs done twice"] <= found["kills"]
    assert found["finals"] == 6 and found["winner"]
