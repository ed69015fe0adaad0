"""timm's SwinTransformer to stages: patches, stages of window attention, a mean.

Source: timm/models/swin_transformer.py, `SwinTransformer`, `SwinTransformerBlock`.
"""

from __future__ import annotations

from typing import Any

from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

KNOWN: Known = {
    "SwinTransformer": {
        **free("num_layers weight_init_mode patch_embed layers norm"),
        "dynamic_img_size": (False,),
        "global_pool": ("avg",),
        "head": ANY,
    },
    "PatchEmbed": {
        **free("patch_size img_size grid_size num_patches output_fmt"),
        **free("flatten strict_img_size proj"),
        "dynamic_img_pad": (False,),
        "norm": (*NONE, "LayerNorm", "RmsNorm"),
    },
    "SwinTransformerStage": free(
        "dim input_resolution output_resolution depth grad_checkpointing downsample blocks"
    ),
    "SwinTransformerBlock": {
        **free("dim input_resolution target_shift_size window_size shift_size"),
        **free("window_area mlp_ratio norm1 attn drop_path1 norm2 mlp drop_path2"),
        "always_partition": (False,),
        "dynamic_mask": (False,),
    },
    "WindowAttention": free(
        "dim window_size window_area num_heads scale fused_attn qkv attn_drop proj proj_drop "
        "softmax"
    ),
    "PatchMerging": free("dim out_dim norm reduction"),
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    norms = [m for m in model.modules() if type(m).__name__ == "LayerNorm"]
    net.need({m.eps for m in norms} == {1e-5}, "eps of a norm (flopwise's swin has 1e-5)")
    embed = model.patch_embed
    patches = {
        "patch": embed.patch_size[0],
        "dim": embed.proj.out_channels,
        "norm": "none" if type(embed.norm).__name__ == "Identity" else "ln",
        "eps": 1e-5,
    }
    lines = [Line("patch", "patch_embed", patches)]
    for number, stage in enumerate(model.layers, start=1):
        lines.append(_stage(net, f"stage{number}", stage))
    head = {"norm": "ln", "norm_first": True, "eps": 1e-5}
    return [*lines, Line("head", "classifier", head)]


def _stage(net: Published, name: str, stage: Any) -> Line:
    blocks = list(stage.blocks)
    merging = type(stage.downsample).__name__ == "PatchMerging"
    dim = blocks[0].attn.qkv.in_features
    window = net.one((b.window_size for b in blocks), f"{name}: window")
    net.need(window[0] == window[1], f"{name}: window {window} (flopwise has squares)")
    half = window[0] // 2
    whole = all(side <= window[0] for side in blocks[0].input_resolution)
    wanted = [0 if i % 2 == 0 or whole else half for i in range(len(blocks))]
    net.need([b.shift_size[0] for b in blocks] == wanted, f"{name}: shifts of the windows")
    heads = net.one((b.attn.num_heads for b in blocks), f"{name}: heads")
    net.need(all(b.attn.qkv.out_features == 3 * dim for b in blocks), f"{name}: channels of a head")
    settings = {
        "dim": dim if merging else None,
        "stride": 2 if merging else 1,
        "heads": heads,
        "window": window[0],
        "mlp": net.one((b.mlp.fc1.out_features / dim for b in blocks), f"{name}: mlp"),
        "qkv_bias": net.one((b.attn.qkv.bias is not None for b in blocks), f"{name}: qkv_bias"),
        "act": net.one((net.act(b.mlp.act) for b in blocks), f"{name}: act"),
    }
    return Line(name, "swin", settings, len(blocks))
