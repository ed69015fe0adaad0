"""timm's weights give timm's outputs in our modules, and each mutant of them does not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from flopwise import dsl, nets
from flopwise.export import from_timm
from tests.parity.references import image, redrawn, relative

NAMES = ["resnet50", "seresnet50", "convnext_tiny", "vit_base_patch16_224"]
OTHERS = ["resnet18", "resnet34", "convnext_small", "vit_tiny_patch16_224", "vit_base_patch32_224"]
TOLERANCE = 1e-5
BLOCK = re.compile(r"(stage\d|body)\.\d+")


@lru_cache(maxsize=4)
def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Returns (ours, timm's) with the same redrawn weights."""
    theirs = redrawn(name)
    network = dsl.load(f"std/{name}").network()
    ours = nets.build(network)
    ours.load_state_dict(from_timm(network, theirs.state_dict()), strict=True)
    return ours.eval(), theirs.eval()


@torch.no_grad()
def difference(ours: nn.Module, theirs: nn.Module, *, full: bool = False) -> float:
    x = image(224, batch=2) if full else small(ours)
    return relative(ours(x), theirs(x))


def small(model: nn.Module) -> Tensor:
    """One image, of 96 pixels where the network takes any size."""
    return image(224 if hasattr(model, "pos") else 96, batch=1)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_identical_in_evaluation_and_in_training(name: str) -> None:
    ours, theirs = pair(name)
    assert difference(ours, theirs, full=True) == 0.0
    ours, theirs = copy.deepcopy(ours).train(), copy.deepcopy(theirs).train()
    assert difference(ours, theirs, full=True) <= TOLERANCE
    for key, value in from_timm(dsl.load(f"std/{name}").network(), theirs.state_dict()).items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_shipped_networks_agree_too(name: str) -> None:
    assert difference(*pair(name)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "vit_tiny_patch16_224"])
def test_gradients_agree(name: str) -> None:
    ours, theirs = (copy.deepcopy(model) for model in pair(name))
    for model in (ours, theirs):
        model(image(batch=1)).square().sum().backward()
    network = dsl.load(f"std/{name}").network()
    gradients = {key: p.grad for key, p in theirs.named_parameters() if p.grad is not None}
    buffers = {k: v for k, v in theirs.state_dict().items() if k not in gradients}
    wanted = from_timm(network, {**buffers, **gradients})
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert relative(parameter.grad, wanted[key]) <= 1e-4, key


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_each_block_of_the_reference_weighs_in(name: str) -> None:
    ours, theirs = pair(name)
    x = small(ours)
    wanted = theirs(x)
    blocks = [m for path, m in ours.named_modules() if BLOCK.fullmatch(path)]
    assert len(blocks) >= 12
    for block in blocks:
        silenced = [
            child.register_forward_hook(lambda _m, _i, out: torch.zeros_like(out))
            for child_name, child in block.named_children()
            if child_name.startswith("drop_path")
        ]
        assert silenced
        assert relative(ours(x), wanted) >= 0.01
        for hook in silenced:
            hook.remove()


def other_eps(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-6
        elif isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-5


def block_dropped(model: nn.Module) -> None:
    stage = model.get_submodule("stage3" if hasattr(model, "stage3") else "body")
    setattr(stage, "1", nn.Identity())


def stride_on_the_other_convolution(model: nn.Module) -> None:
    block = model.get_submodule("stage2.0")
    block.get_submodule("conv1").stride, block.get_submodule("conv2").stride = (2, 2), (1, 1)


def queries_and_keys_swapped(model: nn.Module) -> None:
    qkv = model.get_submodule("body.0.attn.qkv")
    for tensor in (qkv.weight.data, qkv.bias.data):
        q, k, v = tensor.clone().chunk(3)
        tensor.copy_(torch.cat([k, q, v]))


MUTANTS: list[tuple[str, Callable[[nn.Module], None]]] = [
    *((name, other_eps) for name in NAMES),
    *((name, block_dropped) for name in NAMES),
    ("resnet50", stride_on_the_other_convolution),
    ("seresnet50", stride_on_the_other_convolution),
    ("vit_base_patch16_224", queries_and_keys_swapped),
]


@pytest.mark.parametrize(("name", "mutate"), MUTANTS)
def test_a_mutant_is_told_apart(name: str, mutate: Callable[[nn.Module], None]) -> None:
    ours, theirs = pair(name)
    mutant = copy.deepcopy(ours)
    mutate(mutant)
    assert difference(mutant, theirs) > 2 * TOLERANCE


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("resnet50", "defaults.act=silu"),
        ("convnext_tiny", "defaults.convnext.act=gelu_tanh"),
        ("vit_base_patch16_224", "net.body.act=gelu_tanh"),
    ],
)
def test_another_activation_is_told_apart(name: str, setting: str) -> None:
    _, theirs = pair(name)
    path, _, value = setting.partition("=")
    network = dsl.load(f"std/{name}", sets=[(path, value)]).network()
    mutant = nets.build(network).eval()
    mutant.load_state_dict(from_timm(dsl.load(f"std/{name}").network(), theirs.state_dict()))
    assert difference(mutant, theirs) > 2 * TOLERANCE
