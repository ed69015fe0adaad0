"""timm's VisionTransformer to stages: patches, tokens, positions, equal blocks, a classifier.

Source: timm/models/vision_transformer.py, `VisionTransformer`, `Block`.
"""

from __future__ import annotations

from typing import Any

from flopwise.export.importing import swin
from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ACT, ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

NORM = (*NONE, "LayerNorm", "RmsNorm")
KNOWN: Known = {
    "VisionTransformer": {
        **free("num_prefix_tokens num_reg_tokens has_class_token cls_token"),
        **free("reg_token no_embed_class pos_embed global_pool weight_init_mode"),
        **free("fix_init dynamic_img_size patch_embed pos_drop blocks head_drop"),
        "pool_include_prefix": ANY,
        "patch_drop": NONE,
        "norm_pre": NORM,
        "norm": NORM,
        "fc_norm": NORM,
        "attn_pool": (*NONE, "AttentionPoolLatent"),
        "head": ("Linear",),
    },
    "PatchEmbed": swin.KNOWN["PatchEmbed"],
    "Block": {
        **free("norm1 norm2 drop_path1 drop_path2"),
        "attn": ("Attention",),
        "mlp": ("Mlp", "GluMlp", "SwiGLU"),
        "ls1": (*NONE, "LayerScale"),
        "ls2": (*NONE, "LayerScale"),
    },
    "Attention": {
        **free("num_heads head_dim attn_dim scale fused_attn qkv attn_drop"),
        **free("proj proj_drop q_norm k_norm"),
        "gate": (None,),
        "norm": NONE,
    },
    "GluMlp": {
        **free("fc1 drop1 fc2 drop2"),
        "act": ACT,
        "norm": NONE,
        "chunk_dim": (-1,),
        "gate_last": (False,),
    },
    "SwiGLU": {
        **free("fc1_g fc1_x drop1 fc2 drop2"),
        "act": ACT,
        "norm": NONE,
        "align_to": (0, None),
    },
    "AttentionPoolLatent": {
        **free("num_heads head_dim scale fused_attn latent_dim out_features q kv"),
        **free("norm mlp proj proj_drop latent"),
        "feat_size": (None,),
        "pool": ("token",),
        "pos_embed": (None,),
        "latent_len": (1,),
        "q_norm": NONE,
        "k_norm": NONE,
    },
}
GATES = {"Mlp": "none", "GluMlp": "packed", "SwiGLU": "split"}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    norms = [m for m in model.modules() if type(m).__name__ in NORM and hasattr(m, "eps")]
    how = {"norm": _norm(norms[0]), "eps": net.one((m.eps for m in norms), "eps of the norms")}
    net.one((type(m).__name__ for m in norms), "the norm")
    lines = [Line("patch", "patch_embed", _patches(model, how))]
    lines += _tokens(model)
    if type(model.norm_pre).__name__ != "Identity":
        lines.append(Line("norm", "norm", how))
    lines.append(_body(net, list(model.blocks), how))
    return [*lines, *_head(net, model, how)]


def _norm(module: Any) -> str:
    return {"LayerNorm": "ln", "RmsNorm": "rms"}.get(type(module).__name__, "none")


def _patches(model: Any, how: dict[str, Any]) -> dict[str, Any]:
    embed = model.patch_embed
    norm = _norm(embed.norm)
    return {
        "patch": embed.patch_size[0],
        "dim": embed.proj.out_channels,
        "bias": embed.proj.bias is not None,
        "norm": norm,
        **({} if norm == "none" else {"eps": how["eps"]}),
    }


def _tokens(model: Any) -> list[Line]:
    """Class token, registers and positions, in timm's order."""
    registers, cls = model.num_reg_tokens, model.has_class_token
    tokens = [Line("cls", "class_token", {"registers": registers})] if cls else []
    if registers and not cls:
        tokens = [Line("registers", "registers", {"count": registers})]
    position = [] if model.pos_embed is None else [Line("pos", "position", {})]
    return [*position, *tokens] if model.no_embed_class else [*tokens, *position]


def _body(net: Published, blocks: list[Any], how: dict[str, Any]) -> Line:
    dim = blocks[0].attn.qkv.in_features
    kind = net.one((type(b.mlp).__name__ for b in blocks), "the mlp")
    first = blocks[0].attn
    net.need(first.attn_dim == dim, f"heads of {first.head_dim} channels (flopwise divides dim)")
    settings = {
        "heads": net.one((b.attn.num_heads for b in blocks), "heads"),
        "mlp": _ratio(net.one((_hidden(b.mlp) for b in blocks), "mlp"), dim),
        "gate": GATES[kind],
        "qkv_bias": net.one((b.attn.qkv.bias is not None for b in blocks), "qkv_bias"),
        "bias": net.one((b.attn.proj.bias is not None for b in blocks), "proj_bias"),
        "qk_norm": net.one((_norm(b.attn.q_norm) != "none" for b in blocks), "qk_norm"),
        "act": net.one((net.act(b.mlp.act) for b in blocks), "act"),
        "layer_scale": net.one((getattr(b.ls1, "init_values", 0.0) for b in blocks), "init_values"),
        **how,
    }
    return Line("body", "vit", settings, len(blocks))


def _hidden(mlp: Any) -> int:
    return int((mlp.fc1_g if hasattr(mlp, "fc1_g") else mlp.fc1).out_features)


def _ratio(hidden: int, dim: int) -> float:
    """The shortest ratio that gives the hidden width."""
    ratio = hidden / dim
    for digits in range(1, 8):
        short = float(f"{ratio:.{digits}f}")
        for near in (short, short + 10.0**-digits):
            if int(near * dim) == hidden:
                return round(near, digits)
    return ratio


def _head(net: Published, model: Any, how: dict[str, Any]) -> list[Line]:
    norm, after = _norm(model.norm), _norm(model.fc_norm)
    pool = model.global_pool
    if pool == "map":
        alone = model.num_prefix_tokens == 0 or model.pool_include_prefix
        net.need(alone, "pool_include_prefix false (flopwise's attention_pool reads all tokens)")
        net.need(after == "none", "a norm behind the attention pool")
        return [_map(net, model, how, norm), Line("head", "classifier", {})]
    known = {"token": "cls", "avg": "avg"}
    net.need(pool in known, f"global_pool {pool} (flopwise has token, avg and map)")
    net.need(not (model.pool_include_prefix and pool == "avg"), "pool_include_prefix")
    net.need(not (after != "none" and pool == "token"), "fc_norm behind the class token")
    first = norm != "none"
    told = {**how, "norm": norm if first else after}
    if told["norm"] == "none":
        del told["eps"]
    settings = {"pool": known.get(pool, pool), **told, "norm_first": first and pool == "avg"}
    return [Line("head", "classifier", settings)]


def _map(net: Published, model: Any, how: dict[str, Any], norm: str) -> Line:
    pool, dim = model.attn_pool, model.embed_dim
    heads = model.blocks[0].attn.num_heads
    net.need(pool.num_heads == heads, f"attn_pool.num_heads {pool.num_heads}")
    settings = {
        "heads": pool.num_heads,
        "mlp": _ratio(pool.mlp.fc1.out_features, dim),
        "act": net.act(pool.mlp.act),
        **how,
        "norm": norm,
    }
    return Line("pool", "attention_pool", settings)
