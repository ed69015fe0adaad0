"""The road from ResNet to ConvNeXt: every step is a setting, and every step costs what was printed.

The figures are those of tables 10 and 11 of Liu et al. 2022, arXiv:2201.03545, multiply-adds of
convolutions and linear layers at 224 pixels. `recomputed` is an independent count of the networks
the tables describe, and `params` theirs; the paper prints no parameters for the steps.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from flopwise import dsl, nets
from flopwise.cost import cost
from tests.golden.test_counts import printed

TABLE = {
    (row["regime"], row["step"]): row
    for row in csv.DictReader(
        (Path(__file__).parent / "convnext_road.csv").read_text(encoding="utf-8").splitlines()
    )
}
REGIMES = {  # what differs between the two tables: the first row, and the widths
    "r50": {
        "resnet": {},
        "stage_ratio": {"net.stage2.depth": "3", "net.stage3.depth": "9"},
        "width": {"w": "96"},
    },
    "r200": {
        "resnet": {"net.stage2.depth": "24", "net.stage3.depth": "36"},
        "stage_ratio": {"net.stage2.depth": "3", "net.stage3.depth": "27"}
        | {"w": "84", "net.stem.dim": "84"},
        "width": {"w": "128"},
    },
}
STEPS = {
    "patchify": {"net.stem": "{block: patchify, patch: 4, dim: $w, norm: bn}"},
    "depthwise": {"defaults.residual.spatial": "depthwise"},
    "invert": {"out": "1", "mid": "4"},
    "move_up": {"defaults.residual.order": "first"},
    "kernel_5": {"defaults.residual.kernel": "5"},
    "kernel_7": {"defaults.residual.kernel": "7"},
    "kernel_9": {"defaults.residual.kernel": "9"},
    "kernel_11": {"defaults.residual.kernel": "11"},
    "gelu": {"defaults.residual.kernel": "7", "defaults.act": "gelu"},
    "fewer_acts": {"defaults.residual.acts": "one"},
    "fewer_norms": {"defaults.residual.norms": "one"},
    "layer_norm": {"defaults.norm": "ln"},
    "separate": {"defaults.residual.downsample": "separate", "net.stem.norm": "ln"}
    | {"defaults.residual.layer_scale": "1.0e-6", "net.head.norm": "ln"},
}
SHIFTED = {  # table 10 lost one of its five 4.15 and moved the cells behind it up by one row
    ("r50", "layer_norm"): "4.15",
    ("r50", "separate"): "4.46",
}
BIASES = {"r50": 34464, "r200": 92032}  # of the convolutions that no norm follows any more


@lru_cache
def network(regime: str, step: str) -> dsl.Network:
    """Returns the network of a row: all the steps up to it, each a few settings."""
    sets: dict[str, str] = {}
    for (name, row), _ in TABLE.items():
        if name == regime:
            sets |= REGIMES[regime].get(row) or STEPS.get(row, {})
            if row == step:
                break
    return dsl.load("std/resnet50", sets=list(sets.items())).network()


@pytest.mark.parametrize(("regime", "step"), TABLE)
def test_each_step_costs_what_the_paper_prints(regime: str, step: str) -> None:
    row = TABLE[regime, step]
    counted = cost(network(regime, step).graph, convention="conv_linear")
    assert printed(counted.macs, 1e9, SHIFTED.get((regime, step), row["printed"]))
    assert printed(counted.macs, 1e9, row["recomputed"])
    biases = BIASES[regime] if step == "fewer_norms" else 0
    off = counted.params - biases - float(row["params"]) * 1e6
    assert abs(off) <= 1000  # the recount is in thousands, and its stem has a bias before the norm


def test_the_road_ends_at_convnext_tiny() -> None:
    """The same function: one set of weights, loaded by names alone, gives one set of outputs."""
    end, tiny = network("r50", "separate"), dsl.load("std/convnext_tiny").network()
    ours, theirs = nets.build(end, seed=1).eval(), nets.build(tiny, seed=2).eval()
    names = {"conv1": "conv_dw", "bn1": "norm", "conv2": "mlp.fc1", "conv3": "mlp.fc2"}
    weights = theirs.state_dict()
    for value in weights.values():
        torch.nn.init.normal_(value, std=value[0].numel() ** -0.5 if value.ndim > 1 else 0.5)
    state = {}
    for key, value in ours.state_dict().items():
        words = [names.get(word, word) for word in key.split(".")]
        state[key] = weights[".".join(words)].reshape(value.shape)
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    assert end.graph.macs == tiny.graph.macs
    assert end.graph.params == tiny.graph.params == 28_589_128
