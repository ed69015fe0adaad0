"""Scores without training against direct computations on tiny networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from flopwise import nets
from flopwise.dsl import Network, load, loads
from flopwise.errors import RunError
from flopwise.search.agreement import PLAIN, Array, agreements, interval, kendall
from flopwise.search.record import TrialRow
from flopwise.search.scored import Scored, images_for
from flopwise.search.scores import Images, scores_of
from flopwise.search.surrogate import ranks, spearman
from flopwise.search.untrained import (
    expressivity,
    naswot,
    outputs_of,
    progressivity,
    swap,
    trainability,
)

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


BLOCKS = """
spec: 1
name: blocks
input: {size: 8, channels: 2}
classes: 3
net:
  stem:  {block: conv, dim: 6, norm: bn, act: relu}
  deep:  {block: convnext, dim: 6, depth: 3, kernel: 3, layer_scale: SCALE}
  down:  {block: convnext, dim: 8, kernel: 3, stride: 2, layer_scale: SCALE}
  same:  {block: identity}
  vit:   {block: vit, heads: 2, depth: 2}
  head:  {block: classifier, pool: avg}
"""
GEOMETRY = ("expressivity", "progressivity", "trainability")


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


def test_what_blocks_put_out_is_scored_as_loops_over_components_and_gradients_give() -> None:
    spec = loads(BLOCKS.replace("SCALE", "1e-6")).network()
    images = Images.noise(spec, count=4)
    batch = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    outputs = outputs_of(nets.build(spec, seed=0), batch)
    shapes = [(6, 8, 8)] * 4 + [(8, 4, 4)] + [(16, 8)] * 2
    assert [tuple(each.shape[1:]) for each in outputs] == shapes
    spread = []
    for each in outputs:
        rows = (each.movedim(1, -1) if each.dim() == 4 else each).flatten(0, -2)
        shares = np.linalg.eigvalsh(np.cov(rows.detach().numpy().T.astype(float)))
        shares = shares / shares.sum()
        spread.append(-float(sum(share * np.log(share) for share in shares if share > 0)))
    assert expressivity(outputs) == pytest.approx(sum(spread), rel=1e-4)
    assert progressivity(outputs) == pytest.approx(min(np.diff(spread)), rel=1e-3)
    found = scores_of(("synflow", *GEOMETRY, "snip"), spec, images)
    assert found["expressivity"] == expressivity(outputs)
    assert found["trainability"] == trainability(outputs) < 0
    for name, value in found.items():  # none depends on which others are asked for
        assert scores_of([name], spec, images) == {name: value}


def test_branches_that_start_at_nothing_are_seen_and_blocks_that_do_nothing_are_not() -> None:
    closed, open_ = (loads(BLOCKS.replace("SCALE", each)).network() for each in ("1e-6", "1"))
    assert scores_of(GEOMETRY, closed) == scores_of(GEOMETRY, open_)
    x = torch.randn(4, 3, 6, 6, requires_grad=True)
    same = x + 0
    assert np.isnan(trainability([x, same])) and np.isnan(trainability([x]))
    assert np.isfinite(trainability([x, same, nn.functional.avg_pool2d(2 * same, 2)]))


def test_what_is_no_longer_a_number_has_no_score() -> None:
    x = torch.randn(4, 3, 6, 6, requires_grad=True)
    for last in (x * 1e30 * 1e30, x * float("nan")):
        assert np.isnan(expressivity([x, last])) and np.isnan(progressivity([x, last]))
        assert np.isnan(trainability([x, last]))


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_trainability_of_a_scaled_rotation_is_known(gain: float) -> None:
    x = torch.randn(4000, 1, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    y = gain * x @ turn
    assert trainability([x, y]) == pytest.approx(2 - gain - 1 / gain, abs=0.15 * gain)


def test_scores_are_measured_once_for_all_who_share_a_file_even_one_with_a_cut_line(
    tmp_path: Path,
) -> None:
    first, second = network("none"), network("bn")
    counts: list[int] = []
    ours = Scored(tmp_path / "scores.jsonl", counts.append)
    theirs = Scored(tmp_path / "scores.jsonl")
    found = ours(first, ("depth", "trainability"))
    with (tmp_path / "scores.jsonl").open("a") as file:
        print(json.dumps({"hash": second.hash, "depth": -7.0, "snip": None}), file=file)
        file.write('{"hash": "cut')
    assert theirs(first, ("trainability", "depth")) == found
    assert ours(second, ("depth",)) == {"depth": -7.0}
    assert np.isnan(theirs(second, ("snip",))["snip"])
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 3  # nothing was measured
    assert theirs(second, ("params",)) == {"params": float(second.graph.params)}
    assert Scored()(second, ("depth",)) == {"depth": 3.0} and ours(second, ()) == {}
    assert counts == [1]
    alone, few = scores_of(["swap"], first, Images.noise(first, 4)), Scored(images=4)
    assert few(first, ("swap",)) == alone != Scored()(first, ("swap",))


def test_networks_of_many_activations_see_fewer_images() -> None:
    design = load("std/convnext_tiny")
    count = design.network().graph.activations
    assert images_for(design.network()) == 32 and 32 * count < 2**30
    for size, images in ((448, 16), (896, 4), (1792, 4)):
        assert images_for(design.set([("input.size", str(size))]).network()) == images


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
        assert kendall(a, b) == pytest.approx(pairwise(a, b))
    assert spearman(np.ones(5), np.arange(5.0)) == kendall(np.ones(5), np.arange(5.0)) == 0


def pairwise(first: Array, second: Array) -> float:
    """Kendall's tau-b by its definition, over all pairs."""
    signs = [np.sign(each[:, None] - each[None]) for each in (first, second)]
    return float((signs[0] * signs[1]).sum() / np.prod([(each**2).sum() for each in signs]) ** 0.5)


def test_thousands_of_networks_are_compared_in_a_moment() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5_000))
    low, high = interval(kendall, a, b)  # all pairs of 200 samples would take minutes
    assert low < kendall(a, b) < high < low + 0.05


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


def test_only_the_longest_trainings_are_compared_with_scores_if_there_are_enough() -> None:
    nets_, rows = {}, []
    for number, dim in enumerate((4, 6, 8, 10, 12, 14)):
        nets_[number] = loads(TINY.replace("NORM", "bn").replace("dim: 5", f"dim: {dim}")).network()
        rows.append(row(number, float(dim), 1.0))
    rows.append(row(6, -1e6, 0.1))
    found, *others = agreements(rows, nets_, ("maximize", "top1"), ["params"])
    assert [found.score, *(each.score for each in others)] == list(PLAIN)
    assert (found.trials, found.spearman, found.kendall) == (6, pytest.approx(1), pytest.approx(1))
    worse, *_ = agreements(rows, nets_, ("minimize", "top1"), [])
    assert worse.spearman == pytest.approx(-1)
    shorter = [replace(each, share=0.1) for each in rows[1:6]]
    found, *_ = agreements([rows[0], *shorter], nets_, ("maximize", "top1"), [])
    assert (found.trials, found.share) == (5, 0.1)
    with pytest.raises(RunError, match="the study has 4 trained networks of equal length; 5 are"):
        agreements(rows[:4], nets_, ("maximize", "top1"), ["params"])


def row(number: int, score: float, share: float) -> TrialRow:
    return TrialRow(
        number=number, state="done", picks={}, costs={}, hash="", identity="",
        scores={"top1": score}, share=share,
    )  # fmt: skip
