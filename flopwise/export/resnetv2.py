"""timm's ResNetV2: four stages of pre-activation blocks behind a stem without norm.

Weight standardisation is in timm's entrypoints of BiT alone, which fix the depths.

Source: timm/models/resnetv2.py, `ResNetV2.__init__`, `create_resnetv2_stem`,
`_create_resnetv2_bit`.
"""

from __future__ import annotations

from typing import Any

from flopwise.blocks.parts import divisible
from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read"]

PREFIXES = {
    "preact_stem": {"": "stem"},
    "preact": {"#": "stages.{stage}.blocks.{repetition}"},
    "preact_basic": {"#": "stages.{stage}.blocks.{repetition}"},
    "norm_act": {"norm": "norm"},
    "classifier": {"fc": "head.fc"},
}
BIT: dict[tuple[int, ...], tuple[str, int]] = {
    (3, 4, 6, 3): ("resnetv2_50x1_bit", 1),
    (3, 4, 23, 3): ("resnetv2_101x1_bit", 1),
    (3, 8, 36, 3): ("resnetv2_152x2_bit", 2),
}
"""Depths -> the entrypoint with standardised weights that has them, and its width factor."""
NORMS = {"bn": "batchnorm2d", "gn": "groupnorm"}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "preact_stem, four stages of preact or of preact_basic, norm_act, classifier"
    pattern = r"preact_stem(( preact)+|( preact_basic)+) norm_act classifier"
    stem, *body, last, head = net.layout(pattern, words)
    net.need(len(body) == 4, f"{len(body)} stages ({net.family} has four)")
    deep = [stem] if net.value(stem, "deep") else []
    norm = net.shared([*deep, *body, last], "norm")
    net.need(norm in NORMS, f"norm {norm} ({net.family} has bn and gn)")
    net.covered(stem, "norm", "act")
    entrypoint, factor, more = _read_kind(net, stem, body)
    args = {
        "channels": [_width(net, stage, factor) for stage in body],
        "stem_chs": _width(net, stem, factor),
        **more,
        "avg_down": _read_shortcuts(net, body),
        "bottle_ratio": _read_ratio(net, body),
        "act_layer": net.act([*deep, *body, last]),
        "norm_layer": NORMS.get(norm, norm),
    }
    net.even_groups(norm)
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    return entrypoint, args


def _read_kind(net: Reading, stem: Stage, body: list[Stage]) -> tuple[str, int, dict[str, Any]]:
    """Returns the entrypoint, the factor on its widths, and the arguments that it takes."""
    for number, stage in enumerate(body):
        net.fixed(stage, "kernel", 3)
        net.fixed(stage, "stride", 2 if number else 1)
    kind, depths = _read_stem(net, stem), [stage.depth for stage in body]
    standard = net.shared([stem, *body], "standard")
    basic = body[0].block.name == "preact_basic"
    if not standard:
        entrypoint = "resnetv2_18" if basic else "resnetv2_50"
        return entrypoint, 1, {"layers": depths, "stem_type": kind}
    net.need(not basic, f"standard true ({net.family} has it with bottlenecks only)")
    net.need(kind == "fixed", f"standard true ({net.family} has it with kernel: 7, pool: zeros)")
    known = " or ".join(str(list(each)) for each in BIT)
    found = BIT.get(tuple(depths))
    net.need(found is not None, f"depths {depths} with standard true (timm's BiT has {known})")
    return *(found or BIT[3, 4, 6, 3]), {}


def _read_stem(net: Reading, stem: Stage) -> str:
    """Returns timm's word for the stem."""
    net.fixed(stem, "stride", 2)
    pool, deep, dim = net.value(stem, "pool"), net.value(stem, "deep"), net.value(stem, "dim")
    net.need(pool != "none", f"{stem.name}.pool none ({net.family} shrinks the map there)")
    if not deep:
        net.fixed(stem, "kernel", 7)
        return "fixed" if pool == "zeros" else ""
    net.fixed(stem, "kernel", 3)
    kinds = {(dim // 2, dim // 2): "deep", (3 * dim // 8, dim // 2): "tiered"}
    told = " or ".join(str(list(each)) for each in kinds)
    net.need(deep in kinds, f"{stem.name}.deep {list(deep)} ({net.family} has {told})")
    kind = kinds.get(deep, "deep")
    net.need(kind == "deep" or pool == "max", f"{stem.name}.pool zeros beside deep {list(deep)}")
    return kind if pool == "max" else "deep_fixed"


def _width(net: Reading, stage: Stage, factor: int) -> int:
    """Returns a width over the factor; all are multiples of 8."""
    net.covered(stage, "dim")
    width = net.output(stage).shape[0]
    fits = width % 8 == 0 and width % factor == 0
    net.need(fits, f"{stage.name}.dim {width} ({net.family} has multiples of 8)")
    return width // factor


def _read_shortcuts(net: Reading, body: list[Stage]) -> bool:
    """Pooled shortcuts are all or none; every first bottleneck has one, a basic block if needed."""
    projecting = []
    for stage in body:
        net.covered(stage, "shortcut", *({"project"} & stage.block.fields.keys()))
        if f"{stage.name}.0.downsample.conv.weight" in net.keys:
            projecting.append(stage)
        else:
            there = stage.block.name == "preact_basic"
            net.need(there, f"{stage.name}.project false ({net.family} projects in every stage)")
    return bool(projecting) and bool(net.shared(projecting, "shortcut") == "pool")


def _read_ratio(net: Reading, body: list[Stage]) -> float:
    """`hidden = dim * bottle_ratio`, rounded to a multiple of 8, with one ratio for all."""
    if body[0].block.name == "preact_basic":
        return 1.0
    found = []
    for stage in body:
        net.covered(stage, "hidden")
        widths = set(net.widths(stage, "conv1"))
        net.need(len(widths) == 1, f"{stage.name}.hidden differs between repetitions")
        found.append((net.output(stage).shape[0], max(widths)))
    for ratio in (0.25, 0.5, 1.0, *(hidden / dim for dim, hidden in found)):
        if all(divisible(dim * ratio, 8) == hidden for dim, hidden in found):
            return ratio
    told = ", ".join(f"{s.name} {hidden}" for s, (_, hidden) in zip(body, found, strict=True))
    net.need(False, f"hidden ({told}) is not one share of dim in all stages, in multiples of 8")
    return 0.25
