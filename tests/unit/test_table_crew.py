"""`table --train` and `scale` by several processes give what one process gives."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flopwise.cli import main
from flopwise.search.rows import Run, read_runs
from tests.searches import from_a_shell, lives, until

SPEC = """
spec: 1
name: rows
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8}
train: {epochs: EPOCHS, batch: 64, images: 300, lr: 3e-3, crop: 1, flip: false}
net:
  stem: {block: conv, dim: $w, stride: 2, norm: bn, act: relu}
  head: {block: classifier}
table:
  rows:
    first: {}
    wide: {set: {w: 16}}
    late: {set: {net.stem.stride: 1}}
"""
TABLE = ("table", "rows.yaml", "--train", "digits", "--seeds", "2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "rows.yaml").write_text(SPEC.replace("EPOCHS", "2"))
    return tmp_path


def begun(home: Path, *words: str) -> subprocess.Popen[str]:
    return from_a_shell(*words, cwd=home, env={**os.environ, "OMP_NUM_THREADS": "1"})


def hands(process: subprocess.Popen[str]) -> list[int]:
    """Returns the workers of a process."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def runs(folder: Path) -> dict[tuple[str, int], Run]:
    return {(run.row, run.seed): run for run in read_runs(folder / "results.jsonl")}


def test_workers_of_a_table_give_what_one_process_gives(home: Path) -> None:
    words = [sys.executable, "-m", "flopwise", *TABLE, "--json", "--folder"]
    found = []
    for folder, more in (("one", []), ("two", ["--workers", "2"])):
        done = subprocess.run(
            [*words, folder, *more], cwd=home, capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout) | {"folder": ""})
    assert found[0] == found[1]
    alone, shared = runs(home / "one"), runs(home / "two")
    assert alone.keys() == shared.keys() and len(shared) == 6
    for key, run in alone.items():
        assert run.correct == shared[key].correct and run.validation == shared[key].validation
    assert done.stderr.count("% of the test images") == 6 and "; 0 left" in done.stderr
    commands = {run.made["command"] for run in shared.values()}
    assert commands == {"flopwise " + " ".join([*TABLE, "--json", "--folder", "two", *more])}
    assert {path.name for path in (home / "two" / "workers").iterdir()} == {"0.log", "1.log"}


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_workers_leave_with_who_started_them_and_the_rest_is_done_later(
    home: Path, end: signal.Signals
) -> None:
    (home / "rows.yaml").write_text(SPEC.replace("EPOCHS", "12"))
    results = home / "runs" / "rows" / "results.jsonl"
    words = (*TABLE, "--workers", "2")
    process = begun(home, *words)
    until(lambda: results.exists(), process)
    first = hands(process)
    os.kill(first[0], signal.SIGKILL)  # another takes its place
    until(lambda: len({*hands(process)} - {*first}) == 1, process)
    workers = hands(process)
    process.send_signal(end)
    told, _ = process.communicate(timeout=60)
    if end == signal.SIGINT:
        assert process.returncode == 130 and f"go on with: flopwise {' '.join(words)}" in told
        assert "was killed (signal 9); another takes its place" in told
    until(lambda: not any(map(lives, workers)), seconds=30)
    before = results.read_text()
    assert 1 <= len(before.splitlines()) < 6
    process = begun(home, *words)
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert results.read_text().startswith(before) and len(runs(results.parent)) == 6


@pytest.mark.slow
def test_workers_of_a_family_do_its_trainings(home: Path) -> None:
    words = ("scale", "rows.yaml", "--train", "digits", "--epochs", "1,2", "--seeds", "1")
    process = begun(home, *words, "--workers", "2")
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert len(runs(home / "runs" / "rows-scale")) == 6
    assert told.count("wrote ") == 1 and "95 %: none, for nothing was trained twice" in told


@pytest.mark.slow
def test_gpus_that_share_a_training_give_what_one_gives(home: Path) -> None:
    words = (*TABLE, "--rows", "first,late")
    found = []
    for folder, more in (("one", ()), ("two", ("--workers", "2", "--gpus", "2"))):
        process = begun(home, *words, "--folder", folder, *more)
        told, _ = process.communicate(timeout=240)
        assert process.returncode == 0, told
        found.append(runs(home / folder))
    assert "each training is shared by 2 processes on the CPU" in told
    alone, shared = found
    assert {run.processes for run in shared.values()} == {2} and alone.keys() == shared.keys()
    for key, run in alone.items():
        assert run.processes == 1 and run.identity == shared[key].identity
        assert run.validation["loss"] == pytest.approx(shared[key].validation["loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("table", "-", "--train", "digits"), "write the spec to a file"),
        (("table", "rows.yaml"), "name images, as in  --train digits"),
        (("scale", "--from", "points.csv"), "leave SPEC, --train, --workers and --gpus out"),
    ],
)
def test_workers_that_have_nothing_to_train_are_refused(
    home: Path,
    words: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(home)
    text = (home / "rows.yaml").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main([*words, "--workers", "2"]) == 1
    assert told in capsys.readouterr().err
    assert not (home / "runs").exists()


@pytest.mark.parametrize(("gpus", "told"), [("0,1", "--workers 2 would use all"), ("0", "")])
def test_gpus_that_one_training_at_a_time_leaves_idle_are_named(
    home: Path,
    gpus: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.chdir(home)
    assert main(["table", "rows.yaml", "--train", "digits", "--rows", "first", "--seeds", "1"]) == 0
    errors = capsys.readouterr().err
    assert told in errors and ("would use all" in errors) == bool(told)
