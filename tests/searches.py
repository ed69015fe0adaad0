"""What tests of searches share: a small network, stand-ins for trainings, processes, tables."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flopwise.dsl import Network, Recipe
from flopwise.search import Evaluator, Measure, Verdict
from flopwise.search.evaluator import OnEpoch

ROOT = Path(__file__).parents[1]

NET = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
net:
  stem: {block: conv_stem, dim: $w, kernel: 3, stride: 1}
  body: {block: basic, dim: $w, depth: $d}
  head: {block: classifier, pool: avg}
"""


def tiny(rest: str) -> str:
    """Returns a spec of a small network; the rest has the `vars` w and d, `search` and `train`."""
    return NET + rest.lstrip()


def halved(rest: str) -> str:
    """Returns the same for a quarter of the cost: for searches that really train."""
    return tiny(rest).replace("stride: 1", "stride: 2, pool: none")


class Book:
    """A table look-up in place of trainings: larger is better, a little noise per seed."""

    def __init__(self, fails: Callable[[Network], Exception | None] = lambda _: None) -> None:
        self.fails = fails
        self.trained: list[tuple[str, int]] = []
        self.judged: list[tuple[str, int]] = []

    def evaluate(
        self, network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch
    ) -> Measure:
        if error := self.fails(network):
            raise error
        self.trained.append((network.hash, recipe.seed))
        score = 50 + 10 * np.log10(network.graph.macs / 1e5) + recipe.seed % 3
        on_epoch(1, 1, {"top1": score})
        scores = {"top1": float(score), "balanced": float(score)}
        return Measure(scores=scores, epochs=1, seconds=0.01, images_per_s=1000.0)

    def judge(self, network: Network, recipe: Recipe, measure: Measure) -> Verdict:
        self.judged.append((network.hash, recipe.seed))
        right = np.random.default_rng(recipe.seed).random(400) < measure.scores["top1"] / 100
        return Verdict(scores={"top1": 100 * float(right.mean())}, correct=right)

    def evaluator(self, **facts: Any) -> Evaluator:
        return Evaluator(evaluate=self.evaluate, judge=self.judge, facts=facts)


def counted(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
    """Counts MACs in place of a training, and tells of every epoch."""
    score = network.graph.macs / 1e4
    for epoch in range(1, recipe.epochs + 1):
        on_epoch(epoch, recipe.epochs, {"top1": score})
    return Measure(scores={"top1": score}, epochs=recipe.epochs)


def noted(
    notes: Path, before: Callable[[Network, Path], object] = lambda *_: None, **more: Any
) -> Evaluator:
    """Returns an evaluator for a process that a test starts, stops and starts again.

    A training goes on after its last epoch on disk; every epoch is a line `training epoch process`
    of `notes`. `before(network, folder)` runs before each epoch: it may wait, or do harm.
    """

    def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        folder.mkdir(parents=True, exist_ok=True)
        done = folder / "epochs.txt"
        first = len(done.read_text().split()) if done.exists() else 0
        for epoch in range(first + 1, recipe.epochs + 1):
            before(network, folder)
            with done.open("a") as file:
                print(epoch, file=file)
            with notes.open("a") as file:
                print(folder.name, epoch, os.getpid(), file=file)
            on_epoch(epoch, recipe.epochs, {})
        score = int(network.hash[:6], 16) / 1e6
        return Measure(scores={"top1": score}, epochs=recipe.epochs, seconds=0.1)

    return Evaluator(evaluate=evaluate, **more)


def lines_of(notes: Path) -> list[list[str]]:
    """Returns the words of each line of the notes so far."""
    return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []


def epochs_of(study: Path) -> int:
    """Returns how many epochs of trials are on disk, of real trainings or of noted ones."""
    files = [*study.glob("trials/*/epochs.jsonl"), *study.glob("trials/*/epochs.txt")]
    return sum(len(file.read_text().splitlines()) for file in files)


def rows_of(study: Path, table: str = "trials") -> list[dict[str, str]]:
    """Returns the rows of a table that a search wrote."""
    with (study / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_clock(study: Path) -> list[dict[str, str]]:
    """Returns the trials without what differs whenever the same is done again."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(study)]


def script(text: str) -> str:
    """Returns a program that finds what is here, but an installed flopwise before ours."""
    return f"import sys\nsys.path.append({str(ROOT)!r})\n{text}"


def started(text: str, *words: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Starts a program, given as its text, in a process of its own with one thread."""
    command = [sys.executable, "-c", script(text), *map(str, words)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **threads}, stderr=subprocess.PIPE, text=True
    )


def from_a_shell(*words: object, cwd: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Starts a verb as a person does, who may press Ctrl-C; all it says is in one stream."""
    return subprocess.Popen(
        [sys.executable, "-m", "flopwise", *map(str, words)],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell in the background ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def until(
    true: Callable[[], object], *processes: subprocess.Popen[str], seconds: float = 240
) -> None:
    """Waits for something to become true, which nobody waits for once a process has ended."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def lives(pid: int | str) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ended(*processes: subprocess.Popen[str]) -> None:
    """Waits for processes to end well."""
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
