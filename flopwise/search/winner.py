"""The network a search ends with, and the weights of it that are worth exporting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flopwise.dsl import Spec
from flopwise.search.candidates import Picks
from flopwise.search.files import write_json
from flopwise.search.final import Entrant, Fresh
from flopwise.search.manifest import write_resolved
from flopwise.search.record import FinalRow, TrialRow

__all__ = ["Winner", "choose", "from_finals", "from_trial", "write_winner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The chosen network and where its weights lie.

    Attributes:
        name: `top 1` and so on; `baseline` when no trial beat the hand-written network.
        trial: Number of its trial.
        picks: Target -> value.
        hash: The network's structural hash.
        costs: `macs`, `params` and `activations`.
        weights: File with the weights to export; None when nothing was trained.
        kind: Which weights these are: raw or ema.
        seed: Seed of the training they come from.
        search: Validation scores of the trial: the best of many, so optimistic.
        validation: Validation scores of the exported weights.
        test: Test scores of the exported weights; empty without a last step.
        fresh: Mean and standard deviation of each test score over the fresh seeds.
        trials: Number of trained trials it was chosen from.
        data: Facts about the data, for export.
    """

    name: str
    trial: int | None
    picks: Picks
    hash: str
    costs: Mapping[str, int]
    weights: Path | None
    kind: str
    seed: int
    search: Mapping[str, float]
    validation: Mapping[str, float]
    test: Mapping[str, float] = field(default_factory=dict)
    fresh: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    trials: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


def choose(
    field: Sequence[Entrant],
    runs: Mapping[str, Sequence[Fresh]],
    best: TrialRow,
    objective: tuple[str, str],
) -> tuple[Entrant, Fresh] | None:
    """Chooses the network by its mean, and its weights by their own, fresh validation score.

    Never by test scores. The baseline takes part only when the best trial is itself the baseline.
    None when every fresh training failed.
    """
    direction, metric = objective
    sign = 1 if direction == "maximize" else -1
    pool = [entrant for entrant in field if entrant.name != "baseline" or best.written]

    def scores(entrant: Entrant) -> list[float]:
        return [sign * r.validation[metric] for r in runs[entrant.name] if not r.reason]

    pool = [entrant for entrant in pool if scores(entrant)]
    if not pool:
        return None
    entrant = max(pool, key=lambda e: sum(scores(e)) / len(scores(e)))
    done = [run for run in runs[entrant.name] if not run.reason]
    return entrant, max(done, key=lambda run: sign * run.validation[metric])


def from_finals(entrant: Entrant, run: Fresh, row: FinalRow, folder: Path) -> Winner:
    """Returns the winner of the last step."""
    return Winner(
        name=entrant.name,
        trial=row.trial,
        picks=entrant.picks,
        hash=row.hash,
        costs=row.costs,
        weights=folder / run.weights if run.weights else None,
        kind=run.kind,
        seed=run.seed,
        search=row.search,
        validation=run.validation,
        test=run.test,
        fresh={metric: (row.mean(metric), row.spread(metric)) for metric in run.test},
    )


def from_trial(row: TrialRow, folder: Path, seed: int) -> Winner:
    """Returns the best trial as the winner of a search without a last step."""
    weights = folder / row.weights if row.weights else None
    return Winner(
        name="top 1",
        trial=row.number,
        picks=row.picks,
        hash=row.hash,
        costs=row.costs,
        weights=weights,
        kind=row.kind,
        seed=seed,
        search=row.scores,
        validation=row.scores,
    )


def write_winner(folder: Path, spec: Spec, winner: Winner, provenance: Mapping[str, Any]) -> None:
    """Writes `winner/`: the network as a spec of its own, and everything known about it."""
    home = folder / "winner"
    weights = winner.weights.relative_to(folder) if winner.weights else None
    write_resolved(home, spec, winner.picks)
    write_json(
        home / "winner.json",
        {
            **asdict(winner),
            "weights": str(weights) if weights else None,
            "resolved": "winner/resolved.yaml",
            **provenance,
        },
    )
