"""Every shipped transformer that timm has is timm's: outputs and gradients from its weights.

Networks above 100 M parameters are compared with two blocks in every stage and their full widths;
`test_counts` compares them at full size on the meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from flopwise import dsl, nets
from flopwise.export import from_timm, rename
from flopwise.export.families import family_of
from tests.parity.references import image, redrawn, relative

CUT = {  # above 100 M parameters: what leaves two blocks in every stage, ours and timm's
    "swin_large_patch4_window7_224": ({"d3": "2"}, {"depths": (2, 2, 2, 2)}),
    "vit_large_patch16_224": ({"depth": "2"}, {"depth": 2}),
    "vit_large_patch14_224": ({"depth": "2"}, {"depth": 2}),
    "vit_large_patch32_224": ({"depth": "2"}, {"depth": 2}),
    "vit_huge_patch14_224": ({"depth": "2"}, {"depth": 2}),
}
NAMES = ["swin_tiny_patch4_window7_224", "deit_tiny_patch16_224", "vit_small_patch32_224"]
OTHERS = [
    *("swin_small_patch4_window7_224", "swin_base_patch4_window7_224"),
    *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"),
    *("vit_base_patch32_224", "deit_small_patch16_224", "deit_base_patch16_224", *CUT),
]
VARIANTS: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("vit_tiny_patch16_224", {"net.body.qk_norm": "true"}, {"qk_norm": True}),
    ("vit_tiny_patch16_224", {"net.body.layer_scale": "0.1"}, {"init_values": 0.1}),
    ("vit_tiny_patch16_224", {"net.cls.registers": "4"}, {"reg_tokens": 4}),
    ("vit_tiny_patch16_224", {"net.head.pool": "avg"}, {"global_pool": "avg"}),
    (
        "vit_tiny_patch16_224",
        {"net.body.qkv_bias": "false", "net.body.mlp": "3"},
        {"qkv_bias": False, "mlp_ratio": 3.0},
    ),
    ("swin_tiny_patch4_window7_224", {"input.size": "160"}, {"img_size": 160}),
    ("swin_tiny_patch4_window7_224", {"input.size": "[160, 256]"}, {"img_size": (160, 256)}),
    (
        "swin_tiny_patch4_window7_224",
        {"defaults.swin.window": "5", "defaults.swin.mlp": "2"},
        {"window_size": 5, "mlp_ratio": 2.0},
    ),
]
"""A setting of ours, and timm's arguments for it."""


def both(
    name: str, sets: dict[str, str], options: dict[str, Any]
) -> tuple[dsl.Network, nn.Module, nn.Module]:
    """Returns our network, our module and timm's, with the same redrawn weights."""
    theirs = redrawn(name, drop_path_rate=0.0, num_classes=1000, **options)
    network = dsl.load(f"std/{name}", sets=list(sets.items())).network()
    ours = nets.build(network)
    ours.load_state_dict(from_timm(network, theirs.state_dict()), strict=True)
    return network, ours.eval(), theirs


def compare(network: dsl.Network, ours: nn.Module, theirs: nn.Module) -> None:
    """Evaluation, then one step of training: outputs and every gradient."""
    _, height, width = network.graph.inputs[0].shape
    x = image(max(height, width))[:, :, :height, :width].to(next(ours.parameters()).dtype)
    with torch.no_grad():
        assert relative(ours(x), theirs(x)) <= 1e-5
    got, wanted = ours.train()(x), theirs.train()(x)
    assert relative(got, wanted) <= 1e-5
    got.square().sum().backward()
    wanted.square().sum().backward()
    grads = {key: p.grad for key, p in theirs.named_parameters() if p.grad is not None}
    gradients = from_timm(network, {**theirs.state_dict(), **grads})
    silent = 1e-6 * max(each.abs().max() for each in grads.values())
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        if gradients[key].abs().max() <= silent:  # rounding of a shift that a batch norm undoes
            assert parameter.grad.abs().max() <= 2 * silent, key
        else:
            assert relative(parameter.grad, gradients[key]) <= 1e-4, key


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_agree(name: str) -> None:
    compare(*both(name, {}, {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_networks_agree_too(name: str) -> None:
    compare(*both(name, *CUT.get(name, ({}, {}))))


@pytest.mark.parametrize(("name", "sets", "options"), VARIANTS)
def test_settings_are_those_of_timm(
    name: str, sets: dict[str, str], options: dict[str, Any]
) -> None:
    compare(*both(name, sets, options))


HYBRIDS: dict[str, dict[str, str]] = {  # what leaves two blocks in the transformer
    "vit_small_r26_s32_224": {},
    "vit_base_r50_s16_224": {},
    "vit_large_r50_s32_224": {"depth": "2"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HYBRIDS)
def test_hybrids_agree_too(name: str) -> None:
    options = {key: int(value) for key, value in HYBRIDS[name].items()}
    theirs = redrawn(name, num_classes=1000, **options)
    network = dsl.load(f"std/{name}", sets=list(HYBRIDS[name].items())).network()
    ours = nets.build(network)
    ours.load_state_dict(from_timm(network, theirs.state_dict()), strict=True)
    compare(network, ours.eval(), theirs)


def test_a_fresh_hybrid_starts_as_in_timm() -> None:
    network = dsl.load("std/vit_small_r26_s32_224").network()
    ours = nets.build(network, seed=0, drop_path_rate=0.3)
    torch.manual_seed(0)
    theirs = timm.create_model("vit_small_r26_s32_224", drop_path_rate=0.3)
    alike(ours.state_dict(), from_timm(network, theirs.state_dict()))
    assert drop_rates(ours) == pytest.approx(drop_rates(theirs))


FRESH = [
    ("swin_tiny_patch4_window7_224", {}, {}),
    ("deit_tiny_patch16_224", {"net.body.qk_norm": "true"}, {"qk_norm": True}),
    ("vit_tiny_patch16_224", {"net.cls.registers": "4"}, {"reg_tokens": 4}),
    ("coatnet_0_rw_224", {}, {}),
]


@pytest.mark.parametrize(("name", "sets", "options"), FRESH)
def test_fresh_weights_decay_and_drop_paths_are_those_of_timm(
    name: str, sets: dict[str, str], options: dict[str, Any]
) -> None:
    network = dsl.load(f"std/{name}", sets=list(sets.items())).network()
    torch.manual_seed(0)
    theirs = timm.create_model(name, drop_path_rate=0.3, **options)
    ours = nets.build(network, seed=0, drop_path_rate=0.3)
    alike(ours.state_dict(), from_timm(network, theirs.state_dict()))
    keys = rename(family_of(network), network)
    assert {keys[key] for key in ours.no_weight_decay()} == theirs.no_weight_decay() & {
        name for name, _ in theirs.named_parameters()
    }
    assert drop_rates(ours) == pytest.approx(drop_rates(theirs))


def alike(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Fresh weights: constants are equal, and what is drawn comes from one distribution."""
    for key, value in ours.items():
        wanted = theirs[key]
        if wanted.min() == wanted.max():
            assert torch.equal(value, wanted), key
        else:  # medians: now and then trunc_normal_ draws a 2 where 0.02 is the spread
            error = 12 * spread(wanted) / value.numel() ** 0.5
            assert value.median().item() == pytest.approx(wanted.median().item(), abs=error), key
            assert spread(value) == pytest.approx(spread(wanted), abs=error), key


def spread(x: Tensor) -> float:
    return x.abs().median().item()


def drop_rates(model: nn.Module) -> list[float]:
    """The rates of stochastic depth in order, blocks without any left out."""
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]
    return [rate for rate in rates if rate]
