"""timm's EfficientNet class to stages, as far as MobileNetV1 and V2 and their like go.

Source: timm/models/efficientnet.py, `EfficientNet`; timm/models/_efficientnet_blocks.py.
"""

from __future__ import annotations

from typing import Any

from flopwise.blocks.parts import divisible
from flopwise.export.importing.drawing import Each, Line
from flopwise.export.importing.modules import ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

NORM = ("BatchNormAct2d",)
GATE = (*NONE, "SqueezeExcite")
KNOWN: Known = {
    "EfficientNet": {
        **free("stage_ends blocks classifier"),
        "conv_stem": ("Conv2d",),
        "bn1": NORM,
        "conv_head": ("Conv2d", "Identity"),
        "bn2": (*NORM, "Identity"),
        "global_pool": ("SelectAdaptivePool2d",),
    },
    "DepthwiseSeparableConv": {
        **free("has_skip has_pw_act conv_dw conv_pw drop_path"),
        **dict.fromkeys(("conv_s2d", "bn_s2d"), NONE),
        "bn1": NORM,
        "bn2": NORM,
        "aa": NONE,
        "se": GATE,
    },
    "InvertedResidual": {
        **free("has_skip conv_pw conv_dw conv_pwl drop_path"),
        **dict.fromkeys(("conv_s2d", "bn_s2d"), NONE),
        "bn1": NORM,
        "bn2": NORM,
        "bn3": NORM,
        "aa": NONE,
        "se": GATE,
    },
    "SqueezeExcite": {"conv_reduce": ANY, "conv_expand": ANY, "act1": ANY, "gate": ("Sigmoid",)},
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    eps = {m.eps for m in net.modules("BatchNormAct2d")}
    net.need(eps == {1e-5}, f"eps {eps} of the batch norms (flopwise has 1e-05)")
    conv = model.conv_stem
    stem = {
        "dim": conv.out_channels,
        "kernel": conv.kernel_size[0],
        "stride": conv.stride[0],
        "pool": "none",
        "act": net.act(model.bn1.act),
    }
    lines = [Line("stem", "conv_stem", stem)]
    for number, blocks in enumerate(model.blocks, start=1):
        lines.append(_stage(net, f"stage{number}", list(blocks)))
    if type(model.conv_head).__name__ == "Conv2d":
        last = {
            "dim": model.conv_head.out_channels,
            "kernel": model.conv_head.kernel_size[0],
            "norm": "bn",
            "act": net.act(model.bn2.act),
        }
        lines.append(Line("last", "conv", last, 1))
    return [*lines, Line("head", "classifier", {})]


def _stage(net: Published, name: str, blocks: list[Any]) -> Line:
    kind = net.one((type(b).__name__ for b in blocks), f"{name}: the kind of block")
    separable = kind == "DepthwiseSeparableConv"
    last = "conv_pw" if separable else "conv_pwl"
    widths = Each(getattr(b, last).out_channels for b in blocks)
    settings: dict[str, Any] = {
        "dim": widths,
        "kernel": Each(b.conv_dw.kernel_size[0] for b in blocks),
        "stride": blocks[0].conv_dw.stride[0],
        "act": net.one((net.act(b.bn1.act) for b in blocks), f"{name}: act"),
    }
    net.need(all(b.conv_dw.stride[0] == 1 for b in blocks[1:]), f"{name}: a stride inside it")
    for block in blocks:
        width = block.conv_dw.out_channels
        net.need(block.conv_dw.groups == width, f"{name}: groups of the depthwise convolution")
    inputs = [(b.conv_dw if separable else b.conv_pw).in_channels for b in blocks]
    same = [
        block.has_skip
        for block, before, after in zip(blocks, inputs, widths, strict=True)
        if block.conv_dw.stride[0] == 1 and before == after
    ]
    own = _separable if separable else _inverted
    settings |= own(net, name, blocks, same)
    return Line(name, "separable" if separable else "inverted", settings, len(blocks))


def _separable(net: Published, name: str, blocks: list[Any], same: list[bool]) -> dict[str, Any]:
    after = net.one((net.act(b.bn2.act) for b in blocks), f"{name}: the last act")
    skip = net.one(same, f"{name}: skip") if same else False
    gates = Each(_ratio(net, b, b.conv_dw.in_channels) for b in blocks)
    return {"acts": "one" if after == "none" else "all", "skip": skip, "se": gates}


def _inverted(net: Published, name: str, blocks: list[Any], same: list[bool]) -> dict[str, Any]:
    net.need(all(same), f"{name}: no skip (flopwise's inverted has it)")
    gates = Each(_ratio(net, b, b.conv_pw.in_channels) for b in blocks)
    return {"expand": Each(map(_expand, blocks)), "se": gates}


def _expand(block: Any) -> float:
    """The ratio of a block, a whole one if that leads to its width."""
    inner, outer = block.conv_pw.out_channels, block.conv_pw.in_channels
    ratio = round(inner / outer)
    return float(ratio) if divisible(ratio * outer, 8) == inner else inner / outer


def _ratio(net: Published, block: Any, width: int) -> float:
    """The width of a gate over that of the block's input."""
    if type(block.se).__name__ != "SqueezeExcite":
        return 0.0
    hidden = block.se.conv_reduce.out_channels
    net.need(net.act(block.se.act1) == net.act(block.bn1.act), "another act inside se")
    fitting = (ratio for ratio in (0.25, 0.5) if max(1, round(ratio * width)) == hidden)
    return float(next(fitting, hidden / width))
