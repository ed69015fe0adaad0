"""timm's VisionTransformer: patches to tokens, equal blocks, a token or a mean to the classes.

Source: timm/models/vision_transformer.py, `VisionTransformer.__init__`, `Block`.
"""

from __future__ import annotations

from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["BACKBONE", "HYBRID", "PREFIXES", "read"]

PREFIXES = {
    "patch_embed": {"": "patch_embed"},
    "patchify": {"0": "patch_embed.proj", "1": "patch_embed.norm"},
    "class_token": {"": ""},
    "position": {"": ""},
    "vit": {"#": "blocks.{run}"},
    "classifier": {"norm": "norm", "fc_norm": "fc_norm", "fc": "head"},
}
BACKBONE = "patch_embed.backbone"
HYBRID = {
    "bit_stem": {"": f"{BACKBONE}.stem"},
    "bit": {"#": BACKBONE + ".stages.{stage}.blocks.{repetition}"},
}
LAYOUT = (
    r"(patch_embed|patchify)( to_tokens)?"
    r"(( class_token)?( position)?| position class_token)( vit)+ classifier"
)


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "patch_embed, class_token and position (or not), vit, classifier"
    stages = {stage.block.name: stage for stage in net.layout(LAYOUT, words)}
    order = [stage.block.name for stage in net.network.stages]
    embed = next(stages[name] for name in ("patch_embed", "patchify") if name in stages)
    body = [stage for stage in net.network.stages if stage.block.name == "vit"]
    args = {
        "img_size": list(net.network.graph.inputs[0].shape[1:]),
        **_read_patches(net, embed),
        **_read_blocks(net, body),
        "class_token": "class_token" in order,
        "pos_embed": "learn" if "position" in order else "none",
        "no_embed_class": order.index("position") < order.index("class_token")
        if {"position", "class_token"} <= set(order)
        else False,
        **_read_head(net, stages["classifier"]),
    }
    if "class_token" in stages:
        token = stages["class_token"]
        net.covered(token, "std")  # an initial value
        args["reg_tokens"] = net.value(token, "registers")
    if "position" in stages:
        net.fixed(stages["position"], "kind", "learned")
    elif "class_token" in stages:
        name = stages["class_token"].name
        net.need(False, f"'{name}' without positions (timm 1.0.17 loses the class token then)")
    return "vit_base_patch16_224", args


def _read_patches(net: Reading, embed: Stage) -> dict[str, Any]:
    net.covered(embed, "dim")
    norm = net.value(embed, "norm")
    if embed.block.name == "patch_embed":
        net.fixed(embed, "eps", 1e-6)
    net.need(norm != "bn", f"{embed.name}.norm bn (timm's ViT has ln or none there)")
    return {
        "patch_size": net.value(embed, "patch"),
        **({"embed_norm_layer": "layernorm"} if norm == "ln" else {}),
    }


def _read_blocks(net: Reading, body: list[Stage]) -> dict[str, Any]:
    """All blocks are alike, over as many stages as the spec cares to write."""
    dim = net.output(body[0]).shape[-1]
    for stage in body:
        net.covered(stage, "dim", "mlp", "layer_scale")
    hidden = {width for stage in body for width in net.widths(stage, "mlp.fc1")}
    ratios = [each["mlp"] for stage in body for each in stage.settings]
    net.need(len(hidden) == 1, f"mlp differs between blocks ({sorted(set(ratios))}); timm has one")
    scales = [each["layer_scale"] for stage in body for each in stage.settings]
    net.need(
        all(scales) or not any(scales), "layer_scale is 0 in some blocks only (timm: all or none)"
    )
    return {
        "embed_dim": dim,
        "depth": sum(stage.depth for stage in body),
        "num_heads": net.shared(body, "heads"),
        "mlp_ratio": ratios[0],
        "qkv_bias": net.shared(body, "qkv_bias"),
        "qk_norm": net.shared(body, "qk_norm"),
        "act_layer": net.act(body),
        **({"init_values": max(scales)} if any(scales) else {}),
    }


def _read_head(net: Reading, head: Stage) -> dict[str, Any]:
    pool = net.value(head, "pool")
    return {
        "global_pool": "token" if pool == "cls" else "avg",
        "final_norm": net.value(head, "norm") == "ln",
    }
