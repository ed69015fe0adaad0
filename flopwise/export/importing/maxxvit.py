"""timm's MaxxVit as CoAtNet to stages: two convolutions, stages that halve the map, a mean.

Source: timm/models/maxxvit.py, `MaxxVit`, `MbConvBlock`, `TransformerBlock2d`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flopwise.blocks.parts import divisible
from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ACT, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

KNOWN: Known = {
    "MaxxVit": {
        **free("img_size partition_ratio stem stages norm"),
        "global_pool": ("avg",),
        "head": ("ClassifierHead",),
    },
    "Stem": free("out_chs stride conv1 norm1 conv2"),
    "MaxxVitStage": free("grad_checkpointing blocks"),
    "MbConvBlock": {
        **free("pre_norm conv1_1x1 norm1 conv2_kxk norm2 conv3_1x1 drop_path"),
        "shortcut": ("Identity", "Downsample2d"),
        "down": ("Identity", "Downsample2d"),
        "se_early": (*NONE, "SEModule"),
        "se": (*NONE, "SEModule"),
    },
    "SEModule": {**free("fc1 fc2"), "add_maxpool": (False,), "bn": NONE, "act": ACT}
    | {"gate": ("Sigmoid",)},
    "Downsample2d": {"pool": ("AvgPool2d", "MaxPool2d"), "expand": ("Identity", "Conv2d")},
    "TransformerBlock2d": {
        **free("drop_path1 drop_path2 attn mlp"),
        "shortcut": ("Identity", "Downsample2d"),
        "norm1": ("LayerNorm2d", "Sequential"),
        "norm2": ("LayerNorm2d",),
        "ls1": ("Identity", "LayerScale2d"),
        "ls2": ("Identity", "LayerScale2d"),
    },
    "Attention2d": {
        **free("num_heads dim_head scale fused_attn qkv attn_drop proj proj_drop"),
        "head_first": (True,),
        "rel_pos": (None, "RelPosBias"),
    },
    "RelPosBias": {**free("window_size window_area bias_shape"), "prefix_tokens": (0,)},
    "ConvMlp": {**free("fc1 drop fc2"), "norm": NONE, "act": ACT},
    "LayerScale2d": free("init_values inplace"),
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    norms = net.modules("LayerNorm2d")
    eps = net.one((m.eps for m in norms), "eps of the layer norms")
    for norm in net.modules("BatchNormAct2d"):
        net.need(norm.eps == 1e-5, f"eps {norm.eps:g} of a batch norm (flopwise has 1e-05)")
    lines, width = _stem(net, model.stem), model.stem.out_chs
    how = _expansion(net)
    for number, stage in enumerate(model.stages, start=1):
        blocks, name = list(stage.blocks), f"stage{number}"
        kind = net.one((type(b).__name__ for b in blocks), f"{name}: the block")
        net.finish()
        if kind == "MbConvBlock":
            lines.append(Line(name, "mbconv", _convs(net, name, blocks, how), len(blocks)))
        else:
            settings = _transformers(net, name, blocks, width) | {"eps": eps}
            lines.append(Line(name, "map_vit", settings, len(blocks)))
        width = lines[-1].settings["dim"]
    head = {"norm": "ln", "norm_first": True, "eps": eps}
    return [*lines, Line("head", "classifier", head)]


def _stem(net: Published, stem: Any) -> list[Line]:
    act = {"norm": "bn", "act": net.act(stem.norm1.act)}
    return [
        Line("stem1", "conv", {**_window(net, stem.conv1), "stride": 2, **act}, 1),
        Line("stem2", "conv", _window(net, stem.conv2), 1),
    ]


def _window(net: Published, conv: Any) -> dict[str, Any]:
    kernel = conv.kernel_size[0]
    even = conv.padding == (kernel // 2, kernel // 2)
    net.need(even, f"padding {conv.padding} of a convolution (flopwise pads half its kernel)")
    plain = {"dim": conv.out_channels, "kernel": kernel}
    return plain | {"bias": conv.bias is not None}


def _convs(
    net: Published, name: str, blocks: Sequence[Any], how: tuple[float, str]
) -> dict[str, Any]:
    dim, (expand, source) = blocks[0].conv3_1x1.out_channels, how
    mids = [b.conv1_1x1.out_channels for b in blocks]
    gates = [b.se_early or b.se for b in blocks]
    early = net.one((b.se_early is not None for b in blocks), f"{name}: attn_early")
    se = _gate(net, name, gates, mids if source == "input" else [dim] * len(blocks))
    depth = all(b.conv2_kxk.groups == b.conv2_kxk.in_channels for b in blocks)
    net.need(depth, f"{name}: groups of conv2_kxk (flopwise's mbconv is depthwise)")
    acts = (net.act(norm.act) for b in blocks for norm in (b.norm1, b.norm2))
    pre = net.one((net.act(b.pre_norm.act) for b in blocks), f"{name}: pre_norm_act")
    act = net.one(acts, f"{name}: act")
    net.need(pre in ("none", act), f"{name}: the activation of pre_norm")
    kernels = (_window(net, b.conv2_kxk)["kernel"] for b in blocks)
    return {
        **_shortcut(net, name, blocks, dim),
        "expand": expand,
        "expand_from": source,
        "kernel": net.one(kernels, f"{name}: kernel"),
        "shrink": _shrink(net, name, blocks[0]),
        "bias": net.one((b.conv3_1x1.bias is not None for b in blocks), f"{name}: bias"),
        "pre_act": pre != "none",
        **se,
        **({"se_first": early} if early else {}),
        "act": act,
    }


def _expansion(net: Published) -> tuple[float, str]:
    """The one ratio that gives the inner widths of all blocks, and what it counts from."""
    blocks = net.modules("MbConvBlock")
    mids = [b.conv1_1x1.out_channels for b in blocks]
    widths = {
        "output": [b.conv3_1x1.out_channels for b in blocks],
        "input": [b.conv1_1x1.in_channels for b in blocks],
    }
    for source, ends in widths.items() if blocks else ():
        ratio = mids[-1] / ends[-1]
        if [divisible(ratio * each, 8) for each in ends] == mids:
            return ratio, source
    net.need(not blocks, f"inner widths {', '.join(map(str, mids))} follow from no one ratio")
    return 4.0, "output"


def _gate(net: Published, name: str, gates: Sequence[Any], widths: Sequence[int]) -> dict[str, Any]:
    """Squeeze and excitation: a ratio whose whole part gives the hidden width of every block."""
    there = net.one((gate is not None for gate in gates), f"{name}: se")
    if not there:
        return {"se": 0.0}
    hidden = [gate.fc1.out_channels for gate in gates]
    ratio = max(h / w for h, w in zip(hidden, widths, strict=True))
    exact = [int(ratio * w) for w in widths] == hidden
    net.need(exact, f"{name}: hidden widths of se {', '.join(map(str, hidden))}")
    act = net.one((net.act(gate.act) for gate in gates), f"{name}: act of se")
    return {"se": ratio, "se_act": act}


def _shrink(net: Published, name: str, first: Any) -> str:
    if type(first.down).__name__ != "Identity":
        kind = type(first.down.pool).__name__
        net.need(kind == "AvgPool2d", f"{name}: {kind} in the branch (flopwise averages)")
        return "pool"
    return "spatial" if first.conv2_kxk.stride[0] > 1 else "expand"


def _shortcut(net: Published, name: str, blocks: Sequence[Any], dim: int) -> dict[str, Any]:
    """Stride and pooling of the first block; the others have neither."""
    kinds = [type(b.shortcut).__name__ for b in blocks]
    wanted = ["Downsample2d"] + ["Identity"] * (len(blocks) - 1)
    net.need(
        kinds == wanted, f"{name}: shortcuts that are pooled elsewhere than in the first block"
    )
    pool = getattr(blocks[0].shortcut, "pool", None)
    largest = type(pool).__name__ == "MaxPool2d"
    return {"dim": dim, "stride": 2, "pool": "max" if largest else "avg"}


def _transformers(net: Published, name: str, blocks: Sequence[Any], width: int) -> dict[str, Any]:
    first, dim = blocks[0], blocks[0].attn.proj.out_channels
    attention = [b.attn for b in blocks]
    expand = getattr(first.shortcut, "expand", None)
    scales = [type(b.ls1).__name__ != "Identity" for b in blocks]
    bias = net.one((a.rel_pos is not None for a in attention), f"{name}: rel_pos")
    last = first.attn.proj.in_channels == width != dim
    edge: Mapping[str, Any] = {"widen": "last"} if last else {}
    if type(expand).__name__ == "Conv2d":
        edge = {**edge, "shortcut_bias": expand.bias is not None}  # type: ignore[union-attr]
    return {
        **_shortcut(net, name, blocks, dim),
        **edge,
        "head_dim": net.one((a.dim_head for a in attention), f"{name}: dim_head"),
        "mlp": net.one((b.mlp.fc1.out_channels / dim for b in blocks), f"{name}: mlp"),
        "bias": net.one((a.qkv.bias is not None for a in attention), f"{name}: bias"),
        "relative": "bias" if bias else "none",
        "layer_scale": first.ls1.init_values if net.one(scales, f"{name}: layer scale") else 0.0,
        "act": net.one((net.act(b.mlp.act) for b in blocks), f"{name}: act"),
    }
