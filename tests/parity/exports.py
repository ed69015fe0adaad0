"""Small networks of every native form, with weights that silence nothing."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from flopwise import dsl, nets

__all__ = ["ACTS", "NATIVE", "SLOW", "module", "network"]

ACTS = ["relu", "relu6", "gelu", "gelu_tanh", "silu", "hardswish", "tanh", "sigmoid", "none"]


def _spec(lines: str, size: int | list[int], channels: int) -> str:
    return f"""
spec: 1
name: net
input: {{size: {size}, channels: {channels}}}
classes: 7
net:
{lines}
"""


def convnext(
    *,
    patch: int = 1,
    size: int | list[int] = 16,
    channels: int = 3,
    kernels: tuple[int, ...] = (7, 7, 7, 7),
    first: str = "",
    more: str = "",
) -> str:
    body = [f"block: convnext, kernel: {kernel}{more}" for kernel in kernels]
    lines = f"""
  bottom: {{block: patchify, patch: {patch}, dim: 8}}
  one:    {{{body[0]}, depth: 2{first}}}
  two:    {{{body[1]}, depth: 1, dim: 12, stride: 2}}
  three:  {{{body[2]}, depth: 2, dim: 16, stride: 2}}
  four:   {{{body[3]}, depth: 1, dim: 24, stride: 2}}
  top:    {{block: classifier, norm: ln}}"""
    return _spec(lines, size, channels)


def resnet(
    block: str,
    *,
    channels: int = 3,
    dims: tuple[int, ...] = (32, 64, 96, 128),
    each: tuple[str, ...] = ("", "", "", ""),
    both: str = "",
    more: str = "",
) -> str:
    body = [
        f"block: {block}, dim: {dim}{both}{more}{own}" for dim, own in zip(dims, each, strict=True)
    ]
    lines = f"""
  bottom: {{block: conv_stem{both}}}
  one:    {{{body[0]}, depth: 2}}
  two:    {{{body[1]}, depth: 1, stride: 2}}
  three:  {{{body[2]}, depth: 2, stride: 2}}
  four:   {{{body[3]}, depth: 1, stride: 2}}
  top:    {{block: classifier}}"""
    return _spec(lines, 64, channels)


def preact(
    block: str = "preact",
    *,
    channels: int = 3,
    dims: tuple[int, ...] = (16, 24, 32, 40),
    depths: tuple[int, ...] = (1, 2, 1, 1),
    stem: str = "",
    both: str = "",
    more: str = "",
) -> str:
    body = "".join(
        f"\n  at{number}: {{block: {block}, dim: {dim}, depth: {depth}{both}{more}"
        f"{', stride: 2' if number else ''}}}"
        for number, (dim, depth) in enumerate(zip(dims, depths, strict=True))
    )
    norm = both.replace(", standard: true", "")
    lines = f"""
  bottom: {{block: preact_stem, dim: {dims[0]}{stem}}}{body}
  last:   {{block: norm_act{norm}}}
  top:    {{block: classifier}}"""
    return _spec(lines, 64, channels)


def densenet(
    *,
    channels: int = 3,
    depths: tuple[int, ...] = (2, 3, 1, 2),
    more: str = "",
    act: str = "relu",
) -> str:
    body = "".join(
        f"\n  {name}: {{block: dense, growth: 8, act: {act}, depth: {depth}{more}"
        f"{'' if name == 'one' else ', stride: 2'}}}"
        for name, depth in zip(("one", "two", "three", "four"), depths, strict=False)
    )
    lines = f"""
  bottom: {{block: conv_stem, dim: 16, act: {act}}}{body}
  last:   {{block: norm_act, act: {act}}}
  top:    {{block: classifier}}"""
    return _spec(lines, 64, channels)


CLASS = "mark:   {block: class_token}"
PLACE = "place:  {block: position}"
MEAN_OF_NORMED = "pool: avg, norm: ln, norm_first: true"


def vit(
    *,
    embed: str = "block: patch_embed",
    patch: int = 4,
    middle: tuple[str, ...] = (CLASS, PLACE),
    size: int | list[int] = 16,
    channels: int = 3,
    more: str = "",
    head: str = "pool: cls, norm: ln",
) -> str:
    between = "".join(f"\n  {line}" for line in middle)
    lines = f"""
  bottom: {{{embed}, patch: {patch}, dim: 24}}{between}
  early:  {{block: vit, depth: 2, heads: 3{more}}}
  late:   {{block: vit, depth: 1, heads: 3{more}}}
  top:    {{block: classifier, {head}}}"""
    return _spec(lines, size, channels)


def regnet(
    *,
    dims: tuple[int, ...] = (24, 56, 152, 368),
    depths: tuple[int, ...] = (1, 1, 4, 7),
    act: str,
    more: str = "",
) -> str:
    body = "".join(
        f"\n  at{dim}: {{block: residual, dim: {dim}, hidden: {dim}, groups: {dim // 8}, "
        f"depth: {depth}, stride: 2, act: {act}{more}}}"
        for dim, depth in zip(dims, depths, strict=True)
    )
    lines = f"""
  bottom: {{block: conv_stem, kernel: 3, pool: none, dim: 16, act: {act}}}{body}
  top:    {{block: classifier}}"""
    return _spec(lines, 64, 3)


def coatnet(
    *,
    size: int | list[int] = 64,
    channels: int = 3,
    act: str = "gelu",
    conv: str = "",
    kinds: str = "CCTT",
    more: str = ", head_dim: 8",
    stem: str = ", bias: false",
    head: str = "",
) -> str:
    blocks = {"C": f"block: mbconv, act: {act}{conv}", "T": f"block: map_vit{more}"}
    body = "".join(
        f"\n  at{number}: {{{blocks[kind]}, dim: {dim}, depth: {1 + number % 2}, stride: 2}}"
        for number, (kind, dim) in enumerate(zip(kinds, (16, 24, 32, 48, 64), strict=False))
    )
    lines = f"""
  first:  {{block: conv, dim: 8, kernel: 3, stride: 2, norm: bn, act: {act}}}
  second: {{block: conv, dim: 16, kernel: 3{stem}}}{body}
  top:    {{block: classifier, norm: ln, norm_first: true{head}}}"""
    return _spec(lines, size, channels)


def mobile(*, act: str = "relu", head: str = "", last: str = "relu") -> str:
    lines = f"""
  stem:  {{block: conv_stem, kernel: 3, pool: none, dim: 16, act: {act}}}
  one:   {{block: separable, dim: 16, se: 0.25}}
  two:   {{block: inverted, dim: 24, stride: 2, depth: 2, kernel: "$(pick(i, 5, 3))"}}
  three: {{block: inverted, dim: 40, stride: 2, depth: 2, se: 0.25, act: silu}}
  four:  {{block: conv, dim: 64, norm: bn, act: {last}, stride: 2, groups: 4}}
  head:  {{block: classifier{head}}}"""
    return _spec(lines, 64, 3)


HYBRID = """
spec: 1
name: net
extends: std/vit_small_r26_s32_224
input: {size: 64}
classes: 7
vars: {dim: 48, depth: 2, heads: 4}
"""
GATED = ", se: 0.0625"
NATIVE = {
    "convnext 8x8 grey": convnext(size=8, channels=1),
    "convnext patch 2": convnext(patch=2, size=32, first=", stride: 2"),
    "convnext patch 4, kernels": convnext(patch=4, size=64, kernels=(3, 5, 7, 9)),
    "convnext without scales": convnext(more=", layer_scale: 0, act: silu"),
    "convnext V2": convnext(more=", layer_scale: 0, grn: true"),
    "resnet basic": resnet("basic"),
    "resnet bottleneck, gated": resnet("residual", more=GATED),
    "resnet groups": resnet(
        "residual", each=tuple(f", groups: 4, hidden: {h}" for h in (16, 32, 48, 64))
    ),
    "densenet": densenet(),
    "resnetv2": preact(more=", project: true, shortcut: pool, hidden: 8", both=", act: silu"),
    "resnetv2 of BiT": preact(
        depths=(3, 4, 6, 3),
        stem=", standard: true, pool: zeros",
        both=", standard: true",
        more=", project: true, hidden: 8",
    ),
    "regnet": regnet(act="relu"),
    "regnet gates": regnet(act="relu", more=", se: 0.25, se_divisor: 1, gate: middle"),
    "carrier": mobile(),
    "coatnet": coatnet(),
    "vit class token": vit(),
    "vit mean, scales": vit(head="pool: avg, norm: ln", more=", layer_scale: 0.1"),
    "vit offsets": vit(middle=(CLASS,), more=", relative: bias"),
    "vit 8x8 grey": vit(middle=(PLACE,), patch=2, size=8, channels=1, head="pool: avg, norm: ln"),
}
SLOW = {
    "hybrid": HYBRID,
    "regnet silu": regnet(dims=(16, 32, 64, 128), depths=(1, 2, 3, 5), act="silu"),
    "carrier of relu6": mobile(act="relu6", last="relu6"),
    "carrier, hidden": mobile(act="silu", head=", hidden: 48, hidden_act: silu", last="none"),
    "carrier, hidden bn": mobile(head=", hidden: 48, hidden_norm: bn", last="silu"),
    "coatnet of timm": coatnet(
        act="silu",
        conv=", expand_from: input, shrink: pool, bias: false, pre_act: true, se_act: relu"
        ", se_first: true",
        more=", head_dim: 8, widen: last, shortcut_bias: false, act: gelu_tanh",
    ),
    "coatnet max": coatnet(
        conv=", pool: max, shrink: expand, kernel: 5, se: 0.5, expand: 2.5",
        more=", head_dim: 4, pool: max, layer_scale: 0.1, mlp: 3, eps: 1e-5",
        head=", eps: 1e-5",
    ),
    "coatnet bare": coatnet(
        channels=1,
        size=[64, 128],
        conv=", se: 0",
        more=", head_dim: 8, relative: none, bias: false",
    ),
    "coatnet of transformers": coatnet(kinds="TTTT"),
    "coatnet of convolutions": coatnet(kinds="CCCC", size=96),
    "coatnet turned, five stages": coatnet(kinds="TCTCT"),
    "resnetv2 basic": preact(
        "preact_basic",
        channels=1,
        dims=(64, 64, 96, 128),
        stem=", kernel: 3, deep: [32, 32], pool: zeros, norm: gn",
        both=", norm: gn",
    ),
    "convnext patch 3": convnext(patch=3, size=48),
    "convnext patch 7": convnext(patch=7, size=64),
    "convnext oblong": convnext(size=[16, 24]),
    "convnext 2 channels": convnext(channels=2),
    "convnext 4 channels": convnext(channels=4),
    "convnext scales": convnext(more=", layer_scale: 0.5"),
    "convnext convolutions": convnext(more=", pointwise: conv"),
    "convnext V2 convolutions": convnext(more=", layer_scale: 0, grn: true, pointwise: conv"),
    "convnext V2 with scales": convnext(more=", grn: true"),
    "resnet basic, gated": resnet("basic", more=GATED),
    "resnet neighbours": resnet("residual", more=", eca: true"),
    "resnet basic, neighbours": resnet("basic", more=", eca: true"),
    "resnet bottleneck": resnet("residual"),
    "resnet layer norm": resnet("residual", both=", norm: ln"),
    "resnet grey": resnet("basic", channels=1),
    "resnet wide": resnet("residual", each=tuple(f", hidden: {h}" for h in (16, 32, 48, 64))),
    "resnet odd widths": resnet("residual", each=tuple(f", hidden: {h}" for h in (9, 18, 27, 36))),
    "resnet 3 in 8": resnet("residual", each=tuple(f", hidden: {h}" for h in (3, 6, 10, 13))),
    "vit token and mean": vit(head="pool: avg, norm: ln"),
    "vit places first": vit(middle=(PLACE, CLASS)),
    "vit without places": vit(middle=(), head="pool: avg, norm: ln"),
    "vit without norm": vit(head="pool: cls, norm: none"),
    "vit mean without norm": vit(head="pool: avg, norm: none"),
    "vit offsets, mean of tokens": vit(
        middle=(CLASS,), more=", relative: bias, layer_scale: 0.1", head="pool: avg, norm: ln"
    ),
    "vit offsets, no token": vit(
        middle=(), more=", relative: bias, qkv_bias: false", size=[8, 32], head=MEAN_OF_NORMED
    ),
    "vit ratio, no bias": vit(more=", qkv_bias: false, mlp: 2.7"),
    "vit normed patches": vit(embed="block: patch_embed, norm: ln"),
    "vit patchify": vit(embed="block: patchify, norm: ln"),
    "vit patchify bare": vit(embed="block: patchify, norm: none"),
    "vit oblong": vit(size=[8, 32]),
    "vit cut off": vit(size=18),
    **{f"convnext {act}": convnext(more=f", act: {act}") for act in ACTS},
    "densenet grey, wide": densenet(channels=1, more=", expand: 6"),
    **{f"densenet {act}": densenet(act=act) for act in ACTS},
    **{f"resnet {act}": resnet("basic", both=f", act: {act}") for act in ACTS},
    **{f"vit {act}": vit(more=f", act: {act}") for act in ACTS},
}


@cache
def network(text: str) -> dsl.Network:
    return dsl.loads(text).network()


@cache
def module(text: str) -> nn.Module:
    """Returns the module with every parameter and floating buffer redrawn.

    Fresh weights would hide mistakes: ResNet's last gains are 0, ConvNeXt's gammas 1e-6, biases 0.
    """
    model = nets.build(network(text), seed=0).eval()
    generator = torch.Generator().manual_seed(5)
    state = {}
    for key, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point():
            state[key] = value + 3
        elif value.ndim > 1 and not key.endswith(("pos_embed", "cls_token")):
            state[key] = noise * value[0].numel() ** -0.5
        elif key.endswith(("weight", "gamma", "running_var")):
            state[key] = noise.abs() * 0.5 + 0.5
        else:
            state[key] = noise * 0.2
    model.load_state_dict(state)
    return model
