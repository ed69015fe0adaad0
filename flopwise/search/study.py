"""The folder of a search: one owner, one journal, one identity, everything else plain files.

FOLDER/
├── study.jsonl       Optuna's journal: every trial, its picks, scores and state
├── lock              held by the process that runs the search; the system frees it on kill -9
├── spec.yaml         the text that was run; sources/ holds every file it was read from
├── manifest.json     identity of the study, arguments of the sampler, versions, sessions
├── trials.csv        one row per trial
├── trials/IDENTITY/  resolved.yaml, epochs and checkpoint of one training
├── finals.csv        one row per network of the last step
├── finals/           its trainings, and what each got right on the test split
└── winner/           the chosen network: winner.json and resolved.yaml
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from flopwise.errors import Fault, RunError, SpecError
from flopwise.search.candidates import Picks, thawed
from flopwise.search.encoding import suggest
from flopwise.search.sampler import FeasibleSampler

__all__ = [
    "Study",
    "StudyFolder",
    "alive",
    "differences",
    "hold",
    "mend",
    "refuse_changes",
    "write_json",
    "write_text",
]

NAME = "search"
ORPHANS = 40
"""Half seconds to wait for a lock whose owner is gone."""


class StudyFolder:
    """An open study folder; a context manager that one process holds at a time."""

    def __init__(self, path: Path) -> None:
        """Points at the folder; nothing is read or written before it is entered."""
        self.path = path
        self._lock: IO[str] | None = None

    def __enter__(self) -> StudyFolder:
        """Takes the folder for this process."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / "lock").open("a+", encoding="utf-8")
        if owner := hold(lock):
            lock.close()
            raise RunError(
                f"another process (pid {owner}) is running the study in {self.path}; "
                "wait for it, stop it, or name another folder"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the folder back."""
        if self._lock:
            self._lock.close()
            self._lock = None

    @property
    def journal(self) -> Path:
        """Optuna's journal file."""
        return self.path / "study.jsonl"

    def trial_folder(self, identity: str) -> Path:
        """Returns where a training keeps its files: by what it is, not by its number."""
        return self.path / "trials" / identity

    def open(
        self, identity: Mapping[str, Any], sampler: BaseSampler, directions: Sequence[str]
    ) -> Study:
        """Opens or creates the study; a study of something else is refused, with both named."""
        assert self._lock, "a study is opened by the process that holds its folder"
        mend(self.journal)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(self.journal)))
        if NAME in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=NAME, storage=storage, sampler=sampler)
        else:
            ways = [StudyDirection[direction.upper()] for direction in directions]
            study = optuna.create_study(
                study_name=NAME, storage=storage, sampler=sampler, directions=ways
            )
        started: Mapping[str, Any] = study.user_attrs.get("identity", {})
        if started:
            refuse_changes(self.path, started, json.loads(json.dumps(identity)))
        else:
            study.set_user_attr("identity", dict(identity))
        return Study(study)


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
    return True


class Study:
    """Optuna's study with the few words a search needs."""

    def __init__(self, study: optuna.Study) -> None:
        """Wraps an open study."""
        self.optuna = study

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order; not to be changed."""
        return self.optuna.get_trials(deepcopy=False)

    def interrupted(self) -> Trial | None:
        """Returns the first trial that a stopped process left unfinished, as it was."""
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                return Trial(self.optuna, trial._trial_id)  # Optuna has no public way back
        return None

    def begin(self, trial: Trial, sampler: FeasibleSampler) -> Picks:
        """Fixes the picks of a trial on disk and returns them.

        The picks are written whole before the first of them becomes a parameter, so a process
        killed in between leaves a trial that can be taken back.
        """
        if "picks" not in trial.user_attrs:
            trial.set_user_attr("picks", sampler.settled(trial.relative_params))
        picks = thawed(trial.user_attrs["picks"])
        for name, domain in sampler.candidates.domains.items():
            if name in picks:
                suggest(trial, name, domain)
        return picks

    def finish(self, trial: Trial, values: Sequence[float]) -> None:
        """Records a finished training, with a value for each objective."""
        self.optuna.tell(trial, values, state=TrialState.COMPLETE)

    def fail(self, trial: Trial, reason: str) -> None:
        """Records a training that ended without a score, and why."""
        trial.set_user_attr("reason", reason)
        self.optuna.tell(trial, state=TrialState.FAIL)


def mend(journal: Path) -> None:
    """Removes what a killed process left: half a last line, and Optuna's lock beside the file.

    Safe only for the holder of the folder. Without it Optuna would glue the next record to the half
    line and never read the journal again, and wait 30 s for the lock.
    """
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def refuse_changes(folder: Path, started: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises one fault per part of a study's identity that is not what it was."""
    faults = [
        Fault(
            code="E504",
            message=f"the study in {folder} was started with {part} {then} "
            f"and cannot continue with {wanted}",
            helps=("name another folder for a new study, or put the old value back",),
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


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step, so that a killed process leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
