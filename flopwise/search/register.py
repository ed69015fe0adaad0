"""The register of a study: who works on it, who claimed what. `workers.py` says why it holds.

A process is told from all others by where it runs, its number there and when it started, because
the numbers of processes come round again.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from flopwise.search.storage import Patience

__all__ = ["REGISTERS", "Register", "alive", "here", "started"]

REGISTERS = (": workers", ": claims")
"""Ends of the names of the two studies beside each study."""


def here() -> dict[str, Any]:
    """Returns what tells this process from all others, on this machine and elsewhere."""
    return {
        "host": platform.node(),
        "place": _place(),
        "pid": os.getpid(),
        "start": started("self"),
    }


def alive(pid: str) -> bool:
    """Whether a process of this number runs on this machine; an unreadable number counts as one."""
    if not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started(pid) != ""


def _place() -> str:
    """Returns a name for the space that process numbers are unique in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def started(pid: str | int) -> str:
    """Returns when a process started, in ticks; empty when it is gone or a zombie."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else "unknown"  # a system without /proc
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


class Register:
    """The records of workers and claims of one study."""

    def __init__(self, storage: BaseStorage, study: str, patience: Patience) -> None:
        """Opens the register of a study; makes it when there is none."""
        self._storage, self._patience = storage, patience
        self._id = patience(lambda: self._opened(study + REGISTERS[0]))
        self._claims = patience(lambda: self._opened(study + REGISTERS[1]))
        self._owners: dict[str, str] = {}
        self._workers: dict[str, FrozenTrial] = {}
        self._read, self._lock = 0, threading.Lock()

    def _opened(self, name: str) -> int:
        try:
            return self._storage.get_study_id_from_name(name)
        except KeyError:
            with suppress(DuplicatedStudyError):  # another worker was faster
                return self._storage.create_new_study([StudyDirection.MINIMIZE], name)
        return self._storage.get_study_id_from_name(name)

    def claim(self, key: str, owner: str) -> str:
        """Claims a key unless somebody is known to have it; returns who has it."""
        if found := self.owner(key):
            return found
        record = create_trial(
            state=TrialState.COMPLETE, value=0.0, user_attrs={"claim": key, "owner": owner}
        )
        self._patience(lambda: self._storage.create_new_trial(self._claims, record))
        self.hear()
        return self._owners[key]

    def owner(self, key: str) -> str:
        """Returns who claimed a key first, as of the last refresh; empty when nobody did."""
        return self._owners.get(key, "")

    def worker(self, name: str) -> FrozenTrial | None:
        """Returns the record of a worker as it was at the last refresh."""
        return self._workers.get(name)

    @property
    def claims(self) -> Mapping[str, str]:
        """Who has each key, as of the last refresh."""
        return self._owners

    @property
    def workers(self) -> Mapping[str, FrozenTrial]:
        """All workers there ever were, by name, as they were at the last refresh."""
        return self._workers

    def lives(self, name: str) -> bool:
        """Whether a worker is not known to be dead or gone."""
        record = self._workers.get(name)
        ended = record is not None and record.state.is_finished()
        return not (ended or f"gone {name}" in self._owners)

    @property
    def living(self) -> dict[str, FrozenTrial]:
        """The workers that were not known to be dead or gone at the last refresh."""
        with self._lock:
            return {n: w for n, w in self._workers.items() if self.lives(n)}

    def refresh(self) -> None:
        """Reads all that is new."""
        self.hear()
        self._patience(self.see)

    def see(self) -> None:
        """Reads the workers once, without patience."""
        records = self._storage.get_all_trials(self._id, deepcopy=False)
        with self._lock:
            for record in records:
                known = self._workers.get(str(record.number))
                if not (known and known.state.is_finished()):
                    self._workers[str(record.number)] = record

    def hear(self) -> None:
        """Reads the claims; the first of a key holds."""
        read = self._storage.get_all_trials
        records = self._patience(lambda: read(self._claims, deepcopy=False))
        with self._lock:
            for record in records[self._read :]:
                self._owners.setdefault(record.user_attrs["claim"], record.user_attrs["owner"])
            self._read = max(self._read, len(records))

    def join(self, about: Mapping[str, Any]) -> FrozenTrial:
        """Adds a worker and returns its record."""
        attributes = {"worker": dict(about), "beat": 0}
        record = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
        trial_id = self._patience(lambda: self._storage.create_new_trial(self._id, record))
        return self._patience(lambda: self._storage.get_trial(trial_id))

    def note(self, worker: FrozenTrial, name: str, value: Any) -> None:
        """Sets an attribute of a living worker, once, without patience."""
        self._storage.set_trial_user_attr(worker._trial_id, name, value)

    def bury(self, worker: FrozenTrial, *, left: bool = False) -> None:
        """Ends the record of a worker that died, or left; the first verdict holds."""
        state = TrialState.COMPLETE if left else TrialState.FAIL
        values = [0.0] if left else None
        try:
            self._storage.set_trial_state_values(worker._trial_id, state, values)
        except UpdateFinishedTrialError:
            return
