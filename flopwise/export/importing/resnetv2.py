"""timm's ResNetV2 to stages: a stem, four stages of pre-activation blocks, a norm, a classifier.

Source: timm/models/resnetv2.py, `ResNetV2`, `PreActBottleneck`, `PreActBasic`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ANY, COMMON, Known, Published, free

__all__ = ["KNOWN", "read"]

NORMS = {"BatchNormAct2d": "bn", "GroupNormAct": "gn"}
NORM = tuple(NORMS)
BLOCK = {
    **free("downsample norm1 conv1 norm2 conv2 drop_path"),
    "norm1": NORM,
    "norm2": NORM,
}
KNOWN: Known = {
    "ResNetV2": {**free("stem_feat_idx stem stages head"), "norm": NORM},
    "ResNetStage": free("grad_checkpointing blocks"),
    "PreActBottleneck": {**BLOCK, "norm3": NORM, "conv3": ANY},
    "PreActBasic": BLOCK,
    "DownsampleConv": {"conv": ANY, "norm": ("Identity",)},
    "DownsampleAvg": {"pool": ("Identity", "AvgPool2d"), "conv": ANY, "norm": ("Identity",)},
    "GroupNormAct": {
        **free("num_channels eps act fast_norm"),
        "num_groups": (32,),
        "affine": (True,),
        "drop": ("Identity",),
    },
    "StdConv2d": {**(COMMON["Conv2d"]), "eps": (1e-8,)},
    "ConstantPad2d": {"padding": ((1, 1, 1, 1),), "value": (0.0,)},
    "MaxPool2d": {**COMMON["MaxPool2d"], "padding": (0, 1)},
    "ClassifierHead": {**COMMON["ClassifierHead"], "use_conv": (True,)},
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    norms = [m for m in model.modules() if type(m).__name__ in NORMS]
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m is not model.head.fc]
    standard = net.one((type(m).__name__ == "StdConv2d" for m in convs), "standardised weights")
    how = {
        "norm": net.one((NORMS[type(m).__name__] for m in norms), "the norm"),
        "act": net.one((net.act(m.act) for m in norms), "act"),
    }
    stages = [list(stage.blocks) for stage in model.stages]
    shortcut = _shortcut(net, [blocks[0].downsample for blocks in stages])
    told = {"shortcut": shortcut, "standard": standard, **how}
    lines = [Line("stem", "preact_stem", _stem(net, model.stem, standard, how))]
    before = lines[0].settings["dim"]
    for number, blocks in enumerate(stages, start=1):
        lines.append(_stage(net, f"stage{number}", blocks, before, told))
        before = lines[-1].settings["dim"]
    return [*lines, Line("norm", "norm_act", how), Line("head", "classifier", {})]


def _stem(net: Published, stem: Any, standard: bool, how: dict[str, Any]) -> dict[str, Any]:
    convs = [part for name, part in stem.named_children() if name.startswith("conv")]
    steps = [conv.stride[0] for conv in convs]
    net.need(steps[1:] == [1] * (len(steps) - 1), f"strides {steps} in the stem (only the first)")
    return {
        "dim": convs[-1].out_channels,
        "kernel": net.one((conv.kernel_size[0] for conv in convs), "the kernel of the stem"),
        "stride": steps[0],
        "deep": tuple(conv.out_channels for conv in convs[:-1]),
        "pool": "zeros" if hasattr(stem, "pad") else "max",
        "standard": standard,
        **(how if len(convs) > 1 else {}),
    }


def _shortcut(net: Published, found: list[Any]) -> str | None:
    """How shortcuts change their shape; the default where none does."""
    kinds = [type(each).__name__ for each in found if each is not None]
    if not kinds:
        return None
    pooled = net.one(kinds, "avg_down") == "DownsampleAvg"
    return "pool" if pooled else "conv"


def _stage(net: Published, name: str, blocks: list[Any], before: int, told: dict[str, Any]) -> Line:
    first = blocks[0]
    bottleneck = type(first).__name__ == "PreActBottleneck"
    last, spatial = ("conv3", "conv2") if bottleneck else ("conv2", "conv1")
    dim = net.one((getattr(b, last).out_channels for b in blocks), f"{name}: dim")
    settings = {
        "dim": dim,
        "kernel": net.one((getattr(b, spatial).kernel_size[0] for b in blocks), f"{name}: kernel"),
        "stride": getattr(first, spatial).stride[0],
        **told,
    }
    hidden = net.one((b.conv1.out_channels for b in blocks), f"{name}: hidden")
    if not bottleneck:
        net.need(hidden == dim, f"{name}: conv1 {hidden} and conv2 {dim} wide (flopwise has one)")
        return Line(name, "preact_basic", settings, len(blocks))
    changes = before != dim or settings["stride"] != 1
    settings |= {
        "hidden": None if hidden == dim // 4 else hidden,
        "project": first.downsample is not None and not changes,
    }
    return Line(name, "preact", settings, len(blocks))
