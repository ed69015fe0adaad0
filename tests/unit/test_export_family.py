"""Which networks stock timm can build, what stands in the way of the others, and config.json."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from timm.models import PretrainedCfg
from timm.models.regnet import (
    RegNetCfg,
    adjust_widths_groups_comp,
    generate_regnet,
    model_cfgs,
)

from flopwise.dsl import load, loads
from flopwise.export import Facts, NotNativeError, recognise, tier
from flopwise.export.card import make_card
from flopwise.export.config import make_config
from flopwise.export.regnet import rule_of
from flopwise.export.resnet import base_width
from tests.parity.exports import (
    CLASS,
    HYBRID,
    NATIVE,
    SLOW,
    convnext,
    densenet,
    mobile,
    network,
    preact,
    regnet,
    resnet,
    vit,
)

SHIPPED = [
    "resnet18",
    "resnet50",
    "resnet152",
    "seresnet50",
    "convnext_tiny",
    "convnext_xlarge",
    "convnext_atto",
    "convnextv2_base",
    "resnet200",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "densenet161",
    "vit_tiny_patch16_224",
    "vit_base_patch32_224",
]
three = convnext().replace(
    "  four:   {block: convnext, kernel: 7, depth: 1, dim: 24, stride: 2}", ""
)
branch = (
    convnext()
    .replace("  top:    {", "  join: {block: concat, from: [four, side]}\n  top:    {")
    .replace("  two:    {", "  side: {block: avgpool, to: 2}\n  two:    {from: one, ")
)
REASONS = {
    "expand": (convnext(more=", expand: 3"), "one.expand 3 (timm's ConvNeXt fixes 4)"),
    "three stages": (three, "3 stages (timm's ConvNeXt has four)"),
    "kernels": (
        convnext().replace("kernel: 7", 'kernel: "$(pick(i, 3, 5))"', 1),
        "one.kernel differs between repetitions (3, 5)",
    ),
    "stride": (convnext(patch=2, size=32), "one.stride 1 (timm's ConvNeXt fixes 2)"),
    "patch": (convnext(patch=8, size=128), "bottom.patch 8"),
    "stem norm": (
        convnext().replace("patch: 1", "patch: 1, norm: bn"),
        "bottom.norm bn (timm's ConvNeXt fixes ln)",
    ),
    "head norm": (
        convnext().replace("norm: ln", "norm: none"),
        "top.norm none (timm's ConvNeXt fixes ln)",
    ),
    "acts": (
        convnext(first=", act: relu"),
        "act differs between stages (one relu, two gelu, three gelu, four gelu)",
    ),
    "some energy": (convnext(first=", grn: true"), "grn differs between stages"),
    "depthwise": (resnet("residual", more=", spatial: depthwise"), "spatial ['depthwise']"),
    "separate": (
        resnet("residual", dims=(64, 96, 128, 160), more=", downsample: separate"),
        "downsample ['separate']",
    ),
    "other gates": (resnet("basic", more=", se: 0.0625, se_hidden: 5"), "makes 5 gate channels"),
    "growth": (densenet().replace("growth: 8", "growth: 4", 1), "growth differs between stages"),
    "kept half": (densenet().replace("depth: 3", "depth: 3, dim: 20"), "two.dim 20 of 32 channels"),
    "mobile": (
        convnext().replace("convnext, kernel: 7", "inverted"),
        "inverted, classifier; timm's MobileNetV5 is conv_stem",
    ),
    "some scales": (convnext(first=", layer_scale: 0"), "layer_scale is 0 in some blocks only"),
    "stem width": (
        convnext(patch=2, size=32, first=", stride: 2, dim: 20").replace("dim: 12", "dim: 28"),
        "bottom.dim 8 is not one.dim 20",
    ),
    "small stem": (
        resnet("basic").replace(
            "conv_stem", "conv_stem, dim: 32, kernel: 3, stride: 1, pool: none"
        ),
        "bottom.dim 32 (timm's ResNet fixes 64)",
    ),
    "no pool": (
        resnet("basic").replace("conv_stem", "conv_stem, pool: none"),
        "bottom.pool none (timm's ResNet shrinks the map there)",
    ),
    "gate ratio": (
        resnet("basic", dims=(64, 128, 192, 256), more=", se: 0.25"),
        "one.se 0.25 makes 16 gate channels (timm fixes 0.0625: 8)",
    ),
    "some gates": (
        resnet("basic", each=("", ", se: 0.0625", "", "")),
        "one.se 0 beside stages that have it",
    ),
    "groups": (
        resnet("residual", each=("", "", "", ", groups: 4")),
        "groups differs between stages (one 1, two 1, three 1, four 4)",
    ),
    "hidden": (
        resnet("residual", each=tuple(f", hidden: {h}" for h in (9, 17, 27, 36))),
        "hidden (one 9, two 17, three 27, four 36) is not one share of dim",
    ),
    "odd dims": (resnet("residual", dims=(30, 60, 96, 128)), "one.dim 30"),
    "no norm": (resnet("basic", both=", norm: none"), "norm none"),
    "two blocks": (
        resnet("basic").replace("four:   {block: basic", "four:   {block: residual"),
        "the stages are conv_stem, basic, basic, basic, residual, classifier",
    ),
    "free depths of BiT": (
        preact(stem=", standard: true, pool: zeros", both=", standard: true", more=", hidden: 8"),
        "depths [1, 2, 1, 1] with standard true (timm's BiT has [3, 4, 6, 3] or",
    ),
    "no projection": (preact(more=", hidden: 8"), "at0.project false (timm's ResNetV2 projects"),
    "hidden of no share": (
        preact(more=", project: true"),
        "hidden (at0 4, at1 6, at2 8, at3 10) is not one share of dim in all stages",
    ),
    "odd groups": (
        preact(both=", norm: gn", more=", project: true, hidden: 8"),
        "group norms of 8, 16, 24, 40 channels (timm's ResNetV2 has 32 groups)",
    ),
    "stem without pooling": (
        preact(stem=", pool: none", more=", project: true, hidden: 8"),
        "bottom.pool none (timm's ResNetV2 shrinks the map there)",
    ),
    "widths of no rule": (
        regnet(dims=(16, 32, 64, 72), depths=(3, 3, 3, 3), act="relu"),
        "no line through 3 x 16, 3 x 32, 3 x 64, 3 x 72 is rounded to them by RegNet's rule",
    ),
    "depths before a ViT": (
        f"{HYBRID}net: {{stage1: {{depth: 1}}}}\n",
        "depths [1, 2, 2, 2] of bit (timm's hybrid ViT has [2, 2, 2, 2] or",
    ),
    "signed features": (mobile(last="none"), "changes those behind no activation"),
    "heads": (
        vit().replace("depth: 1, heads: 3", "depth: 1, heads: 4"),
        "heads differs between stages (early 3, late 4)",
    ),
    "mlp": (vit().replace("depth: 1,", "depth: 1, mlp: 3,"), "mlp differs between blocks"),
    "class token alone": (vit(middle=(CLASS,)), "'mark' without positions"),
    "late class token": (
        vit(middle=()).replace("  late:", f"  {CLASS}\n  late:"),
        "the stages are patch_embed, vit, class_token, vit, classifier",
    ),
    "patches with bn": (
        vit(embed="block: patchify, norm: bn"),
        "bottom.norm bn (timm's ViT has ln or none there)",
    ),
    "branch": (branch, "stages are wired with 'from'"),
    "hybrid": (
        vit(embed="block: patchify").replace("  mark:", "  local: {block: convnext}\n  mark:"),
        "timm has no family of both",
    ),
    "none of them": (
        "spec: 1\nname: n\ninput: {size: 8}\nnet:\n  a: {block: conv, dim: 8}\n"
        "  b: {block: classifier}\n",
        "none of the blocks",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_costs_the_native_form_is_named(name: str) -> None:
    text, reason = REASONS[name]
    found = tier(network(text))
    assert found.name == "standalone"
    assert any(reason in each for each in found.reasons), found.reasons


def test_all_reasons_are_given_at_once() -> None:
    stem = resnet("basic").replace("conv_stem", "conv_stem, dim: 32, kernel: 3, pool: none")
    with pytest.raises(NotNativeError) as caught:
        recognise(network(stem))
    assert len(caught.value.reasons) == 3
    assert all(reason in str(caught.value) for reason in caught.value.reasons)


def test_one_stage_without_a_shortcut_of_its_own_is_refused_and_not_stumbled_over() -> None:
    text = """
spec: 1
name: short
input: {size: 8, channels: 1}
classes: 10
net:
  stem: {block: conv_stem, dim: 64, kernel: 7, stride: 2, pool: max}
  body: {block: basic, dim: 64, depth: 1}
  head: {block: classifier, pool: avg}
"""
    with pytest.raises(NotNativeError) as caught:
        recognise(loads(text).network())
    assert list(caught.value.reasons) == ["1 stages (timm's ResNet has four)"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_native(name: str) -> None:
    assert tier(load(f"std/{name}").network()).name == "native"


def test_names_of_stages_reach_no_exported_key() -> None:
    text = convnext()
    other = text
    for old, new in (("bottom", "stem"), ("one", "stages"), ("two", "head"), ("top", "fc")):
        other = other.replace(f"  {old}:", f"  {new}:")
    first, second = recognise(network(text)), recognise(network(other))
    assert list(first.keys.values()) == list(second.keys.values())
    assert first.model_args == second.model_args


def test_the_tier_is_known_without_torch() -> None:
    code = (
        "import sys; from flopwise.dsl import load; from flopwise.export import tier\n"
        "assert tier(load('std/seresnet50').network()).family == \"timm's ResNet\"\n"
        "assert not {'torch', 'timm', 'safetensors'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("text", [*NATIVE.values(), *SLOW.values()], ids=[*NATIVE, *SLOW])
def test_every_key_of_a_native_network_has_one_place_in_timm(text: str) -> None:
    native, keys = recognise(network(text)), network(text).graph.keys()
    assert list(native.keys) == list(keys)
    assert len(set(native.keys.values())) == len(keys)


def values_of(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from values_of(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from values_of(value)
    else:
        yield tree


@pytest.mark.parametrize("text", [*NATIVE.values(), *SLOW.values()], ids=[*NATIVE, *SLOW])
def test_config_falls_into_no_known_trap(text: str) -> None:
    net = network(text)
    known = {"trial": None, "picks": {"a": None}, "num_classes": 3}
    made = make_config(net, recognise(net), Facts(class_names=("x",)), known, license="mit")
    config = json.loads(json.dumps(made))
    cfg = config["pretrained_cfg"]
    assert config["num_classes"] == config["model_args"]["num_classes"] == cfg["num_classes"] == 7
    assert None not in values_of(config)
    PretrainedCfg(**cfg)
    assert (cfg["tag"], cfg["license"], config["label_names"]) == ("flopwise", "mit", ["x"])
    assert cfg["classifier"]
    assert cfg["input_size"] == list(net.graph.inputs[0].shape)
    assert cfg["fixed_input_size"] == ("img_size" in config["model_args"])
    assert ("first_conv" in cfg) == (cfg["input_size"][0] in (1, 3))


def test_the_card_tells_how_to_load_and_where_it_comes_from() -> None:
    net = network(convnext())
    known = {"macs": 5, "spec": "spec: 1\nname: n\n", "trial": None}
    card = make_card(make_config(net, recognise(net), Facts(), known), "mine")
    assert 'timm.create_model("local-dir:PATH/TO/mine", pretrained=True)' in card
    assert "- macs: 5 (multiply" in card and "## spec\n\n```yaml\nspec: 1" in card
    assert "trial" not in card


def test_four_numbers_of_the_rule_give_timms_own_regnets_back() -> None:
    """Against timm's own rule and its rounding to groups, for every RegNet it has."""
    for name, cfg in model_cfgs.items():
        widths, depths = _regnet(cfg, cfg.wa, cfg.w0, cfg.wm)
        group = round(cfg.group_size / cfg.bottle_ratio)
        found = rule_of(widths, depths, group, cfg.group_min_ratio)
        assert found is not None, name
        w0, wa, wm = found
        assert _regnet(cfg, wa, w0, wm) == (widths, depths), name


def _regnet(cfg: RegNetCfg, wa: float, w0: int, wm: float) -> tuple[list[int], list[int]]:
    widths, stages, groups = generate_regnet(wa, w0, wm, cfg.depth, cfg.group_size)
    counts = Counter(widths)
    ratios = [cfg.bottle_ratio] * stages
    made, _ = adjust_widths_groups_comp(sorted(counts), ratios, groups, cfg.group_min_ratio)
    return made, [counts[width] for width in sorted(counts)]


def test_facts_take_what_they_know() -> None:
    facts = Facts.of({"mean": [0.1], "class_names": ["a"], "digest": "f00", "crop_pct": 0.9})
    assert facts == Facts(mean=(0.1,), class_names=("a",), crop_pct=0.9)


@pytest.mark.parametrize(
    ("low", "high", "found"), [(64, 65, 64), (63.5, 65, 64), (4.25, 4.75, 4.5), (5, 5, None)]
)
def test_the_base_width_is_whole_if_it_can_be(low: float, high: float, found: float | None) -> None:
    assert base_width(low, high) == found


def test_the_written_depth_of_each_repetition_counts() -> None:
    text = vit().replace("depth: 2", "depth: 3")
    assert recognise(loads(text).network()).model_args["depth"] == 4
