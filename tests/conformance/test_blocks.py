"""Every block of the vocabulary keeps the promises of its definition, unasked."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flopwise import nets
from flopwise.blocks import BLOCKS, Block, Graph, Trace, Type, add_stage

MAP = Type("map", (16, 12, 12))
TOKENS = Type("tokens", (17, 16), extra=1, grid=(4, 4))
PATCHES = Type("tokens", (16, 16), grid=(4, 4))

# What each block is tried with; a block that is not listed here fails the first test.
CASES: dict[str, list[tuple[Type, dict[str, Any]]]] = {
    "conv": [
        (MAP, {"dim": 24, "kernel": 5, "stride": 2, "groups": 8, "norm": "bn", "act": "silu"})
    ],
    "conv_stem": [(MAP, {"dim": 8}), (MAP, {"dim": 8, "pool": "none", "kernel": 3, "norm": "ln"})],
    "patchify": [(MAP, {"patch": 4, "dim": 24}), (MAP, {"patch": 3, "dim": 8, "norm": "none"})],
    "avgpool": [(MAP, {"to": 4})],
    "basic": [(MAP, {"dim": 24, "stride": 2, "se": 0.25}), (MAP, {"norm": "none", "act": "gelu"})],
    "residual": [
        (MAP, {"dim": 32, "hidden": 12, "stride": 2, "groups": 4}),
        (MAP, {"se": 0.0625, "kernel": 5}),
        (MAP, {"dim": 32, "hidden": 48, "stride": 2, "spatial": "depthwise", "order": "first"}),
        (MAP, {"dim": 32, "stride": 2, "spatial": "depthwise", "acts": "one", "norms": "one"}),
        (MAP, {"dim": 24, "stride": 2, "downsample": "separate", "norm": "none"}),
        (
            MAP,
            {"hidden": 24, "order": "first", "acts": "one", "norms": "one", "norm": "ln"}
            | {"dim": 24, "stride": 2, "downsample": "separate", "layer_scale": 0.1},
        ),
    ],
    "convnext": [
        (MAP, {"dim": 24, "stride": 2, "kernel": 5, "expand": 2.5}),
        (MAP, {"layer_scale": 0, "act": "relu"}),
    ],
    "patch_embed": [(MAP, {"patch": 4, "dim": 24}), (MAP, {"patch": 6, "dim": 8, "norm": "ln"})],
    "class_token": [(PATCHES, {})],
    "position": [(TOKENS, {})],
    "vit": [
        (TOKENS, {"heads": 4}),
        (TOKENS, {"heads": 2, "mlp": 1.5, "qkv_bias": False, "layer_scale": 0.1}),
    ],
    "to_tokens": [(MAP, {})],
    "to_map": [(PATCHES, {}), (TOKENS, {"drop": "cls"})],
    "linear": [(TOKENS, {"dim": 24})],
    "add": [(MAP, {})],
    "concat": [(MAP, {}), (TOKENS, {})],
    "classifier": [
        (MAP, {"classes": 7, "norm": "ln"}),
        (TOKENS, {"classes": 7, "norm": "ln", "pool": "cls"}),
        (TOKENS, {"classes": 7, "norm": "ln"}),
    ],
}
TRIED = [
    pytest.param(BLOCKS[name], kind, settings, id=f"{name}-{number}")
    for name, cases in CASES.items()
    for number, (kind, settings) in enumerate(cases)
]
DEPTH = 2


def complete(block: Block, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: field.default for name, field in block.fields.items()} | dict(settings)


def traced(block: Block, kind: Type, settings: Mapping[str, Any]) -> Graph:
    trace = Trace()
    inputs = [trace.input(kind)] * (2 if block.variadic else 1)
    depth = 1 if block.once else DEPTH
    output = add_stage(trace, "stage", block, inputs, [complete(block, settings)] * depth)
    return trace.close(output, title="tried")


def test_every_block_of_the_table_is_tried() -> None:
    assert set(CASES) == set(BLOCKS)


@pytest.mark.parametrize(("block", "kind", "settings"), TRIED)
def test_symbolic_shapes_counts_and_keys_are_those_of_the_module(
    block: Block, kind: Type, settings: dict[str, Any]
) -> None:
    graph = traced(block, kind, settings)
    model = nets.build(graph, seed=0).eval()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == graph.keys()
    assert list(model.state_dict()) == list(graph.keys())
    assert sum(p.numel() for p in model.parameters()) == graph.params
    shapes: list[tuple[int, ...]] = []
    for leaf in model.modules():
        if isinstance(leaf, (torch.nn.Conv2d, torch.nn.Linear)):
            leaf.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    out = model(torch.randn(1, *kind.shape))
    with FlopCounterMode(display=False) as counter:  # older counters miss a CPU's own attention
        nets.build(graph, device="meta").eval()(torch.empty(1, *kind.shape, device="meta"))
    assert counter.get_total_flops() == 2 * graph.macs
    assert tuple(out.shape[1:]) == graph.types[graph.outputs[0]].shape
    products = [leaf for _, leaf in graph.walk() if leaf.kind == "attend"]
    attended = sum(leaf.activations for leaf in products)
    assert sum(map(prod, shapes)) + attended == graph.activations


@pytest.mark.parametrize(("block", "kind", "settings"), TRIED)
def test_every_parameter_learns_and_no_image_sees_another(
    block: Block, kind: Type, settings: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = nets.build(traced(block, kind, settings), seed=0).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, *kind.shape, dtype=torch.float64)
    out = model(x)
    torch.testing.assert_close(out[1:2], model(x[1:2]))
    if list(model.parameters()):
        (out * torch.randn_like(out)).sum().backward()
        silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert silent == []
