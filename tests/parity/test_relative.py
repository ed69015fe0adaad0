"""Relative positions: biases are timm's, keys are those of the papers' equations."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import timm
import torch
from timm.models import vision_transformer_relpos
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flopwise import dsl, nets
from flopwise.export import from_timm, recognise
from flopwise.export.family import tier
from tests.parity.exports import NATIVE, SLOW
from tests.parity.references import image, redrawn, relative
from tests.parity.test_transformers import both, compare

NET = """
spec: 1
name: net
input: {{size: {size}}}
classes: 10
net:
  patch: {{block: patch_embed, patch: 8, dim: 24}}
  cls:   {{block: class_token}}
  body:  {{block: vit, heads: 3, depth: 2, relative: {how}{more}}}
  head:  {{block: classifier, norm: ln, pool: {pool}}}
"""


def network(how: str, *, size: Any = 32, more: str = "", pool: str = "cls") -> dsl.Network:
    return dsl.loads(NET.format(how=how, size=size, more=more, pool=pool)).network()


@pytest.mark.parametrize("pool", ["cls", "avg"])
def test_biases_per_offset_are_those_of_timm(pool: str) -> None:
    net = network("bias", size=[32, 64], pool=pool)
    native = recognise(net)
    assert native.model_args["rel_pos_type"] == "bias"
    theirs = redrawn(native.architecture, **native.model_args)
    ours = nets.build(net)
    ours.load_state_dict(from_timm(net, theirs.state_dict()))
    compare(net, ours.eval(), theirs)


COATNETS = {name: text for name, text in (NATIVE | SLOW).items() if name.startswith("coatnet")}


@pytest.mark.parametrize("name", COATNETS)
def test_hybrids_on_maps_are_those_of_timm(name: str) -> None:
    net = dsl.loads(COATNETS[name]).network()
    native = recognise(net)
    theirs = redrawn(native.architecture, **native.model_args)
    ours = nets.build(net)
    ours.load_state_dict(from_timm(net, theirs.state_dict()))
    assert sum(each.numel() for each in theirs.parameters()) == net.graph.params
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        shape = net.graph.inputs[0].shape
        timm.create_model(native.architecture, **native.model_args).eval()(torch.empty(1, *shape))
    assert counter.get_total_flops() == 2 * net.graph.macs
    if shape[0] == 3:
        compare(net, ours.eval(), theirs)


@pytest.mark.slow
def test_the_shipped_hybrid_is_that_of_timm_at_full_size() -> None:
    net, ours, theirs = both("coatnet_0_rw_224", {}, {})
    x = image(224)
    with torch.no_grad():
        assert relative(ours(x), theirs(x)) <= 1e-5
        assert relative(ours.train()(x), theirs.train()(x)) <= 1e-5
    # in singles the gradient of a gate's bias is 1.2e-4 apart by rounding
    compare(net, ours.double().eval(), theirs.double().eval())


def test_a_hybrid_at_another_size_is_that_of_timm() -> None:
    net = dsl.loads(COATNETS["coatnet"]).network()
    native = recognise(net)
    theirs = redrawn(native.architecture, **native.model_args)
    ours = nets.build(net).eval()
    ours.load_state_dict(from_timm(net, theirs.state_dict()))
    with warnings.catch_warnings():  # of the memory layout inside timm's interpolation
        warnings.simplefilter("ignore")
        ours.set_input_size(96)
        theirs.set_input_size(96)
    assert relative(ours(image(96)), theirs(image(96))) <= 1e-5


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("dim: 48, depth: 2, stride: 2", "dim: 32, depth: 2", r"at3\.stride 1"),
        (", bias: false}", "}", "both or none"),
        ("block: map_vit", "block: map_vit, relative: keys", "relative keys"),
        ("size: 64", "size: [64, 128]", "squares only"),
        ("kernel: 3, stride: 2", "kernel: 5, stride: 2", r"first\.kernel 5"),
        ("block: mbconv", "block: mbconv, se: 0.01", "of 16 channels is none"),
        ("norm_first: true", "norm_first: false", r"top\.norm_first False"),
    ],
)
def test_what_timm_cannot_say_of_a_hybrid_is_told(old: str, new: str, told: str) -> None:
    text = COATNETS["coatnet"]
    assert old in text
    found = tier(dsl.loads(text.replace(old, new)).network())
    assert found.name == "standalone"
    assert any(re.search(told, reason) for reason in found.reasons), found.reasons


def test_at_another_size_the_biases_are_interpolated_as_in_timm() -> None:
    net = network("bias")
    native = recognise(net)
    theirs = redrawn(native.architecture, **native.model_args)
    larger = timm.create_model(native.architecture, **{**native.model_args, "img_size": 64}).eval()
    ours = nets.build(net).eval()
    ours.load_state_dict(from_timm(net, theirs.state_dict()))
    with warnings.catch_warnings():  # of the memory layout inside timm's interpolation
        warnings.simplefilter("ignore")
        filtered = vision_transformer_relpos.checkpoint_filter_fn(theirs.state_dict(), larger)
        ours.set_input_size(64)
    larger.load_state_dict(filtered)
    assert relative(ours(image(64)), larger(image(64))) <= 1e-5


def test_a_key_per_distance_adds_what_the_paper_says() -> None:
    model = nets.build(network("keys"), seed=1).double().eval()
    found: list[Tensor] = []
    attention = model.get_submodule("body.1.attn")
    attention.register_forward_hook(lambda _, reads, made: found.extend((reads[0], made)))
    model(image(32).double())
    wanted = torch.stack([by_hand(x, attention.state_dict()) for x in found[0]])
    assert relative(found[1], wanted) <= 1e-12


def by_hand(x: Tensor, state: dict[str, Tensor], heads: int = 3) -> Tensor:
    """Attention position by position: the score of i and j is q_i (k_j + r) / sqrt(d), r of j - i.

    Shaw et al. 2018, arXiv:1803.02155, eq. 5; Dosovitskiy et al. 2021, arXiv:2010.11929, D.4.
    """
    length, width = x.shape
    d = width // heads
    q, k, v = (x @ state["qkv.weight"].t() + state["qkv.bias"]).split(width, dim=1)
    keys = state["rel_pos.relative_position_keys"]
    rows = []
    for i in range(length):
        merged = []
        for h in range(heads):
            cut = slice(h * d, (h + 1) * d)
            scores = [
                q[i, cut] @ (k[j, cut] + keys[j - i + length - 1]) / d**0.5 for j in range(length)
            ]
            weights = torch.stack(scores).softmax(0)
            merged.append(sum(weights[j] * v[j, cut] for j in range(length)))
        rows.append(torch.cat(merged))  # type: ignore[arg-type]
    return torch.stack(rows) @ state["proj.weight"].t() + state["proj.bias"]


@pytest.mark.parametrize("how", ["bias", "keys"])
@pytest.mark.parametrize("more", ["", ", scale: width", ", ghost: true"])
def test_costs_are_what_torch_counts(how: str, more: str) -> None:
    net = network(how, more=more)
    model = nets.build(net, device="meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() == 2 * net.graph.macs
    assert sum(each.numel() for each in model.parameters()) == net.graph.params


def test_the_row_of_the_vit_paper_is_a_network() -> None:
    row = dsl.load("std/vit_table8#relative").network()
    none = dsl.load("std/vit_table8#none").network()
    length, d, blocks = 197, 64, 12
    assert row.graph.params - none.graph.params == blocks * (2 * length - 1) * d
    assert row.graph.macs - none.graph.macs == blocks * length * length * 768
    assert tier(row).name == "standalone"


def test_keys_belong_to_one_size_and_say_so() -> None:
    with pytest.raises(TypeError, match="img_size"):
        nets.build(network("keys"), img_size=64)
    assert not hasattr(nets.build(network("keys")), "set_input_size")
