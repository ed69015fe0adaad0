"""Stochastic depth as the train section writes it: timm's rates by `linear`, and other rules."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import DropPath, calculate_drop_path_rates
from torch import nn

from flopwise import dsl, nets
from flopwise.dsl.recipe import recipe_rules
from flopwise.nets.drop import RATES
from flopwise.train.tools import set_drop

BRANCHES = {  # residual branches of a block, each with its drop path
    "resnet50": 1,
    "convnext_tiny": 1,
    "dm_nfnet_f0": 1,
    "vit_tiny_patch16_224": 2,
    "swin_tiny_patch4_window7_224": 2,
}


def rates(model: nn.Module) -> list[float]:
    """The rate of every drop path in order; where it is 0 timm has an identity, or nothing."""
    found = [(n.rpartition(".")[2], m) for n, m in model.named_modules()]
    return [getattr(m, "drop_prob", 0.0) or 0.0 for n, m in found if n.startswith("drop_path")]


def ours(name: str, rule: str) -> tuple[list[int], list[float]]:
    """The depths of our stages, and the rates that a recipe gives their blocks."""
    sets = [("train.drop_path", "0.3"), ("train.drop_path_rule", rule)]
    spec = dsl.load(f"std/{name}", sets=sets)
    model = nets.build(spec.network(), device="meta")
    set_drop(model, spec.recipe)
    dropping = [child for child in model.children() if any(map(is_path, child.modules()))]
    return [len([k for k in child._modules if k.isdigit()]) for child in dropping], rates(model)


def is_path(module: nn.Module) -> bool:
    return isinstance(module, DropPath)


@pytest.mark.parametrize("name", BRANCHES)
def test_linear_rates_are_those_of_timms_models_and_of_its_rule(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, drop_path_rate=0.3)
    depths, found = ours(name, "linear")
    assert [rate for rate in found if rate] == pytest.approx([r for r in rates(theirs) if r])
    by_stage = calculate_drop_path_rates(0.3, depths, stagewise=True)
    wanted = [rate for stage in by_stage for rate in stage for _ in range(BRANCHES[name])]
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("name", BRANCHES)
def test_the_other_rules_give_one_rate_a_stage_and_one_for_all(name: str) -> None:
    depths, found = ours(name, "stagewise")
    last = max(1, len(depths) - 1)
    wanted = [0.3 * place / last for place, depth in enumerate(depths) for _ in range(depth)]
    if len(depths) == 1:  # a ViT has one stage, which is the first
        wanted = [0.0] * depths[0]
    assert found[:: BRANCHES[name]] == pytest.approx(wanted)
    _, found = ours(name, "constant")
    assert found == [0.3] * sum(depths) * BRANCHES[name]


def test_every_rule_can_be_written() -> None:
    assert recipe_rules()["drop_path_rule"].choices == tuple(RATES)
