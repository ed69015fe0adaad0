"""timm's hybrid ViT: convolutional stages of BiT, patches of one position, a ViT.

The convolutional stages are timm's own: JSON cannot change their widths and depths. The ViT behind
them is free.

Source: timm/models/vision_transformer_hybrid.py, `_resnetv2`, `_create_vision_transformer_hybrid`.
"""

from __future__ import annotations

from typing import Any

from flopwise.dsl import Stage
from flopwise.export import vit
from flopwise.export.reading import Reading

__all__ = ["FIRST_CONV", "PREFIXES", "read"]

BACKBONE = "patch_embed.backbone"
FIRST_CONV = f"{BACKBONE}.stem.conv"
PREFIXES = vit.PREFIXES | {
    "bit_stem": {"": f"{BACKBONE}.stem"},
    "bit": {"#": BACKBONE + ".stages.{stage}.blocks.{repetition}"},
}
ENTRYPOINTS = {
    (2, 2, 2, 2): "vit_small_r26_s32_224",
    (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224",
}
"""Depths of the convolutional stages -> the entrypoint that has them."""


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    entrypoint, args = vit.read(net, rf"bit_stem( bit)+ {vit.LAYOUT}")
    net.need(
        entrypoint == "vit_base_patch16_224",
        f"norms or gates of {entrypoint} ({net.family} has those of vit_base_patch16_224)",
    )
    stages = net.network.stages
    _read_stem(net, next(stage for stage in stages if stage.block.name == "bit_stem"))
    body = [stage for stage in stages if stage.block.name == "bit"]
    for number, stage in enumerate(body):
        _read_stage(net, stage, number)
    depths = tuple(stage.depth for stage in body)
    known = " or ".join(map(str, map(list, ENTRYPOINTS)))
    net.need(depths in ENTRYPOINTS, f"depths {list(depths)} of bit ({net.family} has {known})")
    return ENTRYPOINTS.get(depths, ENTRYPOINTS[3, 4, 9]), args


def _read_stem(net: Reading, stem: Stage) -> None:
    for setting, wanted in {"dim": 64, "kernel": 7, "act": "relu"}.items():
        net.fixed(stem, setting, wanted)


def _read_stage(net: Reading, stage: Stage, number: int) -> None:
    net.covered(stage, "dim", "hidden")
    wanted, width = 256 * 2**number, net.output(stage).shape[0]
    net.need(width == wanted, f"{stage.name}.dim {width} ({net.family} fixes {wanted})")
    for hidden in sorted(set(net.widths(stage, "conv1")) - {wanted // 4}):
        net.need(False, f"{stage.name}.hidden {hidden} ({net.family} fixes {wanted // 4})")
    net.fixed(stage, "stride", 2 if number else 1)
    net.fixed(stage, "kernel", 3)
    net.fixed(stage, "act", "relu")
