"""timm's NFNet: four stages behind a stem of four convolutions, and a last convolution.

Source: timm/models/nfnet.py, `NormFreeNet.__init__`, `NfCfg`, `NormFreeBlock`.
"""

from __future__ import annotations

from typing import Any

from flopwise.blocks.nfnet import GAMMAS
from flopwise.blocks.parts import divisible
from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read"]

DENSE = "nf_resnet50"
"""The entrypoint without gates and groups."""

PREFIXES = {
    "nfnet_stem": {"": "stem"},
    "std_stem": {"": "stem"},
    "act": {},
    "nfnet": {"#": "stages.{stage}.{repetition}"},
    "std_conv": {"conv": "final_conv"},
    "classifier": {"": "head"},
}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "nfnet_stem or std_stem, four stages of nfnet, std_conv or act, classifier"
    layout = r"(nfnet_stem|std_stem)( nfnet)+ (std_conv|act) classifier"
    stem, *body, final, head = net.layout(layout, words)
    net.need(len(body) == 4, f"{len(body)} stages (timm's NFNet has four)")
    convs = [stem, *body, final] if final.block.name == "std_conv" else [stem, *body]
    stemmed = _read_stem(net, stem)
    first = 1 if stemmed["stem_type"] in ("deep_quad", "7x7_pool", "3x3_pool") else 2
    for number, stage in enumerate(body):
        net.fixed(stage, "stride", 2 if number else first)
        net.fixed(stage, "kernel", 3)
        net.fixed(stage, "gate", "end")
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    act = net.act([*convs, final])
    net.need(
        act in GAMMAS and act != "gelu_tanh", f"act {act}: timm's NFNet has no constant for it"
    )
    entrypoint, gates = _read_gates(net, body)
    args = {
        "depths": [stage.depth for stage in body],
        "channels": [_width(net, stage) for stage in body],
        **stemmed,
        "num_features": _read_final(net, final),
        "alpha": net.shared(body, "alpha"),
        "extra_conv": net.shared(body, "second"),
        "skipinit": net.shared(body, "skipinit"),
        "gamma_in_act": net.shared(convs, "gamma") == "act",
        "same_padding": net.shared(convs, "pad") == "same",
        "act_layer": act,
        **gates,
        **_read_groups(net, body, dense=entrypoint == DENSE),
    }
    return entrypoint, args


def _read_stem(net: Reading, stem: Stage) -> dict[str, Any]:
    """Four convolutions, or one of 7x7 or 3x3 with pooling or without."""
    if stem.block.name == "nfnet_stem":
        net.covered(stem, "hidden")
        inner, half = net.keys[f"{stem.name}.conv3.weight"][0], net.output(stem).shape[0] // 2
        net.need(
            inner == half, f"{stem.name}.hidden {inner} (timm's NFNet fixes half of dim: {half})"
        )
        return {"stem_type": "deep_quad", "stem_chs": _width(net, stem)}
    net.fixed(stem, "stride", 2)
    kernel, pool = net.value(stem, "kernel"), net.value(stem, "pool")
    net.need(kernel in (3, 7), f"{stem.name}.kernel {kernel} (timm's NFNet has 3 and 7)")
    ending = "_pool" if pool == "max" else ""
    return {"stem_type": f"{kernel}x{kernel}{ending}", "stem_chs": _width(net, stem)}


def _read_final(net: Reading, final: Stage) -> int:
    """Channels of the last convolution; 0 where only an activation stands there."""
    if final.block.name == "act":
        return 0
    for setting in ("kernel", "stride", "groups"):
        net.fixed(final, setting, 1)
    return _width(net, final)


def _width(net: Reading, stage: Stage) -> int:
    net.covered(stage, "dim")
    width = net.output(stage).shape[0]
    net.need(width % 8 == 0, f"{stage.name}.dim {width} (timm's NFNet wants multiples of 8)")
    return width


def _read_gates(net: Reading, body: list[Stage]) -> tuple[str, dict[str, Any]]:
    """The entrypoint is one that has the gate by itself: JSON cannot say "none" safely."""
    ratio, eca = net.shared(body, "se"), net.shared(body, "eca")
    if eca:
        return "eca_nfnet_l0", {}
    if ratio:
        return "dm_nfnet_f0", {"attn_layer": "se", "attn_kwargs": {"rd_ratio": ratio}}
    return DENSE, {}


def _read_groups(net: Reading, body: list[Stage], *, dense: bool) -> dict[str, Any]:
    """`hidden` is one share of the output's channels, in whole groups or in a single one."""
    one = all(
        net.keys[f"{stage.name}.{i}.conv2.weight"][1] == width
        for stage in body
        for i, width in enumerate(net.widths(stage, "conv1"))
    )
    for stage in body:
        net.covered(stage, "hidden", *(["group_width"] if one else []))
    ratio = net.widths(body[0], "conv1")[0] / _width(net, body[0])
    size = 0 if one else net.shared(body, "group_width")
    net.need(dense or not one, "one group beside se or eca (JSON cannot say it safely)")
    for stage in body:
        inner = divisible(_width(net, stage) * ratio, 8)
        inner = inner // size * size if size else inner
        for hidden in sorted(set(net.widths(stage, "conv1"))):
            net.need(
                hidden == inner,
                f"{stage.name}.hidden {hidden} (timm's NFNet has one share of dim, {ratio:g}, in "
                f"whole groups: {inner})",
            )
    return {"bottle_ratio": ratio, **({"group_size": size} if size else {})}
