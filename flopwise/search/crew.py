"""The workers that a search starts on its own machine, and the process that looks after them.

Workers are processes of `flopwise worker`, one per GPU where there are GPUs. The search itself
trains nothing then: it shows what all of them do, starts another for one that died, and stops all
of them when it is stopped. A worker whose search is gone leaves by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from flopwise.errors import RunError
from flopwise.search.watch import Watch
from flopwise.search.workers import Worker

__all__ = ["Crew", "Overseer", "visible_gpus"]

POLL = 0.5
"""Seconds between two looks at the workers."""
LEAVE = 15.0
"""Seconds that a worker gets to leave."""


def visible_gpus() -> tuple[str, ...]:
    """Returns the GPUs that may be shared out, as CUDA_VISIBLE_DEVICES names them."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return tuple(each for each in said.split(",") if each.strip() and each != "-1")
    found = Path("/proc/driver/nvidia/gpus")
    return tuple(str(number) for number, _ in enumerate(found.iterdir())) if found.exists() else ()


@dataclass
class Crew:
    """Worker processes of one search; a context manager.

    Attributes:
        folder: The study's folder.
        count: How many.
        storage: Where the trials are kept, with its password; handed on by the environment.
        devices: GPUs to share out; none for the CPU.
        told: Who hears of a worker that died.
    """

    folder: Path
    count: int
    storage: str = ""
    devices: tuple[str, ...] = ()
    told: Callable[[str], None] = lambda text: None
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _deaths: int = field(default=0, init=False)

    def __enter__(self) -> Crew:
        """Has no workers yet: they start when there is a study to join."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Asks all workers to leave and waits; ends those that do not."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + LEAVE
        for process in self._running.values():
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def start(self) -> None:
        """Starts the workers, unless they run."""
        for number in range(self.count):
            if number not in self._running:
                self._running[number] = self._launched(number)

    def lived(self) -> None:
        """Forgets earlier deaths: some trial ended since."""
        self._deaths = 0

    def tend(self) -> None:
        """Starts another worker for each that was killed.

        Raises:
            RunError: A worker ended with an error, or too many died without one trial ending.
        """
        for number, process in list(self._running.items()):
            code = process.poll()
            if code is None or code == 0:
                continue
            if code > 0 and code != 128 + signal.SIGKILL:
                raise RunError(f"worker {number} ended with an error: {self._last(number)}")
            self._deaths += 1
            if self._deaths > 2 * self.count + 3:
                raise RunError(
                    f"{self._deaths} workers died without one trial ending; the last words of one "
                    f"are in {self._log(number)}"
                )
            self.told(f"worker {number} was killed (signal {abs(code)}); another takes its place")
            self._running[number] = self._launched(number)

    def _launched(self, number: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "flopwise", "worker", str(self.folder)]
        words += ["--parent", str(os.getpid())]
        self._log(number).parent.mkdir(parents=True, exist_ok=True)
        with self._log(number).open("ab") as log:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(number),
                start_new_session=True,  # Ctrl-C reaches the search, which asks them to leave
            )

    def _environment(self, number: int) -> Mapping[str, str]:
        """Returns the environment of a worker: one GPU, or its share of the cores."""
        found = dict(os.environ)
        if self.storage:
            found["FLOPWISE_STORAGE"] = self.storage
        if self.devices:
            found["CUDA_VISIBLE_DEVICES"] = self.devices[number % len(self.devices)]
        else:
            share = max((os.cpu_count() or 1) // self.count, 1)
            found.setdefault("OMP_NUM_THREADS", str(share))
        return found

    def _log(self, number: int) -> Path:
        return self.folder / "workers" / f"{number}.log"

    def _last(self, number: int) -> str:
        lines = self._log(number).read_text(encoding="utf-8", errors="replace").splitlines()
        told = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{told.removeprefix('error: ')} (all it said is in {self._log(number)})"


@dataclass
class Overseer(Worker):
    """Takes no trial: waits until the workers of its crew have ended them all."""

    crew: Crew | None = None
    watch: Watch = field(default_factory=Watch)
    _ended: int = field(default=0, init=False)

    def __enter__(self) -> Overseer:
        """Starts the crew, whose study is there now."""
        assert self.crew
        self.crew.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the crew to whoever started it: there may be another study."""

    def take(self, key: str) -> bool:
        """Takes nothing."""
        return False

    def check(self) -> None:
        """Holds nothing that could be lost."""

    def rest(self) -> None:
        """Looks after the workers, and tells what they do."""
        assert self.crew
        self.crew.tend()
        self.register.refresh()
        living = [r for r in self.register.workers.values() if not r.state.is_finished()]
        doing = [record.user_attrs.get("doing") or {} for record in living]
        self.watch.workers(
            [f"{each['key']} epoch {each['epoch']}" for each in doing if "key" in each]
        )
        ended = sum(name.startswith("identity ") for name in self.register.claims)
        if ended > self._ended:
            self._ended = ended
            self.crew.lived()
        time.sleep(POLL)
