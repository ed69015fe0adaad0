"""One process of a group that shares a training: `python -m flopwise.train.member`, by torchrun."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from torch import distributed as dist

from flopwise.errors import RunError
from flopwise.train.group import Group
from flopwise.train.launch import Job
from flopwise.train.loop import train_here
from flopwise.train.record import Epoch, Result, Stop

__all__ = ["main"]


class _Line:
    """The line to who asked for the training; when it breaks, this process ends at once."""

    def __init__(self, address: Path) -> None:
        there = socket.socket(socket.AF_UNIX)
        there.connect(str(address))
        self._connection = Connection(there.detach())
        self._answers: SimpleQueue[bool] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(self._connection.recv())
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # its loaders too: torchrun gives each a session

    def say(self, word: str, value: Any) -> None:
        """Says something; an error that cannot be sent as it is goes by its name."""
        try:
            pickle.loads(pickle.dumps(value))
        except Exception:
            value = RunError(f"{type(value).__name__}: {value}")
        self._connection.send((word, value))

    def ask(self, epoch: Epoch) -> None:
        """Tells of an epoch and waits for the answer, which may be to stop."""
        self.say("epoch", epoch)
        if self._answers.get():
            raise Stop

    def hold(self) -> None:
        """Waits until the line breaks."""
        self._answers.get()


def main(home: Path) -> None:
    """Takes its share of the training that a folder describes."""
    line = _Line(home / "line")
    try:
        result = _shared(home / "job", line)
    except BaseException as error:
        line.say("failed", error)
        line.hold()  # an end would look like a death, and break the others' calls
    line.say("done", result)


def _shared(file: Path, line: _Line) -> Result | None:
    job: Job = torch.load(file, mmap=True, weights_only=False, map_location="cpu")
    group = Group.joined(job.kind)
    dist.barrier()
    if group.first:
        file.unlink()  # all have mapped it; nothing large is left when all are killed
    result = train_here(
        job.model,
        job.data,
        job.recipe,
        job.folder,
        group.device,
        on_epoch=line.ask,
        keep="last",
        group=group,
        piece=job.piece,
    )
    dist.barrier()
    dist.destroy_process_group()
    return result if group.first else None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
