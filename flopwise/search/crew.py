"""The workers that a command starts on its own machine, and the process that looks after them.

Workers of a search are processes of `flopwise worker`, those of a table are processes of the same
command; one per GPU where there are GPUs. Who starts them trains nothing itself: it shows what all
of them do, starts another for one that died, and stops all of them when it is stopped. A worker
whose starter is gone leaves by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from flopwise.errors import RunError, many
from flopwise.search.watch import Watch
from flopwise.search.workers import Worker

__all__ = ["POLL", "Crew", "Overseer", "dealt", "idle", "serve", "shared_out", "visible_gpus"]

POLL = 0.5
"""Seconds between two looks at the workers."""
LEAVE = 15.0
"""Seconds that a worker gets to leave."""
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What a machine with GPUs that torch can use has: NVIDIA's driver, AMD's, Windows' for Linux."""


def visible_gpus() -> tuple[str, ...]:
    """Returns the GPUs that may be shared out, as CUDA_VISIBLE_DEVICES names them.

    Those that the user names there, else all that torch sees; torch is asked only on a machine
    that has a driver.
    """
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return tuple(each.strip() for each in said.split(",") if each.strip() not in ("", "-1"))
    if not any(Path(driver).exists() for driver in DRIVERS):
        return ()
    from torch.cuda import device_count  # leaves the GPUs alone

    return tuple(map(str, range(device_count())))


def dealt(gpus: Sequence[str], each: int = 1, option: str = "--gpus") -> tuple[str, ...]:
    """Deals GPUs out to workers, several to each; one that is left over stays idle.

    >>> dealt(["0", "1", "2", "3", "4"], 2)
    ('0,1', '2,3')

    Args:
        gpus: The GPUs.
        each: How many a training takes.
        option: The option that said so.

    Raises:
        RunError: There are fewer GPUs than one training takes.
    """
    if 0 < len(gpus) < each:
        raise RunError(
            f"a training takes {each} GPUs, and there are {len(gpus)} ({', '.join(gpus)}): write "
            f"{option} {len(gpus)}, or let CUDA_VISIBLE_DEVICES name more"
        )
    whole = len(gpus) // each
    return tuple(",".join(gpus[each * turn : each * (turn + 1)]) for turn in range(whole))


def shared_out(count: int, gpus: Sequence[str]) -> str:
    """Says how workers share GPUs, or sets of GPUs; empty where there are none.

    >>> shared_out(4, ["0", "1", "2", "3"])
    '4 workers, a GPU each (0, 1, 2, 3)'
    >>> shared_out(3, ["0", "1"])
    '3 workers share 2 GPUs (0, 1): up to 2 trainings at once on each'
    >>> shared_out(2, ["0", "1", "2"])
    '2 workers, a GPU each (0, 1); --workers 3 would use all'
    >>> shared_out(2, ["0,1", "2,3"])
    '2 workers, 2 GPUs each (0,1; 2,3)'
    >>> shared_out(3, ["0,1", "2,3"])
    '3 workers share 2 sets of 2 GPUs (0,1; 2,3): up to 2 trainings at once on each'
    """
    if not gpus:
        return ""
    size = gpus[0].count(",") + 1
    one, several = ("GPU", "GPUs") if size == 1 else ("set", "sets")
    of = "" if size == 1 else f" of {size} GPUs"
    names = (", " if size == 1 else "; ").join(gpus[:count])
    if count > len(gpus):
        most = -(-count // len(gpus))
        what, each = (one, "on it") if len(gpus) == 1 else (several, "on each")
        return (
            f"{count} workers share {len(gpus)} {what}{of} ({names}): "
            f"up to {most} trainings at once {each}"
        )
    more = f"; --workers {len(gpus)} would use all" if count < len(gpus) else ""
    each = "a GPU" if size == 1 else f"{size} GPUs"
    return f"{many(count, 'workers')}, {each} each ({names}){more}"


def idle(gpus: Sequence[str], each: int = 1) -> str:
    """Says that one training at a time leaves GPUs idle; empty where it does not.

    >>> idle(["0", "1", "2", "3"])
    '4 GPUs are here, and one training at a time uses 1; --workers 4 would use all'
    >>> idle(["0", "1", "2", "3"], 2)
    '4 GPUs are here, and one training at a time uses 2; --workers 2 would use all'
    >>> idle(["0"]), idle([])
    ('', '')
    """
    whole = len(gpus) // each
    if whole < 2:
        return ""
    return (
        f"{len(gpus)} GPUs are here, and one training at a time uses {each}; "
        f"--workers {whole} would use all"
    )


@dataclass
class Crew:
    """Worker processes of one search or table; a context manager.

    Attributes:
        folder: The folder of the study or table.
        count: How many.
        storage: Where the trials are kept, with its password; handed on by the environment.
        devices: GPUs to share out, or sets of them as `0,1`; none for the CPU.
        told: Who hears of a worker that died.
        words: What each runs, as a command line of flopwise; `worker FOLDER` where nothing is said.
    """

    folder: Path
    count: int
    storage: str = ""
    devices: tuple[str, ...] = ()
    told: Callable[[str], None] = lambda text: None
    words: tuple[str, ...] = ()
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
        """Waits for all workers to leave, asked to unless all is done; ends those that stay."""
        if kind is not None or not self._left():
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

    def _left(self) -> bool:
        """Waits for workers that see themselves that all is done; says whether all have left."""
        until = time.monotonic() + LEAVE
        while any(process.poll() is None for process in self._running.values()):
            if time.monotonic() > until:
                return False
            time.sleep(POLL / 5)
        return True

    def start(self) -> None:
        """Starts the workers, unless they run."""
        if not self._running and (text := shared_out(self.count, self.devices)):
            self.told(text)
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
        words = [sys.executable, "-m", "flopwise", *(self.words or ("worker", str(self.folder)))]
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
        """Returns the environment of a worker: its GPUs, or its share of the cores."""
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


def serve(parent: int) -> None:
    """Makes this process a worker: SIGINT ends it, and so does the end of the process it serves."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells ignore it

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


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
        self.watch.workers([_words(each) for each in doing if "key" in each])
        ended = sum(name.startswith("identity ") for name in self.register.claims)
        if ended > self._ended:
            self._ended = ended
            self.crew.lived()
        time.sleep(POLL)


def _words(doing: Mapping[str, Any]) -> str:
    """Says what a worker does; a fresh training by the start of its name."""
    kind, _, name = doing["key"].partition(" ")
    what = f"fresh training {name[:6]}" if kind == "final" else doing["key"]
    return f"{what} epoch {doing['epoch']}"
