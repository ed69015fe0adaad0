"""Where training settings are searched, the hand-written baseline gets as many tries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flopwise.dsl import Network, Recipe, Spec, loads
from flopwise.search import Evaluator, Measure, Verdict, search
from flopwise.search.baseline import tried
from flopwise.search.evaluator import OnEpoch
from tests.searches import rows_of, tiny

SPEC = tiny("""
vars: {w: 16, d: 2, warm: 0}
search:
  space:
    SPACE
  budget: {macs: {min: 100k, max: 700k}}
  trials: 8
  sampler: {kind: random, seed: 3}
  final: {top: 2, seeds: 2}
train: {data: digits, epochs: 20, lr: 0.003, warmup: $warm}
""")
BOTH = """w: {range: [8, 32], step: 4}
    d: {range: [1, 4]}
    train.lr: {range: [0.0001, 0.1], log: true}
    warm: {choice: [0, 2]}"""


def spec_with(space: str) -> Spec:
    return loads(SPEC.replace("SPACE", space))


class Book:
    """Scores that hang on the rate of learning far more than on the network."""

    def __init__(self) -> None:
        self.trained: list[tuple[str, float, int]] = []

    def evaluate(
        self, network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch
    ) -> Measure:
        self.trained.append((network.hash, recipe.lr, recipe.seed))
        score = 90 - 20 * abs(np.log10(recipe.lr / 0.01)) + network.graph.macs / 1e6
        return Measure(scores={"top1": float(score)}, epochs=20)

    def judge(self, network: Network, recipe: Recipe, measure: Measure) -> Verdict:
        right = np.random.default_rng(recipe.seed).random(400) < measure.scores["top1"] / 100
        return Verdict(scores={"top1": 100 * float(right.mean())}, correct=right)

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(evaluate=self.evaluate, judge=self.judge)


@pytest.mark.parametrize("kind", ["random", "screened, short: [50%]"])
def test_the_baseline_is_searched_as_long_and_judged_with_its_best_settings(
    tmp_path: Path, kind: str
) -> None:
    book, spec = Book(), spec_with(BOTH)
    text = SPEC.replace("SPACE", BOTH).replace("kind: random", f"kind: {kind}")
    outcome = search(loads(text), tmp_path, evaluator=book.evaluator)
    own = rows_of(tmp_path / "baseline")
    assert len(own) == 8 and {row["hash"] for row in own} == {spec.network().hash}
    assert own[0]["train.lr"] == "0.003" and len({row["train.lr"] for row in own}) > 4
    best = max(own, key=lambda row: float(row["val_top1"]))
    baseline, top, *_ = outcome.finals
    assert baseline.name == "baseline" and baseline.tries == 8 and top.tries > 1
    assert baseline.search["top1"] == float(best["val_top1"]) > float(own[0]["val_top1"])
    fresh = [(h, lr) for h, lr, seed in book.trained if seed in baseline.seeds]
    assert fresh.count((spec.network().hash, float(best["train.lr"]))) == 2
    again = Book()
    assert search(loads(text), tmp_path, evaluator=again.evaluator).finals == outcome.finals
    assert again.trained == []
    assert rows_of(tmp_path, "finals")[0]["best_of"] == "8"


@pytest.mark.parametrize(
    ("space", "found"),
    [
        (BOTH, ("train.lr", "warm")),
        ("w: {range: [8, 32], step: 4}", ()),
        ("train.lr: {choice: [0.001, 0.003]}", ()),
    ],
    ids=["both", "networks", "settings"],
)
def test_only_what_leaves_the_network_alone_is_tried_beside_what_does_not(
    tmp_path: Path, space: str, found: tuple[str, ...]
) -> None:
    assert tried(spec_with(space)) == found
    search(spec_with(space), tmp_path, trials=2, evaluator=Book().evaluator)
    assert (tmp_path / "baseline").exists() == bool(found)
