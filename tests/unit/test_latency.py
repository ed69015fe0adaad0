"""Latency is measured and says where; rates of stochastic depth follow a rule with a name."""

from __future__ import annotations

import pytest
import torch

import flopwise
from flopwise import nets
from flopwise.cost import METRICS, cost


def test_latency_names_what_was_measured() -> None:
    design = flopwise.load("std/resnet18", {"input.size": 32}, w=8)
    found = design.latency(batch=2, runs=4)
    assert 0 < found.low <= found.median <= found.high
    assert (found.runs, found.batch, found.dtype) == (4, 2, "float32")
    assert found.device and found.threads == torch.get_num_threads()
    assert found.torch == torch.__version__


def test_the_rules_of_stochastic_depth_hold_in_a_network() -> None:
    model = nets.build(flopwise.load("std/resnet18", w=8).network)

    def rates() -> list[float]:
        return [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]

    model.set_drop_path(0.7)
    assert rates() == pytest.approx([0.1 * i for i in range(8)])
    model.set_drop_path(0.3, "stagewise")
    assert rates() == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])


def test_every_metric_of_the_table_is_a_total_of_the_cost() -> None:
    graph = flopwise.load("std/resnet18").network.graph
    totals = cost(graph).as_dict()
    assert {name: totals[name] for name in METRICS} == {n: m(graph) for n, m in METRICS.items()}
