"""Scores without training, beside what the trainings of a study gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flopwise.dsl.tables import SCORES
from flopwise.search.agreement import Agreement, agreements
from flopwise.search.recalling import recorded
from flopwise.search.record import trial_row
from flopwise.search.status import find

__all__ = ["study_scores"]


def study_scores(place: str | Path, names: Sequence[str] = SCORES) -> list[Agreement]:
    """Returns how scores without training rank the trained networks of a study.

    Args:
        place: The folder of a search, or the URL of its database.
        names: The scores; the plain baselines come before them, asked for or not.

    Raises:
        RunError: There is no study, or too few networks were trained.
    """
    found = find(place)
    way, metric = found.study.user_attrs["identity"]["objective"].split(", ")[0].split()
    trials = [trial for trial in found.trials if trial.user_attrs.get("about")]
    rows = [trial_row(trial) for trial in trials]
    done = {row.number for row in rows if row.state == "done"}
    networks = {
        t.number: recorded(t.user_attrs["about"]).network() for t in trials if t.number in done
    }
    return agreements(rows, networks, (way, metric), names)
