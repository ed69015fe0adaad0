"""timm's MaxxVit as CoAtNet: two convolutions, stages that halve the map, a norm, a mean.

Each stage has inverted residuals or transformer blocks on the map.

Source: timm/models/maxxvit.py, `MaxxVit.__init__`, `MaxxVitConvCfg`, `MaxxVitTransformerCfg`.
"""

from __future__ import annotations

from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import ACTS, Reading

__all__ = ["POOLS", "PREFIXES", "SHRINKS", "read"]

PREFIXES = {
    "conv": {"#.conv": "stem.conv{number}", "#.norm": "stem.norm{number}"},
    "mbconv": {"#": "stages.{stage}.blocks.{repetition}"},
    "map_vit": {"#": "stages.{stage}.blocks.{repetition}"},
    "classifier": {"norm": "norm", "fc": "head.fc"},
}
POOLS = {"avg": "avg2", "max": "max"}
"""Our word for a pooling -> timm's."""
SHRINKS = {"spatial": "dw", "expand": "1x1", "pool": "pool"}
"""Our word for what has the stride -> timm's."""


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "two conv, stages of mbconv or map_vit, classifier"
    first, second, *body, head = net.layout(r"conv conv( (mbconv|map_vit))+ classifier", words)
    convs = [stage for stage in body if stage.block.name == "mbconv"]
    transformers = [stage for stage in body if stage.block.name == "map_vit"]
    for stage in body:
        net.covered(stage, "dim")
        net.fixed(stage, "stride", 2)
    for setting, wanted in {"pool": "avg", "norm": "ln", "norm_first": True}.items():
        net.fixed(head, setting, wanted)
    return "coatnet_0_rw_224", {
        "img_size": list(net.network.graph.inputs[0].shape[1:]),
        "embed_dim": [net.output(stage).shape[0] for stage in body],
        "depths": [stage.depth for stage in body],
        "block_type": ["C" if stage in convs else "T" for stage in body],
        **_read_stem(net, first, second),
        "conv_act_layer": net.act([first, *convs]),
        **(_read_convs(net, convs) if convs else {}),
        **(_read_transformers(net, transformers) if transformers else {}),
        "transformer_norm_eps": net.shared([*transformers, head], "eps"),
    }


def _read_stem(net: Reading, first: Stage, second: Stage) -> dict[str, Any]:
    """Two convolutions, a norm and an activation between them."""
    ends = {"kernel": 3, "groups": 1}
    for stage, more in (
        (first, {"stride": 2, "norm": "bn"}),
        (second, {"stride": 1, "norm": "none", "act": "none"}),
    ):
        net.covered(stage, "dim", "bias")
        net.need(stage.depth == 1, f"{stage.name}.depth {stage.depth} ({net.family} has one)")
        for setting, wanted in (ends | more).items():
            net.fixed(stage, setting, wanted)
    biased = [f"{stage.name}.0.conv.bias" in net.keys for stage in (first, second)]
    net.need(
        biased[0] == biased[1],
        f"one of {first.name} and {second.name} has a bias ({net.family}: both or none); write "
        f"bias: false for the second",
    )
    return {
        "stem_width": [net.output(stage).shape[0] for stage in (first, second)],
        "stem_bias": biased[0],
    }


def _read_convs(net: Reading, body: list[Stage]) -> dict[str, Any]:
    se = net.shared(body, "se")
    output = net.shared(body, "expand_from") == "output"
    for stage in body if se else ():
        widths = [net.output(stage).shape[0]] if output else net.widths(stage, "conv1_1x1")
        net.need(
            int(se * min(widths)) > 0,
            f"{stage.name}.se {se:g} of {min(widths)} channels is none ({net.family} takes another "
            f"width then)",
        )
    return {
        "conv_expand_ratio": net.shared(body, "expand"),
        "conv_expand_output": output,
        "conv_kernel_size": net.shared(body, "kernel"),
        "conv_stride_mode": SHRINKS[net.shared(body, "shrink")],
        "conv_pool_type": POOLS[net.shared(body, "pool")],
        "conv_output_bias": net.shared(body, "bias"),
        "conv_pre_norm_act": net.shared(body, "pre_act"),
        "conv_attn_layer": "se" if se else "",
        "conv_attn_ratio": se,
        "conv_attn_act_layer": ACTS[net.shared(body, "se_act")],
        "conv_attn_early": net.shared(body, "se_first"),
    }


def _read_transformers(net: Reading, body: list[Stage]) -> dict[str, Any]:
    how = net.shared(body, "relative")
    net.need(how != "keys", f"relative keys ({net.family} has bias or none)")
    _, height, width = net.network.graph.inputs[0].shape
    net.need(
        how != "bias" or height == width,
        f"relative bias on images of {height} x {width} (timm 1.0.17 loads tables of squares only)",
    )
    scales = [each["layer_scale"] for stage in body for each in stage.settings]
    for stage in body:
        net.covered(stage, "layer_scale")
    net.need(
        all(scales) or not any(scales), "layer_scale is 0 in some blocks only (timm: all or none)"
    )
    return {
        "transformer_dim_head": net.shared(body, "head_dim"),
        "transformer_expand_ratio": net.shared(body, "mlp"),
        "transformer_expand_first": net.shared(body, "widen") == "first",
        "transformer_pool_type": POOLS[net.shared(body, "pool")],
        "transformer_shortcut_bias": net.shared(body, "shortcut_bias"),
        "transformer_attn_bias": net.shared(body, "bias"),
        "transformer_rel_pos_type": how,
        "transformer_act_layer": net.act(body),
        **({"transformer_init_values": max(scales)} if any(scales) else {}),
    }
