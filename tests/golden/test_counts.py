"""The counts of the shipped networks, three ways: ours, torch's own counter, timm's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from flopwise import dsl, nets
from flopwise.cost import cost
from flopwise.dsl.shipped import presets, shipped_rows

NETWORKS = sorted({*presets(), *(row for _, row in shipped_rows())})
ROWS = json.loads((Path(__file__).parent / "timm_counts.json").read_text())["rows"]
PUBLISHED = [row for row in ROWS if row[0] in NETWORKS]

# Figures of timm that a rule of ours does not give, each with the reason.
ERRATA: dict[str, str] = {
    "vit_huge_patch14_224@224": "counted without its classifier, 1.281 M parameters",
    "vit_large_patch32_224@224": "counted without its classifier, 1.025 M parameters",
}


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
    found = {
        "params": printed(counted.params, 1e6, params),
        "macs": printed(counted.macs, 1e9, gmacs),
        "activations": printed(counted.activations, 1e6, activations),
    }
    assert all(found.values()) or f"{name}@{size}" in ERRATA, (found, counted.macs)


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_and_parameters_equal_torch_to_the_last_digit(name: str) -> None:
    graph = dsl.load(f"std/{name}").network().graph
    model = nets.build(graph, device="meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *graph.inputs[0].shape, device="meta"))
    assert counter.get_total_flops() == 2 * graph.macs
    assert sum(parameter.numel() for parameter in model.parameters()) == graph.params
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == graph.keys()


@pytest.mark.parametrize("name", [name for name in NETWORKS if timm.is_model(name)])
def test_parameters_and_input_size_are_those_of_timm(name: str) -> None:
    network = dsl.load(f"std/{name}").network()
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=network.classes)  # some ship without
    assert network.graph.params == sum(p.numel() for p in theirs.parameters())
    assert network.graph.inputs[0].shape == theirs.default_cfg["input_size"]
