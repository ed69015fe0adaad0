"""What can be told of a study from elsewhere: read from its store, without touching it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from flopwise.errors import RunError
from flopwise.search.baseline import BASELINE
from flopwise.search.candidates import made
from flopwise.search.folder import NAME, StudyFolder
from flopwise.search.front import front
from flopwise.search.pace import seconds_left
from flopwise.search.record import TrialRow, trial_row
from flopwise.search.register import REGISTERS, Register
from flopwise.search.storage import Patience, open_store, shown
from flopwise.search.strategy import trainings_of

__all__ = ["Found", "find", "status"]

SHOWN = 5
"""Failures and trials of a front that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A study in its store.

    Attributes:
        name: Its name there.
        where: The store, for people.
        study: Optuna's study.
        register: Its workers and claims.
        folder: Its folder, as the search that started it names it.
    """

    name: str
    where: str
    study: optuna.Study
    register: Register
    folder: Path

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials; not to be changed."""
        return self.study.get_trials(deepcopy=False)


def find(place: str | Path) -> Found:
    """Finds a study by its folder or by the URL of its database, `URL#NAME` where it has several.

    Raises:
        RunError: There is none, or there are several and none is named.
    """
    if "://" not in str(place):
        home = StudyFolder(Path(place))
        if home.url:
            return _in_store(home.url, home.name)
        if not home.journal.exists():
            parts = sorted(Path(place).glob("budget-*"))
            hint = "; name the folder that a search wrote, such as runs/NAME"
            if parts:
                hint = f"; it holds a study for each budget: {parts[0]}, ..."
            raise RunError(f"there is no study in {place}{hint}")
        return _opened(open_store(home.journal), NAME, str(home.journal), home.path)
    url, _, name = str(place).partition("#")
    return _in_store(url, name)


def _in_store(url: str, name: str) -> Found:
    storage = Patience(lambda text: None, limit=20)(lambda: open_store(Path(), url))
    names = [n for n in optuna.get_all_study_names(storage) if not n.endswith(REGISTERS)]
    alone = [each for each in names if not each.endswith(f"/{BASELINE}")]
    if not name and len(alone) == 1:
        name = alone[0]
    if name not in names:
        told = f"has no study '{name}'" if name else "has several studies; write URL#NAME"
        raise RunError(f"{shown(url)} {told} (studies: {', '.join(names) or 'none'})")
    return _opened(storage, name, shown(url), None)


def _opened(
    storage: optuna.storages.BaseStorage, name: str, where: str, folder: Path | None
) -> Found:
    if name not in optuna.get_all_study_names(storage):
        raise RunError(f"{where} holds no study yet")
    study = optuna.load_study(study_name=name, storage=storage)
    register = Register(storage, name, Patience(lambda text: None, limit=20))
    register.refresh()
    home = folder or Path(study.user_attrs.get("place", "").partition(":")[2])
    return Found(name=name, where=where, study=study, register=register, folder=home)


def status(found: Found) -> dict[str, Any]:
    """Returns what is known of a study as plain data: all that its live view shows."""
    known = found.study.user_attrs
    rows = [trial_row(t) for t in found.trials if t.user_attrs.get("picks") is not None]
    goals = [tuple(each.split()) for each in known["identity"]["objective"].split(", ")]
    ranked = front(rows, [(way, metric) for way, metric in goals])
    probe, plan = known.get("probe", {}), known.get("plan", {})
    looked = probe.get("looked", 0)
    rungs = tuple((share, count) for share, count in plan.get("rungs", ()))
    states = Counter(row.state for row in rows)
    workers = _workers(found.register)
    return {
        "name": plan.get("name", found.name),
        "study": found.name,
        "storage": found.where,
        "folder": known.get("place", str(found.folder)),
        "objectives": [" ".join(goal) for goal in goals],
        "trials": {"wanted": trainings_of(rungs) or None, **states},
        "feasible_share": probe["feasible"] / looked if looked else None,
        "best": _brief(ranked[0]) if ranked else None,
        "front": [_brief(row) for row in ranked[:SHOWN]] if len(goals) > 1 else [],
        "failures": [_brief(row) for row in rows if row.state == "failed"][-SHOWN:],
        "seconds_left": seconds_left(rows, rungs, len(workers)) if workers else None,
        "baseline_tries": _baseline(found),
        "workers": workers,
        "workers_lost": sum(r.state.name == "FAIL" for r in found.register.workers.values()),
    }


def _baseline(found: Found) -> str:
    """Returns where the study of the written network's own tries is; empty without one."""
    if (found.folder / BASELINE / "study.json").exists():
        return str(found.folder / BASELINE)
    name = f"{found.name}/{BASELINE}"
    known = optuna.get_all_study_names(found.study._storage)
    return f"{found.where}#{name}" if name in known else ""


def _workers(register: Register) -> list[dict[str, Any]]:
    found = []
    for name, record in register.workers.items():
        if record.state.is_finished():
            continue
        about: Mapping[str, Any] = record.user_attrs["worker"]
        doing = record.user_attrs.get("doing", {})
        found.append({"worker": int(name), "host": about["host"], "pid": about["pid"], **doing})
    return found


def _brief(row: TrialRow) -> dict[str, Any]:
    known = asdict(row)
    kept = ("number", "state", "costs", "scores", "seconds", "reason", "written", "share")
    return {**{name: known[name] for name in kept}, "picks": made(row.picks)}
