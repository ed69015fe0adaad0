"""timm's GhostNet to stages: ghost bottlenecks, a 1x1 convolution, a head of two layers.

Source: timm/models/ghostnet.py, `GhostNet`, `GhostBottleneck`, `GhostModule`.
"""

from __future__ import annotations

from typing import Any

from flopwise.blocks.parts import divisible
from flopwise.export.importing.drawing import Each, Line
from flopwise.export.importing.modules import ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

KNOWN: Known = {
    "GhostNet": free(
        "cfgs pool_dim stage_ends conv_stem bn1 act1 blocks global_pool conv_head act2 flatten "
        "classifier"
    ),
    "GhostBottleneck": free("stride conv_dw bn_dw se ghost1 ghost2 shortcut"),
    "GhostModule": free("out_chs primary_conv cheap_operation"),
    "SqueezeExcite": {
        "conv_reduce": ANY,
        "conv_expand": ANY,
        "act1": ("ReLU",),
        "gate": ("Hardsigmoid",),
    },
    "ConvBnAct": {
        **free("conv bn1 drop_path"),
        "has_skip": (False,),
        "aa": NONE,
    },
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    conv = model.conv_stem
    stem = {"dim": conv.out_channels, "kernel": conv.kernel_size[0], "stride": conv.stride[0]}
    lines = [Line("stem", "conv_stem", {**stem, "pool": "none", "act": net.act(model.act1)})]
    *stages, last = model.blocks
    for number, blocks in enumerate(stages, start=1):
        lines.append(_stage(net, f"stage{number}", list(blocks)))
    (final,) = last
    lines.append(
        Line(
            "last",
            "conv",
            {
                "dim": final.conv.out_channels,
                "kernel": final.conv.kernel_size[0],
                "norm": "bn",
                "act": net.act(final.bn1.act),
            },
            1,
        )
    )
    head = {"hidden": model.conv_head.out_channels, "hidden_act": net.act(model.act2)}
    return [*lines, Line("head", "classifier", head)]


def _stage(net: Published, name: str, blocks: list[Any]) -> Line:
    first = blocks[0]
    settings = {
        "dim": Each(_width(b.ghost2) for b in blocks),
        "hidden": Each(_width(b.ghost1) for b in blocks),
        "kernel": _kernel(first),
        "stride": first.stride,
        "cheap": net.one(
            (m.cheap_operation[0].kernel_size[0] for b in blocks for m in (b.ghost1, b.ghost2)),
            f"{name}: cheap",
        ),
        "se": Each(_ratio(net, b) if b.se is not None else 0 for b in blocks),
        "act": net.act(first.ghost1.primary_conv[2]),
    }
    return Line(name, "ghost", settings, len(blocks))


def _width(module: Any) -> int:
    return int(module.out_chs)


def _kernel(block: Any) -> int | None:
    """The size of the depthwise convolutions, where there are any."""
    if block.conv_dw is not None:
        return int(block.conv_dw.kernel_size[0])
    return int(block.shortcut[0].kernel_size[0]) if len(block.shortcut) else None


def _ratio(net: Published, block: Any) -> float:
    hidden, width = block.se.conv_reduce.out_channels, block.se.conv_expand.out_channels
    fits = divisible(width / 4, 4, least=0.9) == hidden
    net.need(fits, f"se {hidden} of {width} channels (flopwise's ghost rounds a quarter)")
    return 0.25
