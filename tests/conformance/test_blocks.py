"""Every block of the vocabulary keeps the promises of its definition, unasked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from flopwise import nets
from flopwise.blocks import BLOCKS, Block, Graph, Trace, Type, add_stage

aten = torch.ops.aten
MAP = Type("map", (16, 12, 12))
TOKENS = Type("tokens", (17, 16), extra=1, grid=(4, 4))
WIDE = Type("tokens", (17, 128), extra=1, grid=(4, 4))
PATCHES = Type("tokens", (16, 16), grid=(4, 4))

# What each block is tried with; a block that is not listed here fails the first test.
CASES: dict[str, list[tuple[Type, dict[str, Any]]]] = {
    "conv": [
        (MAP, {"dim": 24, "kernel": 5, "stride": 2, "groups": 8, "norm": "bn", "act": "silu"})
    ],
    "conv_stem": [(MAP, {"dim": 8}), (MAP, {"dim": 8, "pool": "none", "kernel": 3, "norm": "ln"})],
    "patchify": [(MAP, {"patch": 4, "dim": 24}), (MAP, {"patch": 3, "dim": 8, "norm": "none"})],
    "avgpool": [(MAP, {"to": 4})],
    "norm_act": [(MAP, {}), (MAP, {"norm": "ln", "act": "gelu"})],
    "dense": [(MAP, {"growth": 6, "stride": 2}), (MAP, {"growth": 4, "expand": 2, "norm": "none"})],
    "separable": [(MAP, {"dim": 24, "stride": 2}), (MAP, {"acts": "one", "skip": True})],
    "inverted": [
        (MAP, {"dim": 24, "stride": 2, "se": 0.25}),
        (MAP, {"expand": 2.5, "kernel": 5, "norm": "ln", "act": "silu"}),
    ],
    "ghost": [
        (MAP, {"dim": 24, "hidden": 32, "stride": 2, "se": 0.25}),
        (MAP, {"hidden": 21, "ratio": 3, "cheap": 5}),
    ],
    "se_gate": [(MAP, {"ratio": 0.25}), (MAP, {"hidden": 5, "gate": "hard_sigmoid"})],
    "eca_gate": [(MAP, {})],
    "ghost_conv": [
        (MAP, {"dim": 21, "kernel": 3, "stride": 2}),
        (MAP, {"ratio": 1}),
    ],
    "basic": [(MAP, {"dim": 24, "stride": 2, "se": 0.25}), (MAP, {"norm": "none", "act": "gelu"})],
    "residual": [
        (MAP, {"dim": 32, "hidden": 12, "stride": 2, "groups": 4}),
        (MAP, {"se": 0.0625, "kernel": 5}),
        (MAP, {"se": 0.25, "se_divisor": 2, "hidden": 8}),
        (MAP, {"se": 0.25, "se_hidden": 5}),
        (MAP, {"eca": True}),
        (MAP, {"spatial": "ghost", "dim": 24, "hidden": 10, "stride": 2}),
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
        (MAP, {"layer_scale": 0, "grn": True}),
        (MAP, {"pointwise": "conv", "layer_scale": 0.1}),
        (MAP, {"pointwise": "conv", "layer_scale": 0, "grn": True}),
    ],
    "patch_embed": [(MAP, {"patch": 4, "dim": 24}), (MAP, {"patch": 6, "dim": 8, "norm": "ln"})],
    "class_token": [(PATCHES, {}), (PATCHES, {"registers": 3})],
    "position": [(TOKENS, {}), (TOKENS, {"kind": "sinusoid"}), (PATCHES, {"kind": "learned_2d"})],
    "vit": [
        (TOKENS, {"heads": 4}),
        (TOKENS, {"heads": 2, "mlp": 1.5, "qkv_bias": False, "layer_scale": 0.1}),
        (WIDE, {"heads": 4, "qk_norm": True, "scale": "width", "se": True, "eps": 1e-5}),
        (TOKENS, {"heads": 2, "ghost": True, "mlp": 3, "qk_norm": True}),
    ],
    "dense_vit": [(TOKENS, {"heads": 4, "growth": 8, "mlp": 2, "qkv_bias": False})],
    "swin": [
        (MAP, {"heads": 4, "window": 5}),  # 12 is no multiple of 5: windows are padded
        (MAP, {"heads": 2, "window": 7, "dim": 24, "stride": 2, "mlp": 2, "qkv_bias": False}),
        (MAP, {"heads": 2, "window": 4, "dim": 24, "stride": 5, "shift": False}),
    ],
    "soft_split": [(MAP, {}), (PATCHES, {"kernel": 2, "stride": 2, "pad": 0})],
    "performer": [(PATCHES, {"dim": 24}), (TOKENS, {"dim": 8, "mlp": 2, "features": 0.75})],
    "token_transformer": [(PATCHES, {"dim": 24}), (TOKENS, {"dim": 16, "mlp": 2})],
    "to_tokens": [(MAP, {})],
    "to_map": [(PATCHES, {}), (TOKENS, {"drop": "cls"})],
    "linear": [(TOKENS, {"dim": 24})],
    "add": [(MAP, {})],
    "concat": [(MAP, {}), (TOKENS, {})],
    "classifier": [
        (MAP, {"classes": 7, "norm": "ln"}),
        (MAP, {"classes": 7, "hidden": 24}),
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


class Products(TorchDispatchMode):
    """Counts the elements that convolutions and matrix products put out."""

    KINDS = frozenset({aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm})

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.KINDS:
            self.elements += out.numel()
        return out


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
    out = model(torch.randn(1, *kind.shape))
    assert tuple(out.shape[1:]) == graph.types[graph.outputs[0]].shape
    empty, x = nets.build(graph, device="meta").eval(), torch.empty(1, *kind.shape, device="meta")
    with FlopCounterMode(display=False) as counter:  # older counters miss a CPU's own attention
        empty(x)
    assert counter.get_total_flops() == 2 * graph.macs
    with Products() as products:
        empty(x)
    assert products.elements == graph.activations


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
