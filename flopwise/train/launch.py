"""Starts the processes of one training with torchrun, and answers what they tell.

Who asks for the training stays outside of it: it hears of every epoch, says whether to go on, and
raises what any of the processes raised. A Unix socket leads to each of them, its line of life: a
process whose line breaks ends itself and its loaders at once. So nothing is left behind, whoever
is killed, and a group is ended by letting go of the lines.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import torch
from torch import nn

from flopwise.dsl.recipe import Recipe
from flopwise.errors import RunError
from flopwise.train.data import Data
from flopwise.train.memory import ShortError
from flopwise.train.record import Epoch, OnEpoch, Result, Stop

__all__ = ["Job", "run_group"]

POLL = 0.5
"""Seconds between two looks at torchrun itself."""
ADDRESS = 80
"""Most letters of the folder for temporary files, for a socket inside it."""
LEAVE = 5.0
"""Seconds that it gets to end."""
AFTER = 1.0
"""Seconds in which a process that died is told apart from those that stumbled over its death."""


@dataclass(frozen=True, slots=True)
class Job:
    """A training, as it is handed over to its processes.

    Attributes:
        model: The network at its beginning.
        data: The images; those in memory are mapped from one file by all processes.
        recipe: How it is trained.
        folder: Where its files are.
        kind: `cuda`, a GPU for each process, or `cpu`.
        piece: Most images that go through the network at once, if that is known.
    """

    model: nn.Module
    data: Data
    recipe: Recipe
    folder: Path
    kind: str
    piece: int | None = None


def run_group(job: Job, processes: int, on_epoch: OnEpoch | None) -> Result:
    """Trains with several processes, or goes on with what the folder holds.

    When the memory of one is short, all begin again from the last epoch with smaller pieces. When
    one is killed, they do so once; twice without an epoch in between is an error.

    Raises:
        RunError: There are fewer GPUs, or a process died twice in the same epoch.
    """
    if job.kind == "cuda" and (seen := torch.cuda.device_count()) < processes:
        raise RunError(
            f"a training on {processes} GPUs, but this process sees {seen}: ask for fewer, or let "
            "CUDA_VISIBLE_DEVICES name more"
        )
    died = False
    while True:
        with _Started(job, processes) as started:
            try:
                return started.result(on_epoch)
            except ShortError as short:
                job = replace(job, piece=short.size)
            except _DeadError:
                why = started.last_words()
                if died and not started.told:
                    raise RunError(
                        f"a process of this training died twice in the same epoch: {why}"
                    ) from None
                died = True


class _DeadError(Exception):
    """A process of the group, or torchrun itself, ended without a word."""


@dataclass
class _Started:
    """The processes of a training, as started once; a context manager that leaves none behind."""

    job: Job
    processes: int
    told: int = 0
    _home: TemporaryDirectory[str] = field(init=False)
    _server: socket.socket = field(init=False)
    _torchrun: subprocess.Popen[bytes] = field(init=False)
    _lines: list[Connection] = field(default_factory=list, init=False)
    _finished: set[Connection] = field(default_factory=set, init=False)

    def __enter__(self) -> _Started:
        """Writes down the work and starts torchrun."""
        short = len(gettempdir()) < ADDRESS  # the address of a socket may have 108 letters
        self._home = TemporaryDirectory(prefix="flopwise-", dir=None if short else "/tmp")
        home = Path(self._home.name)
        torch.save(self.job, home / "job")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(home / "line"))
        self._server.listen(self.processes)
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        words += ["--local-addr", "localhost", "--log-dir", str(home / "torchrun")]
        words += ["--nproc-per-node", str(self.processes), "--module", "flopwise.train.member"]
        threads = max(1, torch.get_num_threads() // self.processes)
        with (home / "log").open("wb") as log:
            self._torchrun = subprocess.Popen(
                [*words, str(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                start_new_session=True,  # Ctrl-C reaches who asked for the training
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Lets go of the lines, which ends every process that has not ended."""
        if 0 < len(self._finished) == len(self._lines):
            self._ended(LEAVE)
        self._server.close()
        for line in self._lines:
            line.close()
        self._torchrun.terminate()  # ends also those that are still being started
        if not self._ended(LEAVE):
            self._torchrun.kill()
            self._torchrun.wait()
        self._home.cleanup()

    def result(self, on_epoch: OnEpoch | None) -> Result:
        """Answers the processes until they are done; raises what one of them raised."""
        found: Result | None = None
        while len(self._finished) < self.processes:
            for line, (word, value) in self._heard():
                if word == "epoch":
                    self.told += 1
                    line.send(_stops(on_epoch, value))
                elif word == "done":
                    self._finished.add(line)
                    found = value or found
                else:
                    self._await_death()
                    raise value
        assert found, "the first process tells the result"
        return found

    def _heard(self) -> Iterator[tuple[Connection, tuple[str, Any]]]:
        """Yields what the processes say now.

        Raises:
            _DeadError: One of them is gone.
        """
        waiting = [line for line in self._lines if line not in self._finished]
        ready = wait([self._server, *waiting], POLL)
        if not ready and self._torchrun.poll() is not None:
            raise _DeadError
        for each in ready:
            if each is self._server:
                self._lines.append(Connection(self._server.accept()[0].detach()))
                continue
            assert isinstance(each, Connection)
            try:
                yield each, each.recv()
            except (EOFError, OSError):
                raise _DeadError from None

    def _await_death(self) -> None:
        """Waits a little for a death behind an error: a lost peer is an error to the others."""
        until = time.monotonic() + AFTER
        while time.monotonic() < until:
            for _ in self._heard():
                continue

    def _ended(self, seconds: float) -> bool:
        try:
            self._torchrun.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_words(self) -> str:
        """Says how a process died, as torchrun saw it."""
        self._ended(LEAVE)
        log = (Path(self._home.name) / "log").read_text(encoding="utf-8", errors="replace")
        signals = re.findall(r"^\s*traceback\s*: (Signal .*)$", log, re.M)
        signals = [each for each in signals if "SIGTERM" not in each]  # that is torchrun's own
        errors = re.findall(r"^\w[\w.]*Error: .*$", log, re.M)
        ended = f"torchrun ended with code {self._torchrun.poll()}"
        return str([ended, *errors[-1:], *signals[:1]][-1])


def _stops(on_epoch: OnEpoch | None, epoch: Epoch) -> bool:
    """Tells of an epoch; returns whether it is to be the last."""
    try:
        if on_epoch:
            on_epoch(epoch)
    except Stop:
        return True
    return False
