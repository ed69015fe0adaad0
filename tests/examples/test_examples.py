"""Every example is valid, stays in its budget as written, and can be exported and trained."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from flopwise import dsl, nets
from flopwise.export import tier
from flopwise.report.rows import compare_rows
from flopwise.train import open_data, train
from tests.parity.references import image, redrawn, relative
from tests.searches import rows_of

ROOT = Path(__file__).parents[2]
YAML = sorted((ROOT / "examples").rglob("*.yaml"))
TABLES = [path for path in YAML if path.parent.name == "tables"]
RESULTS = [path for path in YAML if path.parent.name == "results"]
COMPOSED = [path for path in YAML if path.parent.name == "composed"]
NETWORKS = [path for path in YAML if path.parent.name == "networks"]
SCALING = [path for path in YAML if path.parent.name.endswith("scaling")]
STEPS = [path for path in YAML if path.parent.name == "rediscovery"]
OWN = [path for path in YAML if path.parent.name == "hybrid"]
ELSE = (*TABLES, *RESULTS, *NETWORKS, *OWN, *COMPOSED, *SCALING, *STEPS)
SPECS = [path for path in YAML if path not in ELSE]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_example_says_what_it_is_and_its_baseline_is_inside_the_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"flopwise search {path.relative_to(ROOT)}" in text
    spec = dsl.load(path)
    network = spec.network()
    assert spec.warnings == ()
    assert spec.search
    if spec.search.evaluator.kind == "training":  # a table of results has no baseline of its own
        assert spec.feasible(network, network.graph) == []
        assert tier(network).name == "native"
    assert spec.probe(draws=200, seed=0).feasible > 0


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_table_says_what_it_is_and_its_rows_cost_what_their_source_prints(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"flopwise show {path.relative_to(ROOT)} --rows" in text
    spec = dsl.load(path)
    assert spec.warnings == ()
    assert [each.row.name for each in compare_rows(spec) if each.differs] == []


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_network_says_what_it_costs_and_every_row_of_it_counts_as_torch_does(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"flopwise show {path.relative_to(ROOT)}" in text
    spec = dsl.load(path)
    assert "\nexpect: {macs: " in text
    assert spec.warnings == ()
    assert not spec.rows or [each.row.name for each in compare_rows(spec) if each.differs] == []
    for each in (spec, *map(spec.row, spec.rows)):
        network = each.network()
        model = nets.build(network, device="meta").eval()
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.zeros(1, network.input.channels, *network.input.size, device="meta"))
        assert counter.get_total_flops() == 2 * network.graph.macs
        assert sum(each.numel() for each in model.parameters()) == network.graph.params


@pytest.mark.parametrize("path", SCALING, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_family_says_what_it_is_and_its_models_differ(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"flopwise scale {path.relative_to(ROOT)} --train" in text
    spec = dsl.load(path)
    assert spec.warnings == ()
    macs = [spec.row(row).network().graph.macs for row in spec.rows]
    assert len(macs) > 2
    assert macs == sorted({*macs})


@pytest.mark.parametrize("path", STEPS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_road_has_its_end_as_written_and_its_start_as_a_row(path: Path) -> None:
    """Both ends meet the budget, each pick of the start is a choice, and the end is a ConvNeXt."""
    spec = dsl.load(path)
    assert spec.warnings == ()
    assert spec.search
    start, end = (spec.row(name).network() for name in ("resnet", "convnext"))
    assert end.hash == spec.network().hash
    for network in (start, end):
        assert spec.feasible(network, network.graph) == []
    assert spec.table
    picks = {c.path: c.node.value for c in spec.table.rows["resnet"].changes}  # type: ignore[union-attr]
    assert picks.keys() == spec.search.space.keys()
    assert spec.network(picks).hash == start.hash
    kinds = [layer.kind for _, layer in end.graph.walk()]
    assert "batch_norm2d" not in kinds


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_network_of_ones_own_blocks_builds_and_learns(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"flopwise show {path.relative_to(ROOT)} --allow-code" in text
    spec = dsl.load(path, sets=[("input.size", "64"), ("net.local.to", "4")], allow_code=True)
    model = nets.build(spec.network(), seed=0)
    assert sum(each.numel() for each in model.parameters()) == spec.network().graph.params
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([3, 5])
    losses = []
    for _ in range(3):
        losses.append(torch.nn.functional.cross_entropy(model(images), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    dsl.load(path)  # what is expected of it at full size holds, and its code is allowed by now


@torch.no_grad()
@pytest.mark.parametrize("path", COMPOSED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_network_put_together_in_yaml_is_the_one_it_is_named_after(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"flopwise show {path.relative_to(ROOT)}\n" in text
    theirs = redrawn(path.stem, drop_rate=0.0)
    ours = nets.build(dsl.load(path).network())
    weights = theirs.state_dict().values()  # in order: the names inside are the spec's own
    ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
    x = image(64)
    assert relative(ours.eval()(x), theirs(x)) <= 1e-5


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_committed_winner_is_the_best_row_of_its_trials(path: Path) -> None:
    best = max(rows_of(path.parent), key=lambda row: float(row["val_top1"]))
    network = dsl.load(path).network()
    assert (network.hash, str(network.graph.macs)) == (best["hash"], best["macs"])


def test_the_quickstart_trains(tmp_path: Path) -> None:
    spec = dsl.load(ROOT / "examples" / "quickstart.yaml")
    recipe = replace(spec.recipe, epochs=2, batch=256)
    data = open_data(recipe, size=spec.input.size, channels=1, classes=10)
    result = train(nets.build(spec.network(), seed=0), data, recipe, tmp_path)
    assert result.last.train_loss < result.history[0].train_loss


def test_the_rank_of_the_papers_choice_is_what_its_results_give() -> None:
    home = ROOT / "examples" / "rediscovery"
    words = [sys.executable, str(home / "rank.py"), str(home / "results")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f"> {said.splitlines()[0]}\n" in (home / "README.md").read_text(encoding="utf-8")
    with (home / "results" / "trials.csv").open(encoding="utf-8") as file:
        trials = list(csv.DictReader(file))
    spec = dsl.load(home / "convnext_steps.yaml")
    assert spec.search and [row["state"] for row in trials] == ["done"] * 24
    assert len({row["identity"] for row in trials}) == 24
    for row in trials:
        picks = {name: yaml.safe_load(row[name]) for name in spec.search.space}
        assert spec.network(picks).graph.macs == int(row["macs"])
