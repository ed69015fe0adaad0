"""Scores without training against direct computations on tiny networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from flopwise import nets
from flopwise.dsl import Network, loads
from flopwise.search.agreement import agreements, interval, kendall
from flopwise.search.record import TrialRow
from flopwise.search.scores import Images, scores_of
from flopwise.search.surrogate import ranks, spearman
from flopwise.search.untrained import naswot, swap

TINY = """
spec: 1
name: tiny
input: {size: 6, channels: 2}
classes: 3
net:
  one:  {block: conv, dim: 4, act: relu}
  two:  {block: conv, dim: 5, norm: NORM, act: relu}
  head: {block: classifier, pool: avg}
"""


def network(norm: str) -> Network:
    return loads(TINY.replace("NORM", norm)).network()


def layers(norm: str, seed: int = 0) -> tuple[list[nn.Module], nn.Module]:
    """Returns the layers of the tiny network in order, with the weights it is built with."""
    built = nets.build(network(norm), seed=seed)
    kinds = nn.Conv2d | nn.Linear | nn.BatchNorm2d
    return [module for module in built.modules() if isinstance(module, kinds)], built


def forward(x: Tensor, parts: list[nn.Module], seen: list[Tensor]) -> Tensor:
    """Runs the tiny network by hand and keeps the inputs of its activations."""
    *inner, head = parts
    for at, part in enumerate(inner):
        x = part(x)
        if at + 1 == len(inner) or not isinstance(inner[at + 1], nn.BatchNorm2d):
            seen.append(x)
            x = x.relu()
    out: Tensor = head(x.mean((2, 3)))
    return out


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_scores_are_what_autograd_and_loops_give(norm: str) -> None:
    spec = network(norm)
    images = Images.noise(spec, count=8)
    names = ("grad_norm", "snip", "naswot", "swap", "depth", "macs")
    found = scores_of(names, spec, images)
    parts, _ = layers(norm)
    x, y = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    seen: list[Tensor] = []
    weights = [part.weight for part in parts if not isinstance(part, nn.BatchNorm2d)]
    loss = nn.functional.cross_entropy(forward(x, parts, seen), y)
    gradients = torch.autograd.grad(loss, weights)
    assert found["grad_norm"] == pytest.approx(sum(float(g.norm()) for g in gradients), rel=1e-4)
    pairs = zip(weights, gradients, strict=True)
    assert found["snip"] == pytest.approx(
        sum(float((w * g).detach().abs().sum()) for w, g in pairs), rel=1e-4
    )
    codes = np.concatenate([(s.detach() > 0).flatten(1).numpy() for s in seen], axis=1)
    agree = np.array([[float((a == b).sum()) for b in codes] for a in codes])
    assert found["naswot"] == pytest.approx(np.log(np.linalg.det(agree)), rel=1e-4)
    assert found["swap"] == len({tuple(column) for column in codes.T})
    assert found["depth"] == 3
    assert found["macs"] == spec.graph.macs


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_synflow_is_the_flow_through_absolute_weights_without_norms(norm: str) -> None:
    parts, _ = layers(norm)
    linear = [part.double() for part in parts if not isinstance(part, nn.BatchNorm2d)]
    for part in linear:
        for tensor in part.parameters():
            tensor.data.abs_()
    out = forward(torch.ones(1, 2, 6, 6, dtype=torch.float64), linear, []).sum()
    weights = [part.weight for part in linear]
    pairs = zip(weights, torch.autograd.grad(out, weights), strict=True)
    expected = np.log(sum(float((w * g).detach().sum()) for w, g in pairs))
    assert scores_of(["synflow"], network(norm))["synflow"] == pytest.approx(expected)


def test_patterns_are_counted_for_any_number_of_images() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 7, 8, 9, 30):
        code = torch.from_numpy(rng.random((count, 50)) < 0.5)
        assert swap([code, code]) == len({tuple(column) for column in code.numpy().T})
    assert np.isneginf(naswot([torch.ones(2, 5, dtype=torch.bool)]))  # two images, one code


def test_rank_correlations_are_those_of_scipy_ties_included() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(6, size=(2, 15)).astype(float)
        assert ranks(a).tolist() == stats.rankdata(a).tolist()
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
        assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) == kendall(np.ones(5), np.arange(5.0)) == 0


def test_the_interval_of_a_correlation_is_that_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal(40)
    b = a + rng.standard_normal(40)
    ours = interval(spearman, a, b)
    theirs = stats.bootstrap(
        (a, b), lambda x, y: stats.spearmanr(x, y).statistic, paired=True, vectorized=False,
        n_resamples=1000, method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05)


def test_only_the_longest_trainings_are_compared_with_scores() -> None:
    nets_, rows = {}, []
    for number, dim in enumerate((4, 6, 8, 10, 12, 14)):
        nets_[number] = loads(TINY.replace("NORM", "bn").replace("dim: 5", f"dim: {dim}")).network()
        rows.append(row(number, float(dim), 1.0))
    rows.append(row(6, -1e6, 0.1))
    (found,) = agreements(rows, nets_, ("maximize", "top1"), ["params"])
    assert (found.trials, found.spearman, found.kendall) == (6, pytest.approx(1), pytest.approx(1))
    (worse,) = agreements(rows, nets_, ("minimize", "top1"), ["params"])
    assert worse.spearman == pytest.approx(-1)


def row(number: int, score: float, share: float) -> TrialRow:
    return TrialRow(
        number=number, state="done", picks={}, costs={}, hash="", identity="",
        scores={"top1": score}, share=share,
    )  # fmt: skip
