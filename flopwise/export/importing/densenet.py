"""timm's DenseNet to stages: a stem, stages of dense layers with transitions, a norm, a classifier.

Source: timm/models/densenet.py, `DenseNet`, `DenseLayer`, `DenseTransition`.
"""

from __future__ import annotations

from typing import Any

from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ANY, Known, Published, free
from flopwise.export.importing.resnet import stem

__all__ = ["KNOWN", "read"]

KNOWN: Known = {
    "DenseNet": {
        **free("feature_ends head_drop classifier features"),
        "global_pool": ("SelectAdaptivePool2d",),
    },
    "DenseLayer": free("drop_rate grad_checkpointing norm1 conv1 norm2 conv2"),
    "DenseTransition": {"norm": ANY, "conv": ANY, "pool": ("AvgPool2d",)},
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    layers = {name for block in net.modules("DenseBlock") for name in dict(block.named_children())}
    net.walk({**KNOWN, "DenseBlock": dict.fromkeys(layers)})
    parts = dict(net.model.features.named_children())
    net.need("conv1" not in parts, "a deep stem (flopwise's DenseNet has one convolution there)")
    net.finish()
    act = net.one((net.act(m.act) for m in net.modules("BatchNormAct2d")), "act")
    first = parts["norm0"]
    lines = [Line("stem", "conv_stem", stem(net, parts["conv0"], first, first.act, parts["pool0"]))]
    for number, block in enumerate(net.modules("DenseBlock"), start=1):
        change = parts.get(f"transition{number - 1}")
        lines.append(_stage(net, f"stage{number}", list(block.children()), change, act))
    return [*lines, Line("norm", "norm_act", {"act": act}), Line("head", "classifier", {})]


def _stage(net: Published, name: str, layers: list[Any], change: Any, act: str) -> Line:
    growth = net.one((each.conv2.out_channels for each in layers), f"{name}: growth_rate")
    settings = {
        "growth": growth,
        "expand": net.one((e.conv1.out_channels / growth for e in layers), f"{name}: bn_size"),
        "kernel": net.one((e.conv2.kernel_size[0] for e in layers), f"{name}: kernel"),
        "act": act,
        **(_transition(change) if change else {}),
    }
    return Line(name, "dense", settings, len(layers))


def _transition(change: Any) -> dict[str, Any]:
    """The stride of a transition, and its width where it is not half of the input's."""
    out, channels = change.conv.out_channels, change.conv.in_channels
    return {"stride": change.pool.stride, "dim": None if out == channels // 2 else out}
