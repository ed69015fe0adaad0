"""NAS-Bench-Macro and NAS-Bench-201: a space, and what its networks are worth by a table."""

from __future__ import annotations

import argparse
import csv
import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from flopwise.dsl import Spec, load
from flopwise.search.candidates import Candidate, Candidates, made
from flopwise.search.opening import look
from flopwise.search.scored import Scored
from flopwise.search.strategies import numbers_of
from flopwise.search.strategy import Past
from flopwise.search.surrogate import Features, spearman

EXAMPLES = Path(__file__).parents[1] / "examples" / "nas_bench"
RESULTS = Path(__file__).parent / "results"
OPERATIONS = {
    "none": "none",
    "skip_connect": "skip",
    "nor_conv_1x1": "conv1",
    "nor_conv_3x3": "conv3",
    "avg_pool_3x3": "pool",
}
"""The operations of NAS-Bench-201: its words and ours."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A space and what its networks are worth.

    Attributes:
        spec: The space.
        candidates: The same, judged.
        pool: Each network inside the budget, once.
        trials: What a search spends, in full trainings.
        short: Length of a short training.
        truth: Picks in one line -> what regret is measured in, for every row inside the budget.
        seen: What a training shows: (picks in one line, share, repeat) -> score.
    """

    spec: Spec
    candidates: Candidates
    pool: list[Candidate]
    trials: int
    short: float
    truth: Mapping[str, float]
    seen: Callable[[str, float, int], float]
    features: Features

    def counted(self, history: list[Past]) -> tuple[int, int]:
        """Returns how many of the trainings lay outside the budget, and how many were repeated."""
        outside = sum(made(past.picks) not in self.truth for past in history)
        return outside, len(history) - len({(past.identity, past.share) for past in history})

    def regret(self, history: list[Past]) -> float:
        """Returns how far the best of the longest trainings is from the best there is."""
        longest = max(past.share for past in history)
        best = max((p for p in history if p.share == longest), key=lambda p: p.score)
        return max(self.truth.values()) - self.truth[made(best.picks)]


def macro(options: argparse.Namespace) -> Bench:
    spec = load(EXAMPLES / "nas_bench_macro.yaml")
    candidates, pool = looked(spec)
    rows = table_of(EXAMPLES / "nas_bench_macro.csv.gz", list(candidates.domains))
    check_counts(candidates, rows)
    columns = ("seed1", "seed2", "seed3")
    known = {name: [float(rows[name][c]) for c in columns] for name in map(spelled, pool)}
    means = {name: float(np.mean(scores)) for name, scores in known.items()}

    def seen(name: str, share: float, repeat: int) -> float:
        return known[name][int(dice(name, repeat).integers(3))]

    return bench(spec, candidates, pool, options, 50, 1.0, means, seen)


def cells(options: argparse.Namespace) -> Bench:
    spec = load(EXAMPLES / "nas_bench_201.yaml")
    candidates, pool = looked(spec)
    table = EXAMPLES / "nas_bench_201_12_epochs.csv.gz"
    known = table_of(table, list(candidates.domains))
    full = table_of(options.full, list(candidates.domains)) if options.full else known
    truth = {name: float(full[name][options.column]) for name in map(spelled, pool)}
    low = {name: float(known[name]["cifar10_val"]) for name in truth}
    noise = noise_for(options.agreement, low, truth)

    def seen(name: str, share: float, repeat: int) -> float:
        if share == 1:
            return truth[name]
        return low[name] + noise * float(dice(name, repeat).standard_normal())

    return bench(spec, candidates, pool, options, 10, 0.06, truth, seen)


def bench(
    spec: Spec,
    candidates: Candidates,
    pool: list[Candidate],
    options: argparse.Namespace,
    trials: int,
    short: float,
    truth: Mapping[str, float],
    seen: Callable[[str, float, int], float],
) -> Bench:
    scored = Scored(RESULTS / f"{spec.name}_scores.jsonl")
    features = Features(candidates.domains, numbers_of(spec, options.scores, scored))
    return Bench(
        spec=spec,
        candidates=candidates,
        pool=list({each.identity: each for each in pool}.values()),
        trials=trials,
        short=short,
        truth=truth,
        seen=seen,
        features=features,
    )


def looked(spec: Spec) -> tuple[Candidates, list[Candidate]]:
    """Returns the space and every candidate inside the budget."""
    candidates, _ = look(spec)
    assert candidates.feasible and candidates.feasible.listed, "both spaces are listed"
    codes = candidates.feasible.listed.codes
    found = map(candidates.judge, candidates.feasible.tables.decode(codes))
    return candidates, [each for each in found if each.feasible]


def spelled(candidate: Candidate) -> str:
    return made(candidate.picks)


def table_of(path: Path, targets: list[str]) -> dict[str, dict[str, str]]:
    """Returns the rows of a CSV by their picks; a column `cell` may hold all six of a cell.

    The benchmark writes a cell as `|OP~0|+|OP~0|OP~1|+|OP~0|OP~1|OP~2|`.
    """
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        if "cell" in row:
            words = [OPERATIONS[word] for word in re.findall(r"(\w+)~", row["cell"])]
            row |= dict(zip(targets, words, strict=True))
        found[made({target: row[target] for target in targets})] = row
    return found


def check_counts(candidates: Candidates, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Fails unless every network costs what its authors count."""
    assert candidates.feasible
    for point in candidates.points():
        row, costs = rows[made(point)], candidates.feasible.tables.costs(point)
        if costs is None or any(costs[m] != int(row[m]) for m in ("macs", "params")):
            raise AssertionError(f"the authors count {row}, not {costs}")


def dice(name: str, repeat: int) -> np.random.Generator:
    """Returns the random numbers of one row in one repeat."""
    return np.random.default_rng([repeat, crc32(name.encode())])


def noise_for(agreement: float, low: Mapping[str, float], truth: Mapping[str, float]) -> float:
    """Returns the noise with which short scores rank the window as well as asked."""
    names, rng = sorted(truth), np.random.default_rng(0)
    a, b = (np.array([each[name] for name in names]) for each in (low, truth))
    draws = rng.standard_normal((20, len(names)))
    for noise in np.arange(0, 10, 0.1):
        if np.mean([spearman(a + noise * d, b) for d in draws]) <= agreement or agreement >= 1:
            return float(noise)
    return 10.0
