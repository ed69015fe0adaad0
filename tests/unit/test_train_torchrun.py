"""Trainings that torchrun starts: short of memory, killed, left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from flopwise.dsl import Recipe
from flopwise.errors import RunError
from flopwise.train import Stop, open_data, train
from tests.searches import epochs_of, from_a_shell, rows_of, tiny, until

PLAIN = Recipe(epochs=3, images=240, batch=24, opt="sgd", lr=0.05, crop=1.0, warmup=0.5)
SPEC = tiny("""
vars: {w: 8, d: 1}
search:
  space: {w: {range: [4, 16], step: 4}}
  trials: 2
  sampler: {kind: random, seed: 3}
  final: {top: 1, seeds: 1, epochs: 1}
train: {data: digits, epochs: 8, batch: 32}
""")


class Fragile(nn.Module):
    """Its second process has memory for six images, and is killed when the second epoch begins."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Linear(64, 10)
        self.home = home

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and os.environ.get("RANK") == "1":
            if len(x) > 6:
                raise MemoryError
            if (self.home / "last.pt").exists():
                with (self.home.parent / "killed").open("a") as file:
                    print(os.getpid(), file=file)
                os.kill(os.getpid(), signal.SIGKILL)
        return self.body(x.flatten(1))


def members(folder: str, torchrun: bool = False) -> list[int]:
    """Returns the processes of groups whose files lie below a folder, torchrun's own or not."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().decode().split("\0")
        except OSError:
            continue
        ours = "flopwise.train.member" in words and any(w.startswith(folder) for w in words)
        if ours and ("torch.distributed.run" in words) <= torchrun:
            found.append(int(each.parent.name))
    return found


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Makes a folder for temporary files that tells the processes of a test from all others."""
    place = tempfile.mkdtemp(dir="/tmp")
    monkeypatch.setenv("TMPDIR", place)
    monkeypatch.setattr(tempfile, "tempdir", place)
    yield place
    shutil.rmtree(place)


@pytest.mark.slow
def test_short_memory_halves_the_piece_a_killed_process_comes_again_and_two_end_the_training(
    tmp_path: Path, files: str
) -> None:
    home, told = tmp_path / "two", []
    data = open_data(PLAIN, size=(8, 8))
    with pytest.raises(RunError, match=r"died twice in the same epoch: Signal 9 \(SIGKILL\)"):
        train(
            Fragile(home),
            data,
            PLAIN,
            home,
            processes=2,
            on_epoch=lambda each: told.append(each.epoch),
        )
    assert told == [1] and len((tmp_path / "killed").read_text().split()) == 2
    assert torch.load(home / "last.pt", weights_only=True)["piece"] == 6
    assert not members(files, torchrun=True) and not list(Path(files).iterdir())
    resumed = train(Fragile(home), data, PLAIN, home)
    whole = train(Fragile(tmp_path), data, PLAIN, tmp_path / "one")
    assert [each.epoch for each in resumed.history] == [1, 2, 3]
    assert resumed.last.loss == pytest.approx(whole.last.loss, abs=1e-5)
    assert resumed.piece == 6


@pytest.mark.slow
def test_an_error_of_one_process_is_raised_as_it_is_and_a_hook_s_own_error_ends_all(
    tmp_path: Path, files: str
) -> None:
    data = open_data(PLAIN, size=(8, 8))
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Wrong())
    with pytest.raises(ZeroDivisionError, match="rank 1"):
        train(wrong, data, PLAIN, tmp_path / "a", processes=2)

    def interrupt(epoch: object) -> None:
        raise KeyboardInterrupt

    right = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(KeyboardInterrupt):
        train(right, data, PLAIN, tmp_path / "b", processes=2, on_epoch=interrupt)
    assert within(5, lambda: not members(files, torchrun=True))
    state = torch.load(tmp_path / "b" / "last.pt", weights_only=True)
    assert len(state["history"]) == 1

    def stop(epoch: object) -> None:
        raise Stop

    stopped = train(right, data, PLAIN, tmp_path / "b", processes=2, on_epoch=stop)
    assert stopped.stopped and stopped.last.epoch == 2 and stopped.processes == 2


class Wrong(nn.Module):
    """Fails in one process."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and os.environ.get("RANK") == "1":
            raise ZeroDivisionError("rank 1")
        return x


@pytest.mark.slow
def test_two_workers_search_with_two_processes_each_and_lose_nothing_to_kills(
    tmp_path: Path, files: str
) -> None:
    (tmp_path / "net.yaml").write_text(SPEC)
    words = ["search", "net.yaml", "--workers", "2", "--gpus-per-trial", "2", "--out", "run"]
    search = from_a_shell(*words, cwd=tmp_path, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    home = tmp_path / "run"
    until(lambda: len(members(files)) == 4 and epochs_of(home) >= 1, search)
    assert json.loads((home / "study.json").read_text())["processes"] == 2
    workers = {each: parent(parent(each)) for each in members(files)}
    first, second = sorted(set(workers.values()))
    os.kill(next(each for each in workers if workers[each] == second), signal.SIGKILL)
    os.kill(first, signal.SIGKILL)  # the one group comes again, the other is another worker's
    left = {each for each in workers if workers[each] == first}
    until(lambda: not left & {*members(files)}, search, seconds=20)  # they are nobody's
    said, _ = search.communicate(timeout=1200)
    assert search.returncode == 0, said
    assert "no GPU is here: each training is shared by 2 processes on the CPU" in said
    assert "was killed (signal 9); another takes its place" in said
    rows = rows_of(home)
    assert [(row["state"], row["epochs"]) for row in rows] == [("done", "8")] * 2
    assert not members(files, torchrun=True)


def parent(process: int) -> int:
    """Returns the process that started one; 0 when that is over."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
