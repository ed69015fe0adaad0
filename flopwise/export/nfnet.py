"""timm's NFNet: four stages behind a stem of four convolutions, and a last convolution.

Source: timm/models/nfnet.py, `NormFreeNet.__init__`, `NfCfg`, `NormFreeBlock`.
"""

from __future__ import annotations

from typing import Any

from flopwise.blocks.nfnet import GAMMAS
from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read"]

PREFIXES = {
    "nfnet_stem": {"": "stem"},
    "nfnet": {"#": "stages.{stage}.{repetition}"},
    "std_conv": {"conv": "final_conv"},
    "classifier": {"": "head"},
}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "nfnet_stem, four stages of nfnet, std_conv, classifier"
    stem, *body, final, head = net.layout(r"nfnet_stem( nfnet)+ std_conv classifier", words)
    net.need(len(body) == 4, f"{len(body)} stages (timm's NFNet has four)")
    convs = [stem, *body, final]
    net.covered(stem, "hidden")
    inner, half = net.keys[f"{stem.name}.conv3.weight"][0], net.output(stem).shape[0] // 2
    net.need(inner == half, f"{stem.name}.hidden {inner} (timm's NFNet fixes half of dim: {half})")
    for number, stage in enumerate(body):
        net.fixed(stage, "stride", 2 if number else 1)
        net.fixed(stage, "kernel", 3)
    net.fixed(final, "kernel", 1)
    net.fixed(final, "stride", 1)
    net.fixed(final, "groups", 1)
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    act = net.act(convs)
    net.need(
        act in GAMMAS and act != "gelu_tanh", f"act {act}: timm's NFNet has no constant for it"
    )
    args = {
        "depths": [stage.depth for stage in body],
        "channels": [_width(net, stage) for stage in body],
        "stem_chs": _width(net, stem),
        "num_features": _width(net, final),
        "alpha": net.shared(body, "alpha"),
        "extra_conv": net.shared(body, "second"),
        "skipinit": net.shared(body, "skipinit"),
        "gamma_in_act": net.shared(convs, "gamma") == "act",
        "same_padding": net.shared(convs, "pad") == "same",
        "act_layer": act,
        **_read_gates(net, body),
        **_read_groups(net, body),
    }
    return "dm_nfnet_f0", args


def _width(net: Reading, stage: Stage) -> int:
    net.covered(stage, "dim")
    width = net.output(stage).shape[0]
    net.need(width % 8 == 0, f"{stage.name}.dim {width} (timm's NFNet wants multiples of 8)")
    return width


def _read_gates(net: Reading, body: list[Stage]) -> dict[str, Any]:
    ratio = net.shared(body, "se")
    net.need(ratio > 0, "se 0 (timm's NFNet needs null for it, which JSON cannot say safely)")
    return {"attn_layer": "se", "attn_kwargs": {"rd_ratio": ratio}}


def _read_groups(net: Reading, body: list[Stage]) -> dict[str, Any]:
    """`hidden` is half the output's channels, and a whole number of groups."""
    width = net.shared(body, "group_width")
    for stage in body:
        net.covered(stage, "hidden")
        half = _width(net, stage) // 2
        for hidden in sorted(set(net.widths(stage, "conv1"))):
            net.need(
                hidden == half and hidden % width == 0,
                f"{stage.name}.hidden {hidden} (timm's NFNet fixes half the width, {half}, in "
                f"whole groups of {width})",
            )
    return {"group_size": width, "bottle_ratio": 0.5}
