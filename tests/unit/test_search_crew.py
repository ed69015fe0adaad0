"""`search --workers`: what each process sees, and what becomes of them when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.searches import from_a_shell, lines_of, lives, rows_of, tiny, until

SPEC = tiny("""
vars: {w: 8, d: 2}
search:
  space:
    w: {range: [8, 32], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 3M}}
  trials: 14
  sampler: {kind: random, seed: 3}
  evaluator: {function: ./score.py:score}
train: {data: digits, epochs: 1}
""")

SCORE = """
import os, time
from pathlib import Path

def score(network, recipe):
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    seen = [os.environ.get(name, "-") or "none" for name in names]
    home = Path(__file__).parent
    with (home / "notes.txt").open("a") as file:
        print(network.hash, os.getpid(), *seen, file=file)
    while (home / "hold").exists():
        time.sleep(0.02)
    return network.graph.macs / 1e6
"""


def begun(home: Path, **environment: str) -> subprocess.Popen[str]:
    shell = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    words = ["search", "net.yaml", "--workers", "3", "--out", "run", "--allow-code"]
    return from_a_shell(*words, cwd=home, env={**shell, **environment})


def notes(home: Path) -> list[list[str]]:
    return lines_of(home / "notes.txt")


def pids(home: Path) -> list[str]:
    return list(dict.fromkeys(pid for _, pid, *_ in notes(home)))


def done(home: Path) -> set[str]:
    if not (home / "run" / "trials.csv").exists():
        return set()
    return {row["hash"] for row in rows_of(home / "run") if row["state"] == "done"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(SPEC)
    (tmp_path / "score.py").write_text(SCORE)
    return tmp_path


@pytest.mark.slow
def test_workers_have_a_gpu_each_survive_a_kill_and_all_leave_at_ctrl_c(home: Path) -> None:
    hold = home / "hold"
    hold.touch()
    process = begun(home, CUDA_VISIBLE_DEVICES="3,GPU-5e")
    until(lambda: len(pids(home)) == 3, process)
    killed = next(note for note in notes(home) if note[2] == "GPU-5e")
    os.kill(int(killed[1]), signal.SIGKILL)
    until(lambda: len(pids(home)) == 4, process)
    another = notes(home)[-1]
    assert another[0] == killed[0] and another[2] == "GPU-5e"  # its trial, on its GPU
    assert sorted(note[2] for note in notes(home)[:3]) == ["3", "3", "GPU-5e"]
    hold.unlink()
    until(lambda: len(done(home)) >= 4, process)
    hold.touch()
    ended, first = done(home), pids(home)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "go on with: flopwise search" in told
    assert "was killed (signal 9); another takes its place" in told
    assert "3 workers share 2 GPUs (3, GPU-5e): up to 2 trainings at once on each" in told
    assert not any(lives(pid) for pid in first)

    hold.unlink()
    process = begun(home, CUDA_VISIBLE_DEVICES="")
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert [row["state"] for row in rows_of(home / "run")] == ["done"] * 14
    assert done(home) == {note[0] for note in notes(home)}
    later = [note for note in notes(home) if note[1] not in first]
    assert not {note[0] for note in later} & ended  # nothing that had ended was done again
    share = str(max((os.cpu_count() or 1) // 3, 1))
    assert {tuple(note[2:]) for note in later} == {("none", share)}
