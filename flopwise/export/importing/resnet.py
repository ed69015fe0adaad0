"""timm's ResNet to stages: a stem, four stages of basic or bottleneck blocks, a classifier.

Source: timm/models/resnet.py, `ResNet`, `BasicBlock`, `Bottleneck`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from flopwise.blocks.parts import divisible
from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ACT, ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "RATIOS", "read", "stem"]

RATIOS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Those of squeeze and excitation that people write."""

NORM = ("BatchNorm2d", "GroupNorm", "LayerNorm2d", "BatchNormAct2d")
BLOCK = {
    **free("stride conv1 conv2 drop_path downsample"),
    "dilation": (1,),
    "bn1": NORM,
    "bn2": NORM,
    "act1": ACT,
    "act2": ACT,
    "drop_block": NONE,
    "aa": (*NONE, "AvgPool2d"),
    "se": (*NONE, "SEModule", "EcaModule"),
}
KNOWN: Known = {
    "ResNet": {
        "conv1": ("Conv2d", "Sequential"),
        "bn1": NORM,
        "act1": ACT,
        "maxpool": ("MaxPool2d", "AvgPool2d", "Sequential"),
        **dict.fromkeys(("layer1", "layer2", "layer3", "layer4"), ("Sequential",)),
        "global_pool": ("SelectAdaptivePool2d",),
        "fc": ("Linear",),
    },
    "BasicBlock": BLOCK,
    "Bottleneck": {**BLOCK, "conv3": ANY, "bn3": NORM, "act3": ACT},
}
NORMS = {"BatchNorm2d": "bn", "BatchNormAct2d": "bn", "LayerNorm2d": "ln", "GroupNorm": "gn"}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    first = stem(net, model.conv1, model.bn1, model.act1, model.maxpool)
    lines = [Line("stem", "conv_stem", first)]
    stages = [list(getattr(model, f"layer{number}")) for number in range(1, 5)]
    how = _shrinking(net, [blocks[0] for blocks in stages])
    for number, blocks in enumerate(stages, start=1):
        lines.append(_stage(net, f"stage{number}", blocks, how))
    return [*lines, Line("head", "classifier", {})]


def stem(net: Published, conv: Any, norm: Any, act: Any, pool: Any) -> dict[str, Any]:
    """Returns the settings of a convolutional stem."""
    convs = [conv] if isinstance(conv, nn.Conv2d) else [m for m in conv if _is_conv(m)]
    kernel = net.one((each.kernel_size[0] for each in convs), "the kernel of the stem")
    steps = [each.stride[0] for each in convs]
    net.need(steps[1:] == [1] * (len(steps) - 1), f"strides {steps} in the stem (only the first)")
    return {
        "dim": convs[-1].out_channels,
        "kernel": kernel,
        "stride": steps[0],
        "deep": tuple(each.out_channels for each in convs[:-1]),
        "pool": {"MaxPool2d": "max", "AvgPool2d": "avg", "Sequential": "conv"}.get(
            type(pool).__name__, "none"
        ),
        "norm": NORMS[type(norm).__name__],
        "act": net.act(act),
    }


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)


def _stage(net: Published, name: str, blocks: list[Any], how: dict[str, Any]) -> Line:
    first = blocks[0]
    bottleneck = type(first).__name__ == "Bottleneck"
    last = "conv3" if bottleneck else "conv2"
    inner = "conv2" if bottleneck else "conv1"
    settings = {
        "dim": net.one((getattr(b, last).out_channels for b in blocks), f"{name}: dim"),
        "kernel": net.one((b.conv2.kernel_size[0] for b in blocks), f"{name}: kernel"),
        "stride": first.stride,
        **how,
        **_gates(net, [b.se for b in blocks], getattr(first, last).out_channels),
        "norm": NORMS[type(first.bn1).__name__],
        "act": net.one((net.act(b.act1) for b in blocks), f"{name}: act"),
    }
    if not bottleneck:
        return Line(name, "basic", settings, len(blocks))
    width = net.one((getattr(b, inner).out_channels for b in blocks), f"{name}: hidden")
    before = net.one((b.conv1.out_channels for b in blocks), f"{name}: hidden")
    net.need(before == width, f"{name}: conv1 {before} and conv2 {width} wide (flopwise has one)")
    settings |= {
        "hidden": None if width == settings["dim"] // 4 else width,
        "groups": net.one((b.conv2.groups for b in blocks), f"{name}: groups"),
    }
    return Line(name, "residual", settings, len(blocks))


def _shrinking(net: Published, firsts: list[Any]) -> dict[str, Any]:
    """How the first blocks of stages project and shrink; where they do neither, it is free."""
    projected = [list(block.downsample) for block in firsts if block.downsample is not None]
    for parts in projected:
        kernel = next(part.kernel_size[0] for part in parts if _is_conv(part))
        net.need(kernel == 1, f"a shortcut of {kernel}x{kernel} convolution (flopwise has 1x1)")
    pooled = net.one((len(parts) == 3 for parts in projected), "avg_down")
    shrunk = (isinstance(block.aa, nn.AvgPool2d) for block in firsts if block.stride > 1)
    return {
        "shortcut": "pool" if pooled else None,
        "shrink": "pool" if net.one(shrunk, "aa_layer") else None,
    }


def _gates(net: Published, found: list[Any], width: int) -> dict[str, Any]:
    """Returns the settings of what weighs the channels of a stage's branches."""
    kind = net.one((type(each).__name__ for each in found), "the attention of a branch")
    if kind == "EcaModule":
        return {"eca": True}
    if kind != "SEModule":
        return {}
    hidden = net.one((each.fc1.out_channels for each in found), "the width of se")
    for ratio in RATIOS:
        if divisible(width * ratio, 8, least=0) == hidden:
            return {"se": ratio}
    return {"se": hidden / width, "se_hidden": hidden}
