"""The folder of a search: one identity, one store of trials, everything else plain files.

FOLDER/
├── study.jsonl       Optuna's journal: every trial, its picks, scores and state (or a database)
├── study.json        what a worker needs to join: where the trials are kept, and the spec
├── lock              held by the process that runs the search; the system frees it on kill -9
├── spec.yaml         the text that was run; sources/ holds every file it was read from
├── manifest.json     identity of the study, arguments of the sampler, versions, sessions
├── trials.csv        one row per trial
├── scores.jsonl      what the sampler screened measured of networks without training them
├── agreement.csv     how well that ranks what was trained, beside plain costs
├── trials/IDENTITY/  resolved.yaml, epochs and checkpoint of one training
├── finals.csv        one row per network of the last step
├── finals/           its trainings, and what each got right on the test split
├── report.html       the page of all this, by `flopwise report`
├── workers/          what the workers that a search started said
└── winner/           the chosen network: winner.json and resolved.yaml
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from flopwise.errors import Fault, RunError, SpecError
from flopwise.search.files import write_json
from flopwise.search.register import Register, alive
from flopwise.search.storage import Patience, close_store, open_store, shown
from flopwise.search.study import Study

__all__ = [
    "StudyFolder",
    "differences",
    "hold",
    "refuse_changes",
]

NAME = "search"
ORPHANS = 40
"""Half seconds to wait for a lock whose owner is gone."""
WAITS = 120
"""Half seconds that a worker waits for its search to start."""


class StudyFolder:
    """A study folder and the place of its trials; a context manager.

    One process at a time runs a search in a folder. Workers join it without taking the folder.
    """

    def __init__(self, path: Path, *, url: str = "", name: str = "", joins: bool = False) -> None:
        """Points at the folder; nothing is read or written before it is entered.

        Args:
            path: The folder.
            url: Where trials are kept if not in a journal in the folder.
            name: The study's name there; the folder's by default.
            joins: Whether this is a worker of a search that another process runs.
        """
        self.path, self.joins = path, joins
        self.url = url or self.known().get("storage", "")
        self.name = (name or path.resolve().name) if self.url else NAME
        self._lock: IO[str] | None = None
        self._stores: list[BaseStorage] = []

    def __enter__(self) -> StudyFolder:
        """Takes the folder for this process, unless it only joins."""
        if self.joins:
            self._await()
            return self
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / "lock").open("a+", encoding="utf-8")
        if owner := hold(lock):
            lock.close()
            raise RunError(
                f"another process (pid {owner}) is running the study in {self.path}; "
                "wait for it, stop it, or name another folder; "
                f"`flopwise worker {self.path}` helps it"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        self._settle()
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the folder back, and the connections of its studies."""
        while self._stores:
            close_store(self._stores.pop())
        if self._lock:
            self._lock.close()
            self._lock = None

    def _await(self) -> None:
        """Waits for the search that this worker helps: it may be about to start."""
        for _ in range(WAITS):
            if "spec" in self.known():
                return
            time.sleep(0.5)
        raise RunError(
            f"no search has started in {self.path}: start one with "
            f"`flopwise search SPEC --out {self.path}`, then its workers"
        )

    def _settle(self) -> None:
        """Refuses another place for trials than the folder's, and marks a new folder."""
        known = self.known()
        before = known.get("storage", "")
        if (known or self.journal.exists()) and before != shown(self.url):
            kept = before or f"the journal {self.journal}"
            raise RunError(
                f"the study in {self.path} keeps its trials in {kept}, not in {shown(self.url)}; "
                "leave --storage out to continue it, or name another folder with --out"
            )
        if not known:
            self.remember({})

    def part(self, name: str) -> StudyFolder:
        """Returns the folder of one of several studies of the same search."""
        whole = f"{self.name}/{name}" if self.url else ""
        return StudyFolder(self.path / name, url=self.url, name=whole, joins=self.joins)

    @property
    def journal(self) -> Path:
        """Optuna's journal file."""
        return self.path / "study.jsonl"

    @property
    def place(self) -> str:
        """Where the folder is, for people."""
        return f"{platform.node()}:{self.path.resolve()}"

    def trial_folder(self, identity: str) -> Path:
        """Returns where a training keeps its files: by what it is, not by its number."""
        return self.path / "trials" / identity

    def known(self) -> dict[str, Any]:
        """Returns what study.json says; nothing before the first session."""
        path = self.path / "study.json"
        found: dict[str, Any] = {}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
        return found

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Writes study.json: the mark of this folder, and what a worker needs to join."""
        mark = self.known().get("mark") or uuid.uuid4().hex
        where = {"mark": mark, "name": self.name, "storage": shown(self.url)}
        write_json(self.path / "study.json", {**facts, **where})

    def open(
        self,
        identity: Mapping[str, Any],
        sampler: BaseSampler,
        directions: Sequence[str],
        *,
        told: Callable[[str], None] = lambda text: None,
    ) -> Study:
        """Opens or creates the study; a study of something else is refused, with both named."""
        assert self._lock or self.joins, "a study is opened by the process that holds its folder"
        patience = Patience(told)
        storage = patience(lambda: open_store(self.journal, self.url))
        self._stores.append(storage)
        study = patience(lambda: self._opened(storage, sampler, directions))
        then = patience(lambda: study.user_attrs)
        plain = json.loads(json.dumps(identity))
        if then.get("identity"):
            self._refuse_others(then, plain)
        register = Register(storage, self.name, patience)
        mine = {"identity": plain, "place": self.place, "mark": self.known().get("mark", "")}
        first = json.loads(register.claim("study", json.dumps(mine)))
        self._refuse_others(first, plain)
        for name, value in first.items():
            if then.get(name) != value:
                patience(lambda n=name, v=value: study.set_user_attr(n, v))  # type: ignore[misc]
        return Study(study, storage, register, patience)

    def _opened(
        self, storage: BaseStorage, sampler: BaseSampler, directions: Sequence[str]
    ) -> optuna.Study:
        if self.name not in optuna.get_all_study_names(storage):
            ways = [StudyDirection[direction.upper()] for direction in directions]
            with suppress(DuplicatedStudyError):  # another worker was faster
                storage.create_new_study(ways, self.name)
        return optuna.load_study(study_name=self.name, storage=storage, sampler=sampler)

    def _refuse_others(self, first: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        """Raises when the study is one of something else, or keeps its files elsewhere."""
        where = f"the study in {self.path}"
        if self.url:
            where = f"the study '{self.name}' in {shown(self.url)}, whose files are in "
            where += f"{first.get('place', 'an unknown folder')},"
        refuse_changes(where, self.place, first["identity"], identity)
        mark = self.known().get("mark", "")
        if self.url and first.get("mark") and first["mark"] != mark:
            raise RunError(
                f"{where} was started from there, and {self.place} is another folder: workers "
                "share one folder, for checkpoints; name the same with --out, or give this search "
                "another name by another last part of --out"
            )


def hold(lock: IO[str]) -> str:
    """Locks an open file for this process; returns the pid of the process that has it, if any.

    Loader processes of a search that was killed keep its lock for some seconds before they notice,
    so a lock whose owner is gone is waited for.
    """
    for _ in range(ORPHANS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return ""
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
        if alive(owner):
            break
        time.sleep(0.5)
    return owner or "unknown"


def refuse_changes(
    where: str, place: str, started: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Raises one fault per part of a study's identity that is not what it was."""
    faults = [
        Fault(
            code="E504",
            message=f"{where} was started with {part} {then} and cannot continue with {wanted}",
            helps=(
                "name another folder for a new study, or put the old value back",
                f"this search would keep its files in {place}",
            ),
        )
        for part, then, wanted in differences(started, now)
    ]
    if faults:
        raise SpecError(faults)


def differences(
    then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, str, str]]:
    """Returns (path, old, new) of every leaf that differs; a missing one reads `nothing`."""
    found: list[tuple[str, str, str]] = []
    for key in [*then, *(key for key in now if key not in then)]:
        old, new, path = then.get(key), now.get(key), f"{prefix}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{path}.")
        elif old != new:
            words = ("nothing" if v is None else json.dumps(v) for v in (old, new))
            found.append((path, next(words), next(words)))
    return found
