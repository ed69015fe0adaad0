"""timm's RegNet to stages: a 3x3 stem, four stages of bottlenecks, a classifier.

Source: timm/models/regnet.py, `RegNet`, `RegStage`, `Bottleneck`.
"""

from __future__ import annotations

from typing import Any

from flopwise.export.importing.drawing import Each, Line
from flopwise.export.importing.modules import ACT, ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

KNOWN: Known = {
    "RegNet": {
        **free("stem s1 s2 s3 s4 head"),
        "final_conv": NONE,
    },
    "RegStage": {f"b{number}": ("Bottleneck",) for number in range(1, 100)}
    | {"grad_checkpointing": ANY},
    "Bottleneck": {
        **free("conv1 conv2 conv3 drop_path"),
        "se": (*NONE, "SEModule"),
        "act3": tuple(name for name in ACT if name != "Identity"),
        "downsample": ("Identity", "ConvNormAct"),
    },
    "ConvNormAct": {"conv": ("Conv2d",), "bn": ("BatchNormAct2d",), "aa": (None,)},
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    stages = [list(getattr(model, f"s{number}").children()) for number in range(1, 5)]
    blocks = [block for stage in stages for block in stage]
    acts = [model.stem.bn.act, *(block.act3 for block in blocks)]
    act = net.one((net.act(each) for each in acts), "act")
    conv = model.stem.conv
    stem = {
        "dim": conv.out_channels,
        "kernel": conv.kernel_size[0],
        "stride": conv.stride[0],
        "pool": "none",
        "act": act,
    }
    lines = [Line("stem", "conv_stem", stem)]
    for number, each in enumerate(stages, start=1):
        lines.append(_stage(net, f"stage{number}", each, act))
    return [*lines, Line("head", "classifier", {})]


def _stage(net: Published, name: str, blocks: list[Any], act: str) -> Line:
    dim = net.one((b.conv3.conv.out_channels for b in blocks), f"{name}: dim")
    hidden = net.one((b.conv2.conv.out_channels for b in blocks), f"{name}: hidden")
    settings = {
        "dim": dim,
        "hidden": None if hidden == dim // 4 else hidden,
        "kernel": net.one((b.conv2.conv.kernel_size[0] for b in blocks), f"{name}: kernel"),
        "stride": blocks[0].conv2.conv.stride[0],
        "groups": net.one((b.conv2.conv.groups for b in blocks), f"{name}: groups"),
        **_gates(net, blocks, name),
        "act": act,
    }
    return Line(name, "residual", settings, len(blocks))


def _gates(net: Published, blocks: list[Any], name: str) -> dict[str, Any]:
    """Squeeze and excitation of a quarter of each block's input, or of widths block by block."""
    found = net.one((type(block.se).__name__ for block in blocks), f"{name}: se")
    if found != "SEModule":
        return {}
    before = [block.conv1.conv.in_channels for block in blocks]
    hidden = [block.se.fc1.out_channels for block in blocks]
    settings = {"se": 0.25, "se_divisor": 1, "gate": "middle"}
    if [int(width * 0.25 + 0.5) for width in before] != hidden:
        settings |= {"se_divisor": None, "se_hidden": Each(hidden)}
    return settings
