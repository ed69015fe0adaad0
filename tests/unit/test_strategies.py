"""Strategies: what they propose, how long it is trained, and when a model is trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from flopwise.dsl import Spec, loads
from flopwise.errors import RunError
from flopwise.search import Evaluator, Measure, search
from flopwise.search.agreement import PLAIN
from flopwise.search.evaluators import from_function
from flopwise.search.opening import look
from flopwise.search.status import find, status
from flopwise.search.strategies import STRATEGIES, numbers_of, strategy_of
from flopwise.search.surrogate import LEVEL, NOISES, Features, Known, fit, spearman
from flopwise.search.view import status_lines
from flopwise.search.watch import Watch

SPEC = """
spec: 1
name: net
input: {size: 8, channels: 1}
classes: 10
vars: {w: 16, k: 3, se: false, ratio: 0.25}
net:
  one:  {block: conv, dim: $w, norm: bn, act: relu}
  two:  {block: residual, depth: 2, dim: $(2*w), kernel: $k, se: "$(ratio if se else 0)"}
  head: {block: classifier}
train: {epochs: 20}
search:
  space:
    w: {range: [8, 40], step: 8}
    se: {choice: [true, false]}
    ratio: {choice: [0.125, 0.25, 0.5], when: $se}
    net.two.depth: {range: [1, 4]}
    net.two[*].kernel: {choice: [3, 5]}
  budget: {macs: {min: 300k, max: 3M}}
  sampler: SAMPLER
  trials: 30
"""


def spec_of(sampler: str) -> Spec:
    return loads(SPEC.replace("SAMPLER", sampler))


def known(spec: Spec) -> Evaluator:
    """Longer trainings and deeper networks are better."""
    return from_function(
        lambda network, recipe: network.graph.macs / 1e6 + recipe.epochs, "top1", {}
    )


@pytest.mark.parametrize("kind", [*STRATEGIES, "class"])
def test_conditions_and_tied_targets_work_in_every_strategy(kind: str, tmp_path: Path) -> None:
    sampler = f"{{kind: {kind}, seed: 2}}"
    if kind == "class":
        sampler = "{class: optuna.samplers.TPESampler, args: {multivariate: false}}"
    spec = spec_of(sampler)
    outcome = search(spec, tmp_path / "study", evaluator=known(spec), trials=24)
    rows = outcome.trials
    assert len({row.identity for row in rows}) == len(rows) >= 24
    for row in rows:
        assert 300_000 <= row.costs["macs"] <= 3_000_000
        assert ("ratio" in row.picks) == row.picks["se"]
        kernels = [name for name in row.picks if name.endswith("].kernel")]
        assert len(kernels) == row.picks["net.two.depth"]
        assert spec.network(row.picks).hash == row.hash


def test_a_model_is_trusted_for_a_rule_and_not_for_noise() -> None:
    rng = np.random.default_rng(0)
    groups = (rng.standard_normal((40, 6)), rng.standard_normal((40, 3)))
    rule = groups[0][:, 0] - 2 * groups[1][:, 1]
    for expected in (np.zeros(40), rng.standard_normal(40)):
        known = Known(groups, expected[:, None])
        assert fit(known, rule).trusted
        trusted = [fit(known, rng.standard_normal(40)).trusted for _ in range(20)]
        assert sum(trusted) <= 3


def test_an_expectation_that_holds_helps_and_one_that_does_not_costs_little() -> None:
    rng = np.random.default_rng(0)
    found: dict[int, list[float]] = {-1: [], 0: [], 1: []}
    for _ in range(40):
        truth = rng.standard_normal(200)
        groups = (rng.standard_normal((200, 8)) + 0.3 * truth[:, None],)
        hint = truth + rng.standard_normal(200)
        for sign, ranked in found.items():
            known = Known(groups, (sign * hint)[:, None])
            model = fit(known.of(np.arange(10)), truth[:10].tolist())
            ranked.append(spearman(model(known)[10:], truth[10:]))
    against, without, with_it = (float(np.mean(found[sign])) for sign in (-1, 0, 1))
    assert with_it > without + 0.05
    assert against > without - 0.05


def test_scores_are_seen_unless_they_cost_much_beside_short_trainings() -> None:
    usual = ["expressivity", "progressivity", "trainability", "swap"]
    for images, seen in ((0, []), (20_000, []), (21_000, usual)):  # 2 epochs of 20 are a short one
        assert strategy_of(spec_of("{kind: screened}"), 9, images=images).facts["scores"] == seen
    for written in ("[]", "[depth, snip]"):
        strategy = strategy_of(spec_of(f"{{kind: screened, scores: {written}}}"), 9, images=10**6)
        assert str(strategy.facts["scores"]).replace("'", "") == written


@pytest.mark.slow
def test_what_a_search_measures_is_kept_and_the_same_search_takes_the_same_way(
    tmp_path: Path,
) -> None:
    spec = spec_of("{kind: screened, seed: 4}")
    evaluator, told = replace(known(spec), images=50_000), Told()
    ways = []
    for name in ("one", "two"):
        found = search(spec, tmp_path / name, evaluator=evaluator, trials=3, watch=told)
        ways.append([row.picks for row in found.trials])
    assert ways[0] == ways[1] and len(ways[0]) == 21
    assert [
        text for text in told.notes if "expressivity, progressivity, trainability, swap" in text
    ]
    lines = (tmp_path / "one" / "scores.jsonl").read_text().splitlines()
    hashes = [json.loads(line)["hash"] for line in lines]
    assert len(hashes) == len({*hashes}) > 60
    scores = {line.pop("hash"): line for line in map(json.loads, lines)}
    short = [row for row in found.trials if row.share < 1]
    for each in found.agreement[len(PLAIN) :]:
        pairs = [(scores[row.hash][each.score], row.scores["top1"]) for row in short]
        assert each.spearman == pytest.approx(stats.spearmanr(pairs).statistic)


class Told(Watch):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_what_is_first_met_after_a_fit_changes_no_prediction() -> None:
    # 'se' is a layer that the candidates of the fit need not have
    spec = spec_of("{kind: screened}")
    candidates, _ = look(spec)
    drawn = candidates.several(np.random.default_rng(0), 120)
    plain = [each for each in drawn if not each.picks["se"]][:12]
    scores = [float(each.costs["macs"]) for each in plain]
    assert spec.search and len(plain) == 12
    predicted = []
    for before in ((), drawn):
        features = Features(spec.search.space, numbers_of(spec, ()))
        features(before or plain)
        predicted.append(fit(features(plain), scores)(features(drawn)))
    assert np.ptp(predicted[0]) and np.allclose(*predicted)


def test_what_ten_have_in_common_up_to_rounding_says_nothing_of_others() -> None:
    rng = np.random.default_rng(0)
    scores, group = rng.standard_normal(10), rng.standard_normal((40, 3))
    group[:10, 0] = 0.1  # ten times 0.1 are not 1, so their mean is not 0.1
    reasons = group[:, :1].copy()
    model = fit(Known((group[:10],), reasons[:10]), scores.tolist())
    told = model(Known((group,), reasons))
    assert 0.1 * np.ptp(scores) < np.ptp(told[10:]) < np.ptp(scores)  # by the other columns
    group[10:, 0] = reasons[10:] = 7.0
    assert np.array_equal(model(Known((group,), reasons)), told)


@pytest.mark.parametrize("leaning", [-2.0, 2.0])
def test_agreement_is_that_of_models_fitted_without_each_score(leaning: float) -> None:
    rng = np.random.default_rng(1)
    reasons = rng.standard_normal((15, 3)) * [1.0, 100.0, 0.0]
    reasons[3, 1] = np.nan  # says nothing of one of them
    known = Known((rng.standard_normal((15, 4)),), reasons)
    middle, spread = np.nanmean(reasons, 0), np.nanstd(reasons, 0)
    both = np.nan_to_num((reasons - middle)[:, :2] / spread[:2]).sum(1)
    scores = rng.standard_normal(15) + leaning * both
    model = fit(known, scores)
    z = (scores - scores.mean()) / scores.std()
    slope = 0.5 if leaning > 0 else 0.0
    begun = slope * both / both.std()
    assert np.allclose(model.leaning[1][:2], slope / both.std() / spread[:2])
    put = model.groups[0]
    d2 = ((put[:, None] - put[None]) ** 2).sum(2) / put.shape[1]
    flat = put @ put.T / put.shape[1]
    kernel = (np.exp(-d2 / (2 * model.length**2)) if model.length else flat) + LEVEL
    left = z - begun
    noise = next(n for n in NOISES if np.allclose((kernel + n * np.eye(15)) @ model.weights, left))
    out = []
    for at in range(15):
        rest = np.delete(np.arange(15), at)
        inner = kernel[np.ix_(rest, rest)] + noise * np.eye(14)
        out.append(begun[at] + kernel[at, rest] @ np.linalg.solve(inner, left[rest]))
    ranked = np.corrcoef(np.argsort(np.argsort(out)), np.argsort(np.argsort(z)))[0, 1]
    assert model.agreement == pytest.approx(ranked)


def test_a_sampler_that_cannot_be_made_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    spec = spec_of("{class: optuna.samplers.TPESampler, args: {n_startup: 3}}")
    with pytest.raises(RunError, match="n_startup"):
        search(spec, tmp_path / "study", evaluator=known(spec))


def test_trainings_that_fall_behind_end_among_those_of_their_own_cost(tmp_path: Path) -> None:
    """Small networks are far ahead after one epoch; without the strata no large one would go on."""
    text = SPEC.replace("SAMPLER", "{kind: random}").replace("  trials", "  TWO\n  trials")
    goals = "objective: [{maximize: top1}, {minimize: macs}]"
    spec = loads(text.replace("TWO", f"pruner: {{kind: halving}}\n  {goals}"))

    def evaluate(network, recipe, folder, on_epoch):  # type: ignore[no-untyped-def]
        for epoch in range(1, recipe.epochs + 1):
            on_epoch(epoch, recipe.epochs, {"top1": 100 - network.graph.macs / 1e5 + epoch})
        return Measure(scores={"top1": network.graph.macs / 1e5})

    evaluator = Evaluator(evaluate=evaluate)
    rows = search(spec, tmp_path / "study", evaluator=evaluator, trials=60).trials
    ended = [row for row in rows if row.state == "stopped"]
    done = sorted(row.costs["macs"] for row in rows if row.state == "done")
    assert len(ended) >= 15 and all("fell behind" in row.reason for row in ended)
    assert done[0] < 800_000 and done[-1] > 2_000_000
    counts = status_lines(status(find(tmp_path / "study")))[0]
    assert f"{len(done)} done, {len(ended)} stopped, of 60 trials" in counts


def test_a_pruner_of_optuna_ends_trainings(tmp_path: Path) -> None:
    pruner = "{class: optuna.pruners.ThresholdPruner, args: {lower: 10}}"
    text = SPEC.replace("SAMPLER", "{kind: random}")
    spec = loads(text.replace("  trials", f"  pruner: {pruner}\n  trials"))

    def evaluate(network, recipe, folder, on_epoch):  # type: ignore[no-untyped-def]
        on_epoch(1, 2, {"top1": network.graph.macs / 1e5})
        return Measure(scores={"top1": 1.0})

    rows = search(spec, tmp_path / "study", evaluator=Evaluator(evaluate=evaluate)).trials
    for row in rows:
        assert row.state == ("stopped" if row.costs["macs"] < 1_000_000 else "done")
