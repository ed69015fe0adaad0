"""Domains, windows, budgets, and what a spec says about its own space."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from flopwise.dsl import Choice, Range, Spec, Window, load, loads
from flopwise.errors import SpecError

SPEC = """
spec: 1
name: tiny
input: {size: 32}
classes: 10
vars: {w: 16, k: 3}
net:
  stem: {block: conv, dim: $w, kernel: $k}
  body: {block: basic, depth: 2}
  head: {block: classifier}
search:
  space: SPACE
  budget: BUDGET
train: {lr: $(w / 1000)}
"""


def spec_of(
    space: str = "{w: {range: [8, 32], step: 8}}", budget: str = "{macs: {max: 10G}}"
) -> Spec:
    return loads(SPEC.replace("SPACE", space).replace("BUDGET", budget))


@pytest.mark.parametrize(
    ("text", "domain", "size"),
    [
        ("{choice: [3, 5]}", Choice((3, 5)), 2),
        ("{range: [8, 32], step: 8}", Range(8, 32, 8), 4),
        ("{range: [8, 32]}", Range(8, 32, 1), 25),
        ("{range: [8, 32], log: true}", Range(8, 32, None, True), 25),
    ],
)
def test_a_domain_is_what_is_written(text: str, domain: Choice | Range, size: int) -> None:
    found = spec_of(f"{{w: {text}}}").search.space["w"]
    assert found == domain and found.size == size == len(found.values())
    assert all(found.contains(value) for value in found.values())


def test_decimals_without_a_step_are_infinitely_many() -> None:
    domain = spec_of("{train.lr: {range: [1e-4, 1e-2], log: true}}").search.space["train.lr"]
    assert domain.size == inf and domain.contains(0.005) and not domain.contains(0.1)
    with pytest.raises(ValueError):
        domain.values()


def test_decimal_steps_do_not_drift() -> None:
    domain = spec_of("{train.drop_path: {range: [0.0, 0.3], step: 0.1}}").search.space
    assert domain["train.drop_path"].values() == (0.0, 0.1, 0.2, 0.3)
    assert domain["train.drop_path"].contains(0.1 + 0.2)


def test_true_is_no_number() -> None:
    assert not Choice((1, 2)).contains(True) and not Choice((True, False)).contains(1)
    assert Choice((1, 2)).contains(1.0) and not Range(0, 1, 1).contains(True)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("{target: 4.5G, within: 1%}", Window(4_455_000_000, 4_545_000_000)),
        ("{target: 1000, within: 0.05}", Window(950, 1050)),
        ("{max: 30M}", Window(None, 30_000_000)),
        ("{min: 1.5K, max: 2K}", Window(1500, 2000)),
    ],
)
def test_a_window_holds_both_its_ends(text: str, window: Window) -> None:
    found = spec_of(budget=f"{{params: {text}}}").search.budget[0]["params"]
    assert found == window
    for edge in (found.low, found.high):
        assert edge is None or found.contains(edge)
    assert found.high is not None and not found.contains(found.high + 1)


def test_several_budgets_are_a_list() -> None:
    spec = spec_of(budget="[{macs: {max: 1}}, {params: {max: 1G}}]")
    network = spec.network()
    assert spec.feasible(network, network.graph) == [f"macs {network.graph.macs} misses <= 1"]
    assert spec.feasible(network, network.graph, budget=1) == []


def test_requirements_see_variables_costs_and_depth() -> None:
    text = SPEC.replace("SPACE", "{w: {choice: [16]}}").replace("BUDGET", "{macs: {max: 1G}}")
    for requirement, met in {
        "w == 16 and k < 4": True,
        "depth_total == 3": True,
        "macs > params and activations > 0": True,
        "params > 1e9": False,
    }.items():
        spec = loads(text.replace("train:", f"  require: [$({requirement})]\ntrain:"))
        reasons = spec.feasible(spec.network(), spec.network().graph)
        assert reasons == ([] if met else [f"not met: {requirement}"])


def test_a_requirement_that_is_no_truth_is_told_at_load() -> None:
    text = SPEC.replace("SPACE", "{w: {choice: [16]}}").replace("BUDGET", "{macs: {max: 1G}}")
    with pytest.raises(SpecError, match="E202"):
        loads(text.replace("train:", "  require: [$(w + 1)]\ntrain:"))


def test_the_written_value_of_every_target_is_known() -> None:
    spec = spec_of()
    paths = {
        "w": 16,
        "net.stem.kernel": 3,
        "net.body.depth": 2,
        "net.body.block": "basic",
        "net.body.act": "relu",
        "train.lr": 0.016,
        "train.epochs": 5,
        "input.size": 32,
        "classes": 10,
        "defaults.basic.act": None,
    }
    assert {path: spec.value(path) for path in paths} == paths


def test_a_training_setting_may_be_picked_or_computed() -> None:
    spec = spec_of()
    assert spec.recipe.lr == 0.016
    assert spec.recipe_for({"w": 32}).lr == 0.032
    assert spec.recipe_for({"train.lr": 0.5, "train.epochs": 7}).epochs == 7
    assert spec.network({"train.lr": 0.5}).hash == spec.network().hash


def test_a_pick_that_addresses_nothing_is_told() -> None:
    with pytest.raises(SpecError, match=r"did you mean 'net\.body\.depth'"):
        spec_of().network({"net.body.dept": 3})


def test_a_slow_machine_is_told_the_same_of_a_space() -> None:
    # the more draws there was time for, the more was looked at: what a fit is tried on stays
    folder = Path(__file__).parents[1] / "golden" / "errors"
    spec = load(folder / "W501_rare.yaml")
    told = {spec.probe(draws=draws).warnings[0].helps for draws in (60, 100, 300)}
    assert len(told) == 1


def test_a_probe_counts_what_is_feasible() -> None:
    probe = spec_of(budget="{params: {max: 10K}}").probe(draws=50)
    assert 0 < probe.feasible < probe.looked == 53
    low, high = probe.ranges["params"]
    assert low < 10_000 < high
    assert probe == spec_of(budget="{params: {max: 10K}}").probe(draws=50)
