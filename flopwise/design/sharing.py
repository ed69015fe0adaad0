"""A study from outside: help with it, or train one of its trials again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise import dsl
from flopwise.errors import RunError
from flopwise.search import Outcome, Watch, work
from flopwise.search.evaluator import Evaluator
from flopwise.search.evaluators import evaluator_of
from flopwise.search.files import write_text
from flopwise.search.folder import StudyFolder, differences
from flopwise.search.identity import recipe_of, share_of, shortened, trial_identity
from flopwise.search.manifest import versions
from flopwise.search.opening import section
from flopwise.search.recalling import recall
from flopwise.search.status import Found, find

if TYPE_CHECKING:  # a type only: the room imports torch
    from flopwise.nets.inherit import Start

__all__ = ["Replayed", "join", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A trial trained again.

    Attributes:
        then: Its validation scores on record.
        now: Those of the new training.
        weights: Whether the weights are the same bytes; None where one of them has none.
        changes: Versions and data that changed since: name -> (then, now).
    """

    then: Mapping[str, float]
    now: Mapping[str, float]
    weights: bool | None
    changes: Mapping[str, tuple[str, str]]

    @property
    def same(self) -> bool:
        """Whether scores and weights are the same to the last digit."""
        return dict(self.then) == dict(self.now) and self.weights is not False


def join(
    study: str | Path,
    folder: Path | None = None,
    *,
    watch: Callable[[str], Watch] | None = None,
    command: str = "",
    storage: str = "",
    parent: int = 0,
    processes: int | None = None,
) -> Outcome:
    """Works on a study that a search started, until all of it is done.

    Args:
        study: Its folder, or the URL of its database.
        folder: The folder as this machine sees it.
        watch: Makes who is told, from the metric that trials are ranked by; nobody by default.
        command: The command that asked for it, for the records.
        storage: URL of the database with its password, where the folder does not say it.
        parent: The process to work for; the worker leaves when that is gone.
        processes: Processes that share a training; as many as the search said by default.
    """
    url = str(study) if "://" in str(study) else ""
    found = find(study) if url else None
    home = folder or (found.folder if found else Path(study))
    if found and not (home / "study.json").exists():
        raise RunError(
            f"the study '{found.name}' keeps its files in {found.study.user_attrs.get('place')}, "
            f"and there is no study in {home} on this machine; all workers share one folder: mount "
            "it, and say with --out where"
        )
    with StudyFolder(home, joins=True) as joined:
        spec, begin = recall(home, joined.known()), _begin(joined.known())
    return work(
        spec,
        home,
        watch=watch(section(spec).objective[1]) if watch else None,
        command=command,
        storage=url.partition("#")[0] or storage,
        parent=parent,
        begin=begin,
        processes=processes,
    )


def replay(
    study: str | Path,
    trial: int,
    folder: Path | None = None,
    *,
    on_note: Callable[[str], None] = lambda text: None,
) -> Replayed:
    """Trains a trial again from what is on record of it.

    Args:
        study: The folder of a search, or the URL of its database.
        trial: Its number.
        folder: Where the new training goes; must not hold another one.
        on_note: Told what a person should know.

    Raises:
        RunError: There is no such trial with a score, or its record makes another network now.
    """
    found = find(study)
    kept = _record(found, trial)
    home = folder or found.folder / "replays" / str(trial)
    if folder is None:
        shutil.rmtree(home, ignore_errors=True)
    elif home.exists() and any(home.iterdir()):
        raise RunError(f"{home} is not empty; name another folder")
    about, share = kept["about"], share_of(kept["identity"])[1]
    write_text(home / "resolved.yaml", about["resolved"])
    for name, text in about["codes"].items():
        write_text(home / name, text)
    spec = dsl.load(home / "resolved.yaml")
    evaluator = _evaluator(found, spec, kept["result"].get("processes", 1))
    network, recipe = spec.network(), recipe_of(spec.recipe, share)
    if shortened(trial_identity(network, spec.recipe), share) != kept["identity"]:
        was = ", ".join(f"{name} {number}" for name, number in about["made"]["versions"].items())
        raise RunError(
            f"the record of trial {trial} makes another training with this version of flopwise; "
            f"it was made with {was}"
        )
    changes = _changes(found, about, evaluator)
    for note in evaluator.notes:
        on_note(note)
    measure = evaluator.evaluate(network, recipe, home, lambda epoch, of, scores: None)
    before = found.folder / (kept["result"]["weights"] or "nothing")
    weights = None
    if measure.weights and before.is_file():
        weights = measure.weights.read_bytes() == before.read_bytes()
    return Replayed(
        then=kept["result"]["scores"], now=dict(measure.scores), weights=weights, changes=changes
    )


def _record(found: Found, trial: int) -> Mapping[str, Any]:
    """Returns what the store knows of a trial that has a score."""
    done = {t.number: t for t in found.trials if t.state.name == "COMPLETE"}
    if trial not in done:
        raise RunError(f"{found.where} has no trained trial {trial}; trained are {sorted(done)}")
    kept: Mapping[str, Any] = done[trial].user_attrs
    if "about" not in kept:
        raise RunError(f"trial {trial} was trained before flopwise kept what a replay needs")
    return kept


def _evaluator(found: Found, spec: dsl.Spec, processes: int) -> Evaluator:
    """Returns what gave the trial its score: training, or what the search's spec names."""
    known = StudyFolder(found.folder).known()
    if found.study.user_attrs.get("plan", {}).get("evaluator", "training") == "training":
        from flopwise.search.training import trainings

        return trainings(spec, _begin(known), processes)[1]
    return evaluator_of(recall(found.folder, known))[1]


def _begin(known: Mapping[str, Any]) -> Start | None:
    """Returns the weights that the trainings of a study begin from, if any."""
    if not known.get("begin"):
        return None
    from flopwise.design.starting import open_start  # imports torch

    return open_start(known["begin"])


def _changes(
    found: Found, about: Mapping[str, Any], evaluator: Evaluator
) -> dict[str, tuple[str, str]]:
    then = {**about["made"]["versions"], "data": found.study.user_attrs["identity"]["data"]}
    now = {**versions(), "data": dict(evaluator.facts)}
    return {name: (old, new) for name, old, new in differences(then, now)}
