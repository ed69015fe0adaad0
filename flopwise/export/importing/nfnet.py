"""timm's NormFreeNet to stages: a stem, four stages, perhaps a last convolution, a classifier.

Source: timm/models/nfnet.py, `NormFreeNet`, `NormFreeBlock`, `create_stem`.
"""

from __future__ import annotations

from math import isclose
from typing import Any

from flopwise.blocks.nfnet import GAMMAS
from flopwise.blocks.parts import divisible
from flopwise.export.importing.drawing import Each, Line
from flopwise.export.importing.modules import ANY, NONE, Known, Published, free
from flopwise.export.importing.resnet import RATIOS

__all__ = ["KNOWN", "read"]

CONV = {
    **free("in_channels out_channels kernel_size stride padding groups scale"),
    **free("gain_init same_pad"),
    "dilation": ((1, 1),),
    "transposed": (False,),
    "output_padding": ((0, 0),),
    "padding_mode": ("zeros",),
    "eps": (1e-5,),
}
KNOWN: Known = {
    "NormFreeNet": {
        **free("stem_feat_idx stem stages final_act head"),
        "final_conv": (*NONE, "ScaledStdConv2d", "ScaledStdConv2dSame"),
    },
    "NormFreeBlock": free(
        "alpha beta attn_gain attn downsample skipinit_gain act1 conv1 act2 conv2 act2b conv2b "
        "attn_last act3 conv3 drop_path"
    ),
    "DownsampleAvg": {"pool": (*NONE, "AvgPool2d"), "conv": ANY},
    "ScaledStdConv2d": CONV,
    "ScaledStdConv2dSame": CONV,
    "GammaAct": free("act_fn gamma inplace"),
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    how = _how(net)
    ratio = _ratio(net)
    lines = [_stem(net, dict(model.stem.named_children()), how)]
    for number, blocks in enumerate(model.stages, start=1):
        lines.append(_stage(net, f"stage{number}", list(blocks), how, ratio))
    if type(model.final_conv).__name__ == "Identity":
        lines.append(Line("final", "act", {"act": how["act"]}))
    else:
        conv = model.final_conv
        lines.append(Line("final", "std_conv", {"dim": conv.out_channels, **how}))
    return [*lines, Line("head", "classifier", {})]


def _how(net: Published) -> dict[str, Any]:
    """What all convolutions share: activation, where its constant stands, padding."""
    model = net.model
    same = net.one((type(m).__name__.endswith("Same") for m in _convs(net)), "the padding")
    if acts := net.modules("GammaAct"):
        act = net.one((m.act_fn.__name__ for m in acts), "act")
        net.need(act in GAMMAS, f"act {act} (flopwise has a constant for {', '.join(GAMMAS)})")
        gamma = GAMMAS.get(act, 1.0)
        net.need(all(isclose(m.gamma, gamma, rel_tol=1e-9) for m in acts), "the constant of act")
        weights = 1.0
    else:
        act = net.act(model.final_act)
        weights = gamma = GAMMAS.get(act, 1.0)
    for conv in _convs(net):
        fan = conv.weight[0].numel()
        fits = isclose(conv.scale, weights * fan**-0.5, rel_tol=1e-9)
        net.need(fits, "another constant on the weights")
    return {
        "act": act,
        "gamma": "act" if weights == 1.0 else "conv",
        "pad": "same" if same else "even",
    }


def _convs(net: Published) -> list[Any]:
    return [m for m in net.model.modules() if type(m).__name__.startswith("ScaledStdConv2d")]


def _stem(net: Published, parts: dict[str, Any], how: dict[str, Any]) -> Line:
    convs = [part for name, part in parts.items() if name.startswith("conv")]
    dim = convs[-1].out_channels
    pool = "max" if "pool" in parts else "none"
    if len(convs) == 4:
        widths = [conv.out_channels for conv in convs]
        net.need(widths == [dim // 8, dim // 4, dim // 2, dim], f"widths {widths} in the stem")
        strides = [conv.stride[0] for conv in convs]
        net.need(strides == [2, 1, 1, 2], f"strides {strides} in the stem")
        return Line("stem", "nfnet_stem", {"dim": dim, **how})
    net.need(len(convs) == 1, f"a stem of {len(convs)} convolutions (flopwise has 1 or 4)")
    settings = {"dim": dim, "kernel": convs[0].kernel_size[0], "pool": pool}
    return Line("stem", "std_stem", {**settings, **how})


def _stage(
    net: Published, name: str, blocks: list[Any], how: dict[str, Any], ratio: float | None
) -> Line:
    first = blocks[0]
    dim = net.one((b.conv3.out_channels for b in blocks), f"{name}: dim")
    hidden = Each(b.conv1.out_channels for b in blocks)
    groups = [b.conv2.groups for b in blocks]
    middle = any(b.attn is not None for b in blocks)
    found = [b.attn if middle else b.attn_last for b in blocks]
    dense = set(groups) == {1}
    widths = [width // group for width, group in zip(hidden, groups, strict=True)]
    settings: dict[str, Any] = {
        "dim": dim,
        "hidden": None if set(hidden) == {max(1, dim // 2)} else hidden,
        "kernel": net.one((b.conv2.kernel_size[0] for b in blocks), f"{name}: kernel"),
        "stride": first.conv2.stride[0],
        "group_width": max(hidden) if dense else net.one(widths, f"{name}: group_width"),
        "second": net.one((b.conv2b is not None for b in blocks), f"{name}: extra_conv"),
        "alpha": net.one((b.alpha for b in blocks), f"{name}: alpha"),
        "skipinit": net.one((b.skipinit_gain is not None for b in blocks), f"{name}: skipinit"),
        **_gates(net, found, middle, ratio),
        **how,
    }
    net.need(
        all(each is None or b.attn_gain == 2.0 for b, each in zip(blocks, found, strict=True)),
        f"{name}: attn_gain (flopwise has 2)",
    )
    return Line(name, "nfnet", settings, len(blocks))


def _ratio(net: Published) -> float | None:
    """The ratio that gives the width of every squeeze and excitation; None if no usual one does."""
    found = [(each.fc1.in_channels, each.fc1.out_channels) for each in net.modules("SEModule")]
    fitting = (r for r in RATIOS if all(divisible(r * x, 8, least=0) == y for x, y in found))
    return next(fitting, None)


def _gates(net: Published, found: list[Any], middle: bool, ratio: float | None) -> dict[str, Any]:
    """Squeeze and excitation or ECA; with `se: 0` where there is none, since 0.5 is the default."""
    kind = net.one((type(each).__name__ for each in found), "the attention of a branch")
    if kind == "SEModule":
        net.need(ratio is not None, f"the width of se (flopwise rounds one of {RATIOS})")
        return {"se": ratio, "gate": "middle" if middle else "end"}
    net.need(kind != "EcaModule" or not middle, "ECA before the last convolution (flopwise: end)")
    return {"se": 0.0, "eca": kind == "EcaModule"}
