"""Who works on a study, and who holds which training. The proof that no two hold the same one.

Everything is kept in two studies beside the first, its *register* (`register.py`), so that it
works wherever Optuna keeps studies. The register has two kinds of records, a study for each:

- a *worker* is a trial that stays RUNNING as long as the worker lives. Its attributes say where it
  runs, what it is doing, and a counter that it raises every few seconds. Whoever finds a worker
  dead marks its record FAIL; one that leaves marks it COMPLETE. Optuna lets nobody change a
  finished trial, so a verdict is final, and a worker that only slept learns it when it next counts.
- a *claim* is a finished trial with a key and an owner, written whole in one step. Optuna numbers
  the trials of a study in the order in which they become visible (the journal is one sequence of
  lines; PostgreSQL locks the study's row until the trial is committed). The first claim of a key
  holds; a claimant writes, then reads all claims before its own, so both sides see the same first.

A lease is a chain of claims `KEY #0`, `KEY #1`, ...: claim k+1 is made only when the owner of claim
k is a finished worker. So among all owners of a key at most one is unfinished, whatever the order
of events, and nothing hangs on clocks for that. Clocks only say when a worker counts as dead: its
counter stood still for `grace` seconds of the watcher's own monotonic clock, in which the watcher
itself never lost sight of the register. On the machine where the worker ran it counts as dead at
once when its process is gone.

A store answers only so many questions, so a large crew asks less of it. Signs are given `BEATS`
times a second by all workers together, and each worker puts on record how far apart its own are
before it slows down; `grace` is then `SIGNS` times that. Only `WATCHERS` workers watch all others.
The rest glance at the watchers now and then, and watch too as soon as one of these stands still.
Who is found dead, or leaves, is told of by a claim `gone NAME`, because new claims are all that a
large crew reads: a claim is read once, a record that still runs each time.

The one thing that no protocol can prevent is a process that sleeps longer than `grace` in the
middle of an epoch and wakes up: it finishes that epoch before it learns that it lost its lease.
Files of a training are replaced whole and are the same whoever writes them, and its score is
refused by the store.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from flopwise.search.register import Register, here, started
from flopwise.search.storage import LeaveError, LostError, Patience

__all__ = ["GRACE", "Worker", "stoppable"]

GRACE = 30.0
"""Seconds without a sign of life after which a worker counts as dead."""
SIGNS = 6
"""Signs of life in that time."""
BEATS = 20.0
"""Most signs of life in a second, of all workers together."""
LOOKS = 5.0
"""Most looks at the claims in a second, of all workers that wait together."""
GLANCES = 0.5
"""Most looks at the watchers in a second, of all other workers together."""
WATCHERS = 8
"""Workers that watch all others."""
RESTS = (0.02, 1.0)
"""Seconds of the shortest and the longest pause of a worker that waits for others."""


@dataclass
class Worker:
    """This process among the workers of a study; a context manager.

    Attributes:
        register: The study's register.
        grace: Seconds without a sign of life after which others count it dead.
        about: What the register says about it besides where it runs.
        parent: The process that it serves; when that is gone, so is its reason to work.
    """

    register: Register
    patience: Patience
    grace: float = GRACE
    about: Mapping[str, Any] = field(default_factory=dict)
    parent: int = 0
    _record: FrozenTrial | None = field(default=None, init=False)
    _done: threading.Event = field(default_factory=threading.Event, init=False)
    _why: str = field(default="", init=False)
    _lost: bool = field(default=False, init=False)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict, init=False)
    _looked: float = field(default=0.0, init=False)
    _apart: float = field(default=0.0, init=False)
    _alarmed: bool = field(default=False, init=False)
    _signs: dict[str, int] = field(default_factory=dict, init=False)
    _pause: float = field(default=RESTS[0], init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> Worker:
        """Joins the study, and buries what is plainly dead, such as an earlier self."""
        self._done.clear()
        self._lost = False
        self._record = self.register.join({**here(), **self.about})
        self.register.refresh()
        self._watch()
        self._apart = self.grace / SIGNS
        self.patience(self._pace)
        self._thread = threading.Thread(target=self._live, daemon=True, name="lease")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the study: what it held is free at once."""
        self._done.set()
        assert self._thread and self._record
        self._thread.join()
        try:
            self.register.bury(self._record, left=True)
            self.register.claim(f"gone {self.name}", self.name)
        except Exception:  # a store that is gone: the others will notice
            return

    @property
    def name(self) -> str:
        """Its number in the register."""
        assert self._record, "a worker joins before it works"
        return str(self._record.number)

    def check(self) -> None:
        """Raises when this worker must not go on."""
        if self._lost:
            raise LostError(
                f"this worker gave no sign of life for {self.grace:g} s and counted as dead; "
                "its trial went to another"
            )
        if self._why:
            raise LeaveError(self._why)

    def rest(self) -> None:
        """Waits a little for others, each time a little longer."""
        self.check()
        self._done.wait(self._pause)
        longest = max(min(RESTS[1], self.grace / SIGNS), self._crowd / LOOKS)
        self._pause = min(1.5 * self._pause, longest)

    def look(self) -> None:
        """Reads all claims; in a large crew, these are all that it hears of who is gone."""
        if self._crowd > WATCHERS:
            self.register.hear()
        else:
            self.register.refresh()

    def free(self, key: str) -> bool:
        """Whether nobody who lives held the lease of a key at the last look; asks no store."""
        held = self._holders(key)
        return not (held and self.register.lives(held[-1]))

    def take(self, key: str) -> bool:
        """Takes the lease of a key; False while a living worker holds it, this one included."""
        self.check()
        self.look()
        held = self._holders(key)
        if held and self.register.lives(held[-1]):
            return False
        if held:  # what they were doing is asked of their records
            self.register.refresh()
        # The claim after the holder that was found dead, and no later one: who has taken the lease
        # since lives.
        if self.register.claim(f"{key} #{len(held)}", self.name) != self.name:
            return False
        self._pause = RESTS[0]
        self._note("doing", {"key": key, "epoch": self.reached(key)})
        return True

    def reached(self, key: str) -> int:
        """Returns the last epoch that dead owners of a lease told of."""
        return max((epoch for _, epoch in self.deaths(key)), default=0)

    def deaths(self, key: str) -> list[tuple[str, int]]:
        """Returns (who, last epoch it told of) for every owner that died with the lease."""
        found = []
        for name in self._holders(key):
            record = self.register.worker(name)
            if record is not None and record.state == TrialState.FAIL:
                doing, about = record.user_attrs.get("doing", {}), record.user_attrs["worker"]
                epoch = doing.get("epoch", 0) if doing.get("key") == key else 0
                found.append((f"pid {about['pid']} on {about['host']}", epoch))
        return found

    def verdict(self, key: str) -> str:
        """Says that a training took its worker down twice; empty when it did not.

        Twice without another epoch on disk in between: a training that is stopped by what happens
        around it gets further each time, one that kills its worker does not.
        """
        last = self.deaths(key)[-2:]
        if len(last) < 2 or last[0][1] != last[1][1]:
            return ""
        who = " and ".join(name for name, _ in last)
        return f"WorkerDied: it took its worker down twice in epoch {last[0][1] + 1} ({who})"

    @property
    def others(self) -> int:
        """How many other workers live, as far as is known."""
        return max(len(self.register.living) - 1, 0)

    def told(self, key: str, epoch: int) -> None:
        """Puts on record that an epoch is on disk."""
        self.check()
        self._note("doing", {"key": key, "epoch": epoch})

    def _note(self, name: str, value: Any) -> None:
        record = self._record
        assert record
        try:
            self.patience(lambda: self.register.note(record, name, value))
        except UpdateFinishedTrialError:
            self._lost = True
            self.check()

    def _holders(self, key: str) -> list[str]:
        """Returns all owners of a lease, the present one last."""
        found: list[str] = []
        while name := self.register.owner(f"{key} #{len(found)}"):
            found.append(name)
        return found

    def _live(self) -> None:
        """Counts, watches the others, and notices when its work is over."""
        beat = 0
        while not self._done.wait(self._apart):
            beat += 1
            if self.parent and os.getppid() != self.parent:
                self._why = "the search that started this worker is gone"
            try:
                assert self._record
                self.register.note(self._record, "beat", beat)
                if self._watches():
                    self.register.see()
                    self._watch()
                    self._glance()
                    self._pace()
            except UpdateFinishedTrialError:
                self._lost = True
                return
            except Exception:  # the store is away: the work itself will say so if it lasts
                continue

    @property
    def _crowd(self) -> int:
        """How many workers live, as far as is known."""
        return len(self.register.living)

    def _pace(self) -> None:
        """Gives signs less often in a larger crew; says so before it does."""
        assert self._record
        apart = max(self.grace / SIGNS, self._crowd / BEATS)
        if not 2 / 3 < apart / self._apart < 3 / 2:
            self.register.note(self._record, "apart", apart)
            self._apart = apart

    def _watches(self) -> bool:
        """Whether this worker should look at all others now; see the head of this file."""
        if self._alarmed or self.name in self._watchers():
            return True
        return time.monotonic() - self._looked >= self._crowd / GLANCES

    def _watchers(self) -> list[str]:
        """Returns who watches: no neighbours, which may die together."""
        return sorted(self.register.living, key=lambda name: zlib.crc32(name.encode()))[:WATCHERS]

    def _glance(self) -> None:
        """Watches from now on when a watcher stood still since the last look, else no longer."""
        living = self.register.living
        signs = {n: living[n].user_attrs.get("beat", 0) for n in self._watchers() if n in living}
        self._alarmed = any(self._signs.get(n) == s for n, s in signs.items() if n != self.name)
        self._signs = signs

    def _watch(self) -> None:
        """Buries workers that are dead; see the head of this file for when they are."""
        now, own = time.monotonic(), here()
        if now - self._looked > self._apart * SIGNS / 2:  # it lost sight of the register itself
            self._seen.clear()
        self._looked = now
        for name, record in self.register.living.items():
            if name == self.name:
                continue
            about, beat = record.user_attrs["worker"], record.user_attrs.get("beat", 0)
            count, since = self._seen.get(name, (-1, now))
            if count != beat:
                self._seen[name] = beat, now
            gone = about["place"] == own["place"] and started(about["pid"]) != about["start"]
            grace = max(SIGNS * record.user_attrs.get("apart", 0.0), self.grace)
            if gone or (count == beat and now - since > grace):
                self.register.bury(record)
                self.register.claim(f"gone {name}", self.name)
        for name, record in list(self.register.workers.items()):
            if record.state.is_finished():  # its watcher may have died before it told
                self.register.claim(f"gone {name}", self.name)


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes a context in which a request to end (SIGTERM, SIGHUP) ends as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {
        number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
