"""timm's VisionTransformer: patches to tokens, equal blocks, a token or a mean to the classes.

Source: timm/models/vision_transformer.py, `VisionTransformer.__init__`, `Block`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["LAYOUT", "PREFIXES", "read", "read_blocks"]

PREFIXES = {
    "patch_embed": {"": "patch_embed"},
    "patchify": {"0": "patch_embed.proj", "1": "patch_embed.norm"},
    "class_token": {"": ""},
    "registers": {"": ""},
    "norm": {"norm": "norm_pre"},
    "position": {"": ""},
    "vit": {"#": "blocks.{run}"},
    "attention_pool": {"norm": "norm", "attn_pool": "attn_pool"},
    "classifier": {"norm": "norm", "fc_norm": "fc_norm", "fc": "head"},
}
LAYOUT = (
    r"(patch_embed|patchify)( to_tokens)?"
    r"(( class_token| registers)?( position)?| position( class_token| registers))( norm)?( vit)+"
    r"( attention_pool)? classifier"
)
ENTRYPOINTS = {  # norm, its eps, the gate of the MLP -> the entrypoint that has them by itself
    ("ln", 1e-6, "none"): ("vit_base_patch16_224", {}),
    ("ln", 1e-5, "none"): ("vit_base_patch16_clip_224", {}),
    ("rms", 1e-6, "none"): ("vit_base_patch16_224", {"norm_layer": "rmsnorm"}),
    ("ln", 1e-6, "packed"): ("vit_giant_patch14_dinov2", {}),
    ("rms", 1e-5, "split"): ("aimv2_large_patch14_224", {}),
}
"""JSON names neither eps nor the class of an MLP."""


def read(net: Reading, pattern: str = LAYOUT) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "patch_embed, class_token or registers and position (or not), norm (or not), vit, "
    stages = {s.block.name: s for s in net.layout(pattern, f"{words}attention_pool, classifier")}
    order = [stage.block.name for stage in net.network.stages]
    embed = next(stages[name] for name in ("patch_embed", "patchify") if name in stages)
    body = [stage for stage in net.network.stages if stage.block.name == "vit"]
    head = stages.get("attention_pool", stages["classifier"])
    entrypoint, how = _read_norms(net, stages, embed, body, head)
    args = {
        "img_size": list(net.network.graph.inputs[0].shape[1:]),
        **_read_patches(net, embed, entrypoint),
        **read_blocks(net, body),
        **_read_tokens(net, stages, order),
        "pre_norm": "norm" in stages,
        **_read_head(net, head),
        **how,
    }
    bias = net.value(embed, "bias") if "bias" in embed.block.fields else True
    net.need(
        bias == ("norm" not in stages),
        f"{embed.name}.bias {bias} (timm's ViT has one unless a norm stands before its blocks)",
    )
    if head is not stages["classifier"]:
        net.fixed(stages["classifier"], "norm", "none")
        _read_attention_pool(net, head, body, bool({"class_token", "registers"} & set(order)))
    return entrypoint, args


def _read_norms(
    net: Reading, stages: Mapping[str, Stage], embed: Stage, body: list[Stage], head: Stage
) -> tuple[str, dict[str, Any]]:
    """One norm with one eps everywhere, and the entrypoint that has them."""
    normed = [stage for stage in (stages.get("norm"), *body, head) if stage]
    normed += [embed] if net.value(embed, "norm") != "none" else []
    normed = [stage for stage in normed if net.value(stage, "norm") != "none"]
    if embed.block.name == "patchify" and embed in normed:
        normed.remove(embed)
    for stage in (embed, head):
        net.covered(stage, "eps")
    key = (net.shared(normed, "norm"), net.shared(normed, "eps"), net.shared(body, "gate"))
    known = "; ".join(f"norm {n}, eps {eps:g}, gate {gate}" for n, eps, gate in ENTRYPOINTS)
    net.need(
        key in ENTRYPOINTS,
        f"norm {key[0]}, eps {key[1]:g}, gate {key[2]} (timm has entrypoints for {known})",
    )
    return ENTRYPOINTS.get(key, ENTRYPOINTS["ln", 1e-6, "none"])


def _read_tokens(net: Reading, stages: Mapping[str, Stage], order: list[str]) -> dict[str, Any]:
    """Class token, registers and positions, which come before or after them."""
    first = next((name for name in ("class_token", "registers") if name in stages), "")
    token = stages.get(first)
    before = bool(token) and "position" in order and order.index("position") < order.index(first)
    args = {
        "class_token": first == "class_token",
        "pos_embed": "learn" if "position" in order else "none",
        "no_embed_class": before,
    }
    if token:
        net.covered(token, "std")  # an initial value
        args["reg_tokens"] = net.value(token, "registers" if first == "class_token" else "count")
    if "position" in stages:
        net.fixed(stages["position"], "kind", "learned")
    elif token:
        net.need(
            False, f"'{token.name}' without positions (timm 1.0.17 loses the class token then)"
        )
    return args


def _read_patches(net: Reading, embed: Stage, entrypoint: str) -> dict[str, Any]:
    net.covered(embed, "dim")
    norm = net.value(embed, "norm")
    own = entrypoint.startswith("aimv2")  # its entrypoint has a norm on the patches
    net.need(norm != "bn", f"{embed.name}.norm bn (timm's ViT has ln or none there)")
    net.need(not own or norm == "rms", f"{embed.name}.norm {norm} (timm's AIMv2 fixes rms)")
    net.need(own or norm != "rms", f"{embed.name}.norm rms (timm has it in AIMv2 only)")
    if norm == "ln":
        net.fixed(embed, "eps", 1e-6)
    return {
        "patch_size": net.value(embed, "patch"),
        **({"embed_norm_layer": "layernorm"} if norm == "ln" else {}),
    }


def read_blocks(net: Reading, body: list[Stage]) -> dict[str, Any]:
    """All blocks are alike, over as many stages as the spec cares to write."""
    dim = net.output(body[0]).shape[-1]
    for stage in body:
        net.covered(stage, "dim", "mlp", "layer_scale")
    first = "mlp.fc1_g" if net.shared(body, "gate") == "split" else "mlp.fc1"
    hidden = {width for stage in body for width in net.widths(stage, first)}
    ratios = [each["mlp"] for stage in body for each in stage.settings]
    net.need(len(hidden) == 1, f"mlp differs between blocks ({sorted(set(ratios))}); timm has one")
    scales = [each["layer_scale"] for stage in body for each in stage.settings]
    net.need(
        all(scales) or not any(scales), "layer_scale is 0 in some blocks only (timm: all or none)"
    )
    bias, depth = net.shared(body, "bias"), sum(stage.depth for stage in body)
    return {
        "embed_dim": dim,
        "depth": depth,
        **({"out_indices": depth} if depth < 3 else {}),  # features_only takes the last 3 else
        "num_heads": net.shared(body, "heads"),
        "mlp_ratio": ratios[0],
        "qkv_bias": net.shared(body, "qkv_bias"),
        **({} if bias else {"proj_bias": False}),
        "qk_norm": net.shared(body, "qk_norm"),
        "act_layer": net.act(body),
        **({"init_values": max(scales)} if any(scales) else {}),
    }


def _read_head(net: Reading, head: Stage) -> dict[str, Any]:
    if head.block.name == "attention_pool":
        return {"global_pool": "map", "final_norm": net.value(head, "norm") != "none"}
    pool, norm = net.value(head, "pool"), net.value(head, "norm")
    first = net.value(head, "norm_first") and pool == "avg"
    return {
        "global_pool": "token" if pool == "cls" else "avg",
        "final_norm": norm != "none",
        **({"fc_norm": False} if first and norm != "none" else {}),
    }


def _read_attention_pool(net: Reading, pool: Stage, body: list[Stage], extra: bool) -> None:
    """Heads, ratio and activation of the pooling are those of the blocks."""
    for setting in ("heads", "act"):
        net.shared([*body, pool], setting)
    hidden = net.keys[f"{pool.name}.attn_pool.mlp.fc1.weight"][0]
    widths = {width for stage in body for width in net.widths(stage, "mlp.fc1")}
    net.covered(pool, "mlp")
    net.need(widths == {hidden}, f"{pool.name}.mlp {hidden} (timm has that of the blocks)")
    net.need(not extra, f"{pool.name} reads the tokens before the patches too (timm's does not)")
