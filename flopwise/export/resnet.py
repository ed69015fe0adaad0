"""timm's ResNet: four stages of basic or bottleneck blocks behind a 7x7 stem.

Source: timm/models/resnet.py, `ResNet.__init__`, `make_blocks`, `BasicBlock`, `Bottleneck`.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["NORMS", "PREFIXES", "base_width", "read"]

PREFIXES = {
    "conv_stem": {"": ""},
    "basic": {"#": "layer{number}.{repetition}"},
    "residual": {"#": "layer{number}.{repetition}"},
    "classifier": {"fc": "fc"},
}
NORMS = {"bn": {}, "ln": {"norm_layer": "layernorm2d"}, "gn": {"norm_layer": "groupnorm"}}
POOLS = {"max": {}, "conv": {"replace_stem_pool": True}, "avg": {}, "none": {}}

ENTRYPOINTS = {  # of bottlenecks; what shrinks the map, which JSON cannot say
    (True, "conv"): "resnet50",
    (False, "conv"): "resnet18",
    (True, "pool"): "resnetaa50",
    (False, "pool"): "resnetaa34d",
}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "conv_stem, four stages of basic or of residual, classifier"
    stem, *body, head = net.layout(r"conv_stem(( basic)+|( residual)+) classifier", words)
    bottlenecks = body[0].block.name == "residual"
    net.need(len(body) == 4, f"{len(body)} stages (timm's ResNet has four)")
    stemmed = _read_stem(net, stem)
    for number, stage in enumerate(body):
        net.fixed(stage, "kernel", 3)
        net.fixed(stage, "stride", 2 if number else 1)
    norm = net.shared([stem, *body], "norm")
    net.even_groups(norm)
    net.need(norm in NORMS, "norm none: timm's ResNet has no convolutions with a bias")
    args = {
        "layers": [stage.depth for stage in body],
        "act_layer": net.act([stem, *body]),
        **NORMS.get(norm, {}),
        **_read_shrinking(net, stem, body),
        **stemmed,
        **_read_gates(net, body),
        **(_read_bottlenecks(net, body) if bottlenecks else _read_basics(net, body)),
    }
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    return ENTRYPOINTS[bottlenecks, net.value(body[-1], "shrink")], args


def _read_stem(net: Reading, stem: Stage) -> dict[str, Any]:
    """One convolution of 7x7 to 64 channels, or three of 3x3, the last twice as wide as before."""
    net.fixed(stem, "stride", 2)
    pool, deep = net.value(stem, "pool"), net.value(stem, "deep")
    net.need(pool != "none", f"{stem.name}.pool none (timm's ResNet shrinks the map there)")
    if not deep:
        net.fixed(stem, "dim", 64)
        net.fixed(stem, "kernel", 7)
        return dict(POOLS[pool])
    net.fixed(stem, "kernel", 3)
    width = deep[-1]
    net.fixed(stem, "dim", 2 * width)
    kinds = {(width, width): "deep", (3 * (width // 4), width): "deep_tiered"}
    net.need(
        deep in kinds,
        f"{stem.name}.deep {list(deep)} (timm's ResNet has {' or '.join(map(str, kinds))})",
    )
    return {"stem_type": kinds.get(deep, "deep"), "stem_width": width, **POOLS[pool]}


def _read_shrinking(net: Reading, stem: Stage, body: list[Stage]) -> dict[str, Any]:
    """Pooled shortcuts are all or none; pooling behind convolutions goes with that of the stem."""
    made = [stage for number, stage in enumerate(body) if number or _projects(net, stage)]
    shortcut = net.shared(made, "shortcut")
    shrink, pool = net.shared(body[1:], "shrink"), net.value(stem, "pool")
    for stage in body:
        net.covered(stage, "shortcut", "shrink")
    net.need(
        (shrink == "pool") == (pool == "avg"),
        f"shrink {shrink} beside {stem.name}.pool {pool} (timm's ResNet pools in both or neither)",
    )
    return {
        **({"avg_down": True} if shortcut == "pool" else {}),
        **({"stem_type": "", "avg_down": shortcut == "pool"} if shrink == "pool" else {}),
    }


def _projects(net: Reading, stage: Stage) -> bool:
    return any(key.startswith(f"{stage.name}.0.downsample.") for key in net.keys)


def _read_gates(net: Reading, body: list[Stage]) -> dict[str, Any]:
    """Squeeze and excitation of the width that timm's ratio of 1/16 gives, or ECA: everywhere."""
    eca = net.shared(body, "eca")
    gated = [stage for stage in body if any(each["se"] for each in stage.settings)]
    for stage in body:
        ratio = net.value(stage, "se")
        net.covered(stage, "se_divisor", "se_hidden")
        if not ratio:
            net.need(not gated, f"{stage.name}.se 0 beside stages that have it (timm: all or none)")
            continue
        width = max(8, int(net.output(stage).shape[0] / 16 + 4) // 8 * 8)
        found = net.keys[f"{stage.name}.0.se.fc1.weight"][0]
        net.need(
            found == width,
            f"{stage.name}.se {ratio} makes {found} gate channels (timm fixes 0.0625: {width})",
        )
    kind = "eca" if eca else "se" if gated else ""
    return {"block_args": {"attn_layer": kind}} if kind else {}


def _read_basics(net: Reading, body: list[Stage]) -> dict[str, Any]:
    return {"channels": [_dim(net, stage) for stage in body]}


def _read_bottlenecks(net: Reading, body: list[Stage]) -> dict[str, Any]:
    """`hidden = floor(dim / 4 * base_width / 64) * cardinality`, with one base width for all."""
    groups = net.shared(body, "groups")
    dims = [_dim(net, stage) for stage in body]
    low, high = 0.0, float("inf")
    for stage, dim in zip(body, dims, strict=True):
        net.covered(stage, "hidden")
        net.need(dim % 4 == 0, f"{stage.name}.dim {dim} (timm's ResNet wants multiples of 4)")
        hidden = net.widths(stage, "conv1")
        net.need(
            len(set(hidden)) == 1,
            f"{stage.name}.hidden differs between repetitions ({', '.join(map(str, hidden))})",
        )
        per_group = hidden[0] // groups
        low = max(low, 64 * per_group / max(1, dim // 4))
        high = min(high, 64 * (per_group + 1) / max(1, dim // 4))
    base = base_width(low, high)
    told = ", ".join(f"{stage.name} {net.widths(stage, 'conv1')[0]}" for stage in body)
    net.need(
        base is not None,
        f"hidden ({told}) is not one share of dim in all stages (timm's ResNet has one base_width)",
    )
    channels = [dim // 4 for dim in dims]
    return {"channels": channels, "cardinality": groups, "base_width": base or 64}


def base_width(low: float, high: float) -> int | float | None:
    """Returns a number in [low, high), a whole one if there is any; None if it is empty.

    >>> base_width(64, 65), base_width(4.25, 4.75), base_width(5, 5)
    (64, 4.5, None)
    """
    if low >= high:
        return None
    return ceil(low) if ceil(low) < high else (low + high) / 2


def _dim(net: Reading, stage: Stage) -> int:
    net.covered(stage, "dim")
    dims = {net.output(stage).shape[0], *(each["dim"] for each in stage.settings if each["dim"])}
    net.need(len(dims) == 1, f"{stage.name}.dim differs between repetitions")
    return net.output(stage).shape[0]
