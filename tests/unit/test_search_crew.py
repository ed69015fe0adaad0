"""`search --workers`: what each process sees, and what becomes of them when things go wrong."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
    w: {range: [8, 32], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 3M}}
  trials: 14
  sampler: {kind: random, seed: 3}
  evaluator: {function: ./score.py:score}
train: {data: digits, epochs: 1}
"""

SCORE = """
import os, time
from pathlib import Path

def score(network, recipe):
    seen = [os.environ.get(name, "-") for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
    home = Path(__file__).parent
    with (home / "notes.txt").open("a") as file:
        print("\t".join([network.hash, str(os.getpid()), *seen]), file=file)
    while (home / "hold").exists():
        time.sleep(0.02)
    return network.graph.macs / 1e6
"""


def started(home: Path, **environment: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "flopwise", "search", "net.yaml", "--workers", "3"]
    shell = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.Popen(
        [*words, "--out", "run", "--allow-code"],
        cwd=home,
        env={**shell, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell in the background ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def notes(home: Path) -> list[list[str]]:
    path = home / "notes.txt"
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def pids(home: Path) -> list[str]:
    return list(dict.fromkeys(pid for _, pid, *_ in notes(home)))


def rows(home: Path) -> list[dict[str, str]]:
    if not (home / "run" / "trials.csv").exists():
        return []
    with (home / "run" / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def done(home: Path) -> set[str]:
    return {row["hash"] for row in rows(home) if row["state"] == "done"}


def until(process: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    while not true():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(SPEC)
    (tmp_path / "score.py").write_text(SCORE)
    return tmp_path


@pytest.mark.slow
def test_workers_have_a_gpu_each_survive_a_kill_and_all_leave_at_ctrl_c(home: Path) -> None:
    hold = home / "hold"
    hold.touch()
    process = started(home, CUDA_VISIBLE_DEVICES="3,GPU-5e")
    until(process, lambda: len(pids(home)) == 3)
    killed = next(note for note in notes(home) if note[2] == "GPU-5e")
    os.kill(int(killed[1]), signal.SIGKILL)
    until(process, lambda: len(pids(home)) == 4)
    another = notes(home)[-1]
    assert another[0] == killed[0] and another[2] == "GPU-5e"  # its trial, on its GPU
    assert sorted(note[2] for note in notes(home)[:3]) == ["3", "3", "GPU-5e"]
    hold.unlink()
    until(process, lambda: len(done(home)) >= 4)
    hold.touch()
    ended, first = done(home), pids(home)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "go on with: flopwise search" in told
    assert "was killed (signal 9); another takes its place" in told
    assert "3 workers share 2 GPUs (3, GPU-5e): up to 2 trainings at once on each" in told
    assert not any(lives(pid) for pid in first)

    hold.unlink()
    process = started(home, CUDA_VISIBLE_DEVICES="")
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert [row["state"] for row in rows(home)] == ["done"] * 14
    assert done(home) == {note[0] for note in notes(home)}
    later = [note for note in notes(home) if note[1] not in first]
    assert not {note[0] for note in later} & ended  # nothing that had ended was done again
    share = str(max((os.cpu_count() or 1) // 3, 1))
    assert {tuple(note[2:]) for note in later} == {("", share)}
