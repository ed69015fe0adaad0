"""What a search leaves for people: rows of trials, rows of finals, the winner."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from flopwise.dsl import spell
from flopwise.search.candidates import Pick, Picks, Scalar, thawed
from flopwise.search.compare import Comparison
from flopwise.search.files import write_text

__all__ = ["COSTS", "FinalRow", "TrialRow", "equally_long", "trial_row", "write_csv"]

COSTS = ("macs", "params", "activations")

STATES = {
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.PRUNED: "stopped",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One trial: what was picked, what it costs, what one training gave on the validation split.

    Attributes:
        number: From 0, in the order of proposal.
        state: done, failed, stopped (by a pruner), running or waiting.
        picks: Target -> value.
        costs: `macs`, `params` and `activations`.
        hash: The network's structural hash.
        identity: Name of the trial's folder.
        scores: Validation scores; empty unless done.
        epochs: Epochs behind the scores.
        seconds: Time spent training.
        reason: Why it failed.
        share: How long it was trained, as a share of the recipe's epochs.
        written: True for the network as the spec writes it: the hand-written baseline.
        weights: File with its trained weights, relative to the study's folder.
        kind: Which weights were judged: raw or ema.
    """

    number: int
    state: str
    picks: Picks
    costs: Mapping[str, int]
    hash: str
    identity: str
    scores: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    images_per_s: float = 0.0
    outside_share: float = 0.0
    reason: str = ""
    share: float = 1.0
    written: bool = False
    weights: str = ""
    kind: str = "raw"

    def flat(self) -> dict[str, Scalar | None]:
        """Returns the row of `trials.csv`."""
        return {
            "number": self.number,
            "state": self.state,
            "written": self.written,
            **{name: _cell(value) for name, value in self.picks.items()},
            **{name: self.costs.get(name) for name in COSTS},
            "hash": self.hash,
            "identity": self.identity,
            **{f"val_{name}": value for name, value in self.scores.items()},
            "share": self.share,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 2),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalRow:
    """One network of the last step: its optimistic score and what fresh trainings gave.

    Attributes:
        name: `baseline`, or `top 1` and so on by validation score.
        trial: Number of its trial; None for a baseline that was never tried.
        picks: Target -> value; empty for the written network.
        costs: `macs`, `params` and `activations`.
        hash: The network's structural hash.
        search: Validation scores of its trial: chosen as the best of many, so optimistic.
        search_epochs: Epochs behind them; 0 without a trial.
        tries: Of how many trials.
        tests: Test scores of each fresh seed.
        seeds: Those seeds.
        failures: Why fresh trainings failed, by seed.
        versus: Comparison with the baseline; None for the baseline itself.
    """

    name: str
    trial: int | None
    picks: Picks
    costs: Mapping[str, int]
    hash: str
    search: Mapping[str, float]
    tests: tuple[Mapping[str, float], ...]
    seeds: tuple[int, ...]
    failures: Mapping[int, str] = field(default_factory=dict)
    versus: Comparison | None = None
    tries: int = 1
    search_epochs: int = 0

    def mean(self, metric: str) -> float | None:
        """Returns the mean of a test score over the fresh seeds."""
        return sum(t[metric] for t in self.tests) / len(self.tests) if self.tests else None

    def spread(self, metric: str) -> float | None:
        """Returns the standard deviation of a test score over the fresh seeds."""
        mean, n = self.mean(metric), len(self.tests)
        if mean is None or n < 2:
            return None
        return float((sum((t[metric] - mean) ** 2 for t in self.tests) / (n - 1)) ** 0.5)

    def flat(self) -> dict[str, Scalar | None]:
        """Returns the row of `finals.csv`."""
        metrics = list(self.tests[0]) if self.tests else []
        return {
            "name": self.name,
            "trial": self.trial,
            **{name: self.costs.get(name) for name in COSTS},
            "hash": self.hash,
            **{f"search_val_{name}": value for name, value in self.search.items()},
            "search_epochs": self.search_epochs or None,
            "best_of": self.tries,
            **{f"test_{name}": self.mean(name) for name in metrics},
            **{f"test_{name}_sd": self.spread(name) for name in metrics},
            "seeds": " ".join(map(str, self.seeds)),
            "difference": self.versus.difference if self.versus else None,
            "error": self.versus.error if self.versus else None,
            "tie": self.versus.tied if self.versus else None,
            "failures": "; ".join(f"seed {s}: {why}" for s, why in self.failures.items()),
        }


def equally_long(rows: Sequence[TrialRow], fewest: int = 1) -> list[TrialRow]:
    """Returns trained trials of one length: the longest of which there are some number or more."""
    done = [row for row in rows if row.state == "done"]
    counts = Counter(row.share for row in done)
    longest = max((share for share, count in counts.items() if count >= fewest), default=None)
    return [row for row in done if row.share == longest]


def trial_row(trial: FrozenTrial) -> TrialRow:
    """Reads a row from Optuna's trial."""
    known = trial.user_attrs
    kept: Mapping[str, Any] = {**known, **known.get("about", {}), **known.get("result", {})}
    return TrialRow(
        number=trial.number,
        state=STATES[trial.state],
        picks=thawed(kept.get("picks", dict(trial.params))),
        costs={name: kept[name] for name in COSTS if name in kept},
        hash=kept.get("hash", ""),
        identity=kept.get("identity", ""),
        scores=kept.get("scores", {}) if trial.state == TrialState.COMPLETE else {},
        epochs=kept.get("epochs", 0),
        seconds=kept.get("seconds", 0.0),
        images_per_s=kept.get("images_per_s", 0.0),
        outside_share=kept.get("outside_share", 0.0),
        reason=kept.get("reason", ""),
        share=kept.get("share", 1.0),
        written=kept.get("written", False),
        weights=kept.get("weights", ""),
        kind=kept.get("kind", "raw"),
    )


def _cell(value: Pick) -> Scalar:
    return spell(value) if isinstance(value, tuple) else value


def write_csv(path: Path, rows: Sequence[Mapping[str, Scalar | None]]) -> None:
    """Writes rows under the union of their columns, in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, bool) else v for k, v in row.items()})
    write_text(path, text.getvalue())
