"""The counts of the shipped networks against timm's published figures and torch's own counter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import flopwise
from flopwise import dsl, nets
from flopwise.cost import cost

TIMM = json.loads((Path(__file__).parent / "timm_counts.json").read_text())
PUBLISHED = TIMM["rows"]
ZOO = sorted(path.stem for path in (Path(flopwise.__file__).parent / "zoo").rglob("*.yaml"))


def printed(value: int, unit: float, like: str) -> bool:
    """Whether a count, in its unit, is the printed figure to its last digit."""
    digits = len(like.partition(".")[2])
    return abs(value / unit - float(like)) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize(("name", "size", "params", "gmacs", "activations"), PUBLISHED)
def test_the_published_figures_come_out_at_their_precision(
    name: str, size: int, params: str, gmacs: str, activations: str
) -> None:
    network = dsl.load(f"std/{name}", sets=[("input.size", str(size))]).network()
    counted = cost(network.graph, convention="fvcore")
    assert printed(counted.params, 1e6, params), counted.params
    assert printed(counted.macs, 1e9, gmacs), counted.macs
    assert printed(counted.activations, 1e6, activations), counted.activations


@pytest.mark.parametrize("name", ZOO)
def test_macs_and_parameters_equal_torch_to_the_last_digit(name: str) -> None:
    graph = dsl.load(f"std/{name}").network().graph
    model = nets.build(graph, device="meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *graph.inputs[0].shape, device="meta"))
    assert counter.get_total_flops() == 2 * graph.macs
    ours = sum(parameter.numel() for parameter in model.parameters())
    assert ours == TIMM["parameters"][name] == graph.params
