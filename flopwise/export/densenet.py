"""timm's DenseNet: stages of dense layers with transitions between them, behind a 7x7 stem.

Source: timm/models/densenet.py, `DenseNet.__init__`.
"""

from __future__ import annotations

from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read"]

PREFIXES = {
    "conv_stem": {"conv1": "features.conv0", "bn1": "features.norm0"},
    "dense": {
        "transition": "features.transition{stage}",
        "#": "features.denseblock{number}.denselayer{place}",
    },
    "norm_act": {"norm": "features.norm5"},
    "classifier": {"fc": "classifier"},
}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "conv_stem, stages of dense, norm_act, classifier"
    stem, *body, norm, head = net.layout(r"conv_stem( dense)+ norm_act classifier", words)
    growth = net.shared(body, "growth")
    for setting, wanted in {"dim": 2 * growth, "kernel": 7, "stride": 2, "pool": "max"}.items():
        net.fixed(stem, setting, wanted)
    for number, stage in enumerate(body):
        net.fixed(stage, "stride", 2 if number else 1)
        net.fixed(stage, "kernel", 3)
        _read_transition(net, stage)
    for stage in (stem, *body, norm):
        net.fixed(stage, "norm", "bn")
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    return "densenet121", {
        "growth_rate": growth,
        "block_config": [stage.depth for stage in body],
        "bn_size": _read_size(net, body, growth),
        "act_layer": net.act([stem, *body, norm]),
    }


def _read_transition(net: Reading, stage: Stage) -> None:
    net.covered(stage, "dim")
    shape = net.keys.get(f"{stage.name}.transition.conv.weight")
    if shape:
        out, channels = shape[:2]
        net.need(
            out == channels // 2,
            f"{stage.name}.dim {out} of {channels} channels (timm's DenseNet halves them)",
        )


def _read_size(net: Reading, body: list[Stage], growth: int) -> int:
    """Inner channels over the growth; one whole number for all layers."""
    widths = {width for stage in body for width in net.widths(stage, "conv1")}
    for stage in body:
        net.covered(stage, "expand")
    told = ", ".join(map(str, sorted(widths)))
    net.need(
        len(widths) == 1 and not max(widths) % growth,
        f"{told} inner channels (timm's DenseNet has one whole multiple of the growth, {growth})",
    )
    return max(widths) // growth
