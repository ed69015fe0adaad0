"""Scaling laws against laws that are known, and compute against torch's own count."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import product
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import flopwise
from flopwise.cli import main
from flopwise.errors import RunError
from flopwise.search.envelope import rivals
from flopwise.search.points import Point, read_points, training_macs
from flopwise.search.rows import read_runs
from flopwise.search.scaling import Scaling, scaling
from flopwise.train import open_data

ALPHA = 0.1
"""Exponent of the known law; its best model grows as the root of the compute."""


def family(
    noise: float,
    seeds: int,
    dice: np.random.Generator,
    rates: Sequence[float] = (0.1,),
    steps: tuple[float, float] = (1.7, 2.0),
) -> list[Point]:
    """Trainings of five sizes for five budgets, loss = size^-2a + epochs^-2a.

    With size x epochs = compute the best has size = epochs, loss = 2 compute^-a.
    """
    points = []
    for size, epochs, rate in product(*(step ** np.arange(5) for step in steps), rates):
        loss = size ** (-2 * ALPHA) + epochs ** (-2 * ALPHA)
        worse = 0.05 * np.log(rate / (0.4 / epochs)) ** 2 if len(rates) > 1 else 0.0
        points += [
            Point(
                compute=float(3e9 * size * epochs),
                loss=float(loss * exp(worse + noise * dice.standard_normal())),
                model=f"m{size:.2f}",
                macs=float(1e6 * size),
                epochs=float(epochs),
                lr=rate,
                seed=seed,
            )
            for seed in range(seeds)
        ]
    return points


def test_a_known_law_comes_back_with_its_exponents() -> None:
    found = scaling(family(0.0, 1, np.random.default_rng(0), steps=(2.0, 2.0)))
    assert found.loss and found.macs and found.epochs
    assert found.loss.exponent == pytest.approx(-ALPHA, abs=0.002)
    assert found.macs.exponent == pytest.approx(0.5)
    assert found.macs.exponent + found.epochs.exponent == pytest.approx(1.0)  # C = 3 x N x images
    assert found.loss.low <= -ALPHA <= found.loss.high
    points = [each.first for each in found.optimal]
    logs = np.log([[each.compute, each.loss] for each in points]).T
    assert found.loss.exponent == pytest.approx(np.polyfit(*logs, 1)[0])
    assert found.loss.scale == pytest.approx(exp(np.polyfit(*logs, 1)[1]))


@pytest.mark.parametrize(
    ("noise", "seeds", "least"), [(0.01, 3, 0.9), (0.03, 3, 0.9), (0.01, 1, 0.86)]
)
def test_the_bands_cover_a_known_law(noise: float, seeds: int, least: float) -> None:
    """In 200 repeats the intervals of 95 % hold the truth nearly as often; one seed tells less."""
    truth = scaling(family(0.0, 1, np.random.default_rng(0)), draws=2)
    assert truth.loss
    covered = []
    for repeat in range(200):
        found = scaling(family(noise, seeds, np.random.default_rng(repeat)), draws=200)
        assert found.loss and found.macs and found.epochs
        middle = len(found.loss.x) // 2
        wanted = truth.loss.scale * found.loss.x[middle] ** truth.loss.exponent
        covered.append(
            (
                found.loss.low <= -ALPHA <= found.loss.high,
                found.macs.low <= 0.5 <= found.macs.high,
                found.epochs.low <= 0.5 <= found.epochs.high,
                seeds == 1 or found.loss.band_low[middle] <= wanted <= found.loss.band_high[middle],
            )
        )
    assert (np.mean(covered, axis=0) >= least).all(), np.mean(covered, axis=0)


def brute_force(points: Sequence[Point]) -> set[tuple[str, float]]:
    """The optimal ones by numpy's own interpolation, model by model, and what cost less."""
    curves: dict[str, list[Point]] = {}
    for each in sorted(points, key=lambda p: p.compute):
        curves.setdefault(each.model, []).append(each)
    best = set()
    for each in points:
        others = [
            np.interp(
                np.log(each.compute),
                np.log([p.compute for p in curve]),
                np.log([p.loss for p in curve]),
                left=np.nan,
                right=np.nan,
            )
            for model, curve in curves.items()
            if model != each.model
        ]
        known = [other for other in others if not np.isnan(other)]
        cheaper = [p.loss for p in points if p.compute <= each.compute]
        if known and np.log(each.loss) <= min(known) and each.loss <= min(cheaper):
            best.add((each.model, each.compute))
    return best


def test_the_optimal_ones_are_those_of_plain_interpolation() -> None:
    for seed in range(20):
        points = family(0.05, 1, np.random.default_rng(seed))
        found = {(each.first.model, each.first.compute) for each in scaling(points).optimal}
        assert found == brute_force(points)


def test_without_models_the_optimal_ones_are_those_that_nothing_cheaper_beats() -> None:
    computes, losses = [1.0, 2.0, 2.0, 4.0, 8.0], [3.0, 2.5, 2.6, 2.7, 2.0]
    found = rivals(np.log(computes), [""] * 5)
    assert found.alone
    assert found.optimal(np.log([losses])).tolist() == [[True, True, False, False, True]]
    told = scaling([Point(compute=c, loss=v) for c, v in zip(computes, losses, strict=True)])
    assert told.loss and told.macs is None
    assert told.loss.points == 3


def test_the_best_learning_rate_is_found_for_each_budget() -> None:
    tried = (0.05, 0.1, 0.2, 0.4)
    found = scaling(family(0.002, 2, np.random.default_rng(5), tried))
    assert len(found.rates) == 25
    for rate in found.rates:
        assert rate.epochs is not None and rate.low is not None and rate.high is not None
        nearest = min(tried, key=lambda lr: abs(np.log(lr * rate.epochs / 0.4)))
        assert rate.lr == nearest
        assert rate.low <= rate.lr <= rate.high
        assert bool(rate.edge) == (rate.lr in (0.05, 0.4))
    assert sum(each.best for each in found.cells) == 25


NETS = {
    "convolutions": """
  stem: {block: conv, dim: 16, kernel: 3, norm: bn, act: relu}
  body: {block: basic, depth: 2, dim: 32, stride: 2}
  head: {block: classifier}""",
    "attention": """
  patch: {block: patch_embed, patch: 2, dim: 32}
  body: {block: vit, depth: 2, heads: 2}
  head: {block: classifier, pool: avg, norm: ln}""",
}


@pytest.mark.parametrize("net", NETS)
def test_compute_is_what_torch_counts_but_for_the_first_layer(net: str) -> None:
    """Without depthwise convolutions, whose backward pass torch counts as if they were dense."""
    head = "spec: 1\nname: counted\ninput: {size: 8, channels: 1}\nclasses: 10\nnet:"
    design = flopwise.loads(head + NETS[net])
    model, graph = design.build(seed=0), design.network.graph
    images, labels = torch.randn(4, 1, 8, 8), torch.arange(4)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        F.cross_entropy(model(images), labels).backward()
    counted = counter.get_total_flops()
    claimed = 2 * training_macs(graph.macs, 4)
    first = next(layer for _, layer in graph.walk() if layer.macs)
    assert claimed - counted == 2 * 4 * first.macs  # images need no gradient
    assert 0.97 < counted / claimed < 1


SPEC = """
spec: 1
name: widths
input: {size: 8, channels: 1}
classes: 10
vars: {w: 4}
train: {epochs: 4, warmup: 2, batch: 64, images: 200, lr: 3e-3, crop: 1, flip: false}
net:
  stem: {block: conv, dim: $w, kernel: 3, norm: bn, act: relu, stride: 2}
  head: {block: classifier}
"""


def test_a_family_is_trained_once_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("widths.yaml").write_text(SPEC)
    words = ["scale", "widths.yaml", "--train", "digits", "--vary", "w=8,16", "--seeds", "2"]
    words += ["--epochs", "1,2", "--lr", "0.003,0.03", "--json"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    runs = list(read_runs(Path("runs/widths-scale/results.jsonl")))
    assert len({run.identity for run in runs}) == len(runs) == 16
    data = open_data(flopwise.load("widths.yaml").spec.recipe, size=(8, 8))
    for run, point in zip(
        sorted(runs, key=lambda r: (r.costs["macs"], r.epochs, r.lr, r.seed)),
        sorted(first["points"], key=lambda p: (p["macs"], p["epochs"], p["lr"], p["seed"])),
        strict=True,
    ):
        assert run.seen == run.epochs * (len(data.train) // 64) * 64
        assert point["compute"] == 3 * run.costs["macs"] * run.seen
        assert point["loss"] == run.validation["loss"]
        assert point["test_loss"] == run.scores["loss"]
    assert {each["model"] for each in first["points"]} == {"w8", "w16"}
    assert "compute" in Path("runs/widths-scale/page.html").read_text()

    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == first
    assert "16 of them are in runs/widths-scale/results.jsonl already" in err
    assert main(["scale", "--from", "runs/widths-scale/points.csv", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["law"] == first["law"]
    assert again["compute"] == first["compute"]
    table = csv.DictReader(Path("runs/points-scale/points.csv").read_text().splitlines())
    assert [float(each["loss"]) for each in table] == [each["loss"] for each in again["points"]]


def test_a_page_holds_the_charts_and_needs_no_network() -> None:
    from flopwise.report.scaling_charts import figures, scaling_page

    found: Scaling = scaling(family(0.01, 2, np.random.default_rng(0), (0.1, 0.2)))
    assert found.loss
    loss, trends, rates = figures(found, "multiply-adds", "loss")
    assert (loss.layout.xaxis.type, loss.layout.yaxis.type) == ("log", "log")
    assert loss.layout.xaxis.title.text == "multiply-adds"
    line = next(each for each in loss.data if each.name == "fitted line")
    ends = np.polyfit(np.log(line.x), np.log(line.y), 1)
    assert ends[0] == pytest.approx(found.loss.exponent)
    drawn = [
        x for each in loss.data if each.legendgroup and each.legendgroup[0] == "m" for x in each.x
    ]
    assert len(drawn) == len(found.cells)
    assert len(trends.data) == 6
    assert len(rates.data) == 5
    page = scaling_page("a <b>", found, "multiply-adds", "loss")
    assert "a &lt;b&gt;" in page
    assert 'src="http' not in page


PRINTED = {
    "": "has no column 'compute'",
    "compute,loss\n": "has 0 trainings",
    "flops,loss\n1,2\n": "has no column 'compute'",
    "compute,loss\n1,2\n2,x\n": "f.csv:3: 'loss' is 'x'; write a number above 0",
    "# no\ncompute,loss\n1,2\n\n-2,1\n": "f.csv:5: 'compute' is '-2'",
    "compute,loss\n1,2\n2\n": "f.csv:3: 'loss' is empty",
}


@pytest.mark.parametrize("text", PRINTED)
def test_a_file_that_cannot_be_read_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(RunError) as told:
        read_points(path)
    assert PRINTED[text] in str(told.value)


MISTAKEN = {
    "scale": "name a spec, or  --from FILE",
    "scale widths.yaml": "name images, as in  --train digits",
    "scale widths.yaml --from f.csv": "--from trains nothing",
    "scale --from nothing.csv": "there is no file nothing.csv",
    "scale widths.yaml --train digits --vary w=8 --vary w=9": "--vary names 'w' twice",
    "scale widths.yaml --train digits --vary train.lr=1,2": "use --epochs, --lr or --train",
    "scale widths.yaml --train digits --vary v=8,9": "'v' does not exist in this spec",
    "scale widths.yaml --train digits --rows a": "no row called 'a'",
}


@pytest.mark.parametrize("words", MISTAKEN)
def test_a_mistaken_command_is_told_without_a_traceback(
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("widths.yaml").write_text(SPEC)
    assert main(words.split()) in (1, 2)
    assert MISTAKEN[words] in capsys.readouterr().err
