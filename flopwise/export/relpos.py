"""timm's VisionTransformerRelPos: a ViT whose blocks know how far patches lie apart.

Source: timm/models/vision_transformer_relpos.py, `VisionTransformerRelPos.__init__`, `RelPosBlock`.
"""

from __future__ import annotations

from typing import Any

from flopwise.export.reading import Reading
from flopwise.export.vit import PREFIXES, read_blocks

__all__ = ["PREFIXES", "read"]

LAYOUT = r"patch_embed( class_token)?( vit)+ classifier"
EPS = 1e-6
"""What timm's norms there add to the variance."""


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "patch_embed, class_token or not, vit, classifier"
    embed, *between, head = net.layout(LAYOUT, words)
    tokens = [stage for stage in between if stage.block.name == "class_token"]
    body = [stage for stage in between if stage.block.name == "vit"]
    for stage in tokens:
        net.covered(stage, "std")  # an initial value
        net.fixed(stage, "registers", 0)
    net.covered(embed, "dim")
    for stage in body:
        wanted = {"relative": "bias", "gate": "none", "bias": True, "act": "gelu", "norm": "ln"}
        for setting, value in (wanted | {"eps": EPS}).items():
            net.fixed(stage, setting, value)
        net.need(
            not net.value(stage, "qk_norm"),
            f"{stage.name}.qk_norm True (timm 1.0.17 gives those norms another eps there)",
        )
    net.fixed(head, "norm", "ln")
    net.fixed(head, "eps", EPS)
    pool = net.value(head, "pool")
    blocks = read_blocks(net, body)
    del blocks["act_layer"]  # JSON names no activation there
    return "vit_relpos_small_patch16_224", {
        "img_size": list(net.network.graph.inputs[0].shape[1:]),
        "patch_size": net.value(embed, "patch"),
        **blocks,
        "init_values": blocks.get("init_values", 0.0),
        "class_token": bool(tokens),
        "global_pool": "token" if pool == "cls" else "avg",
        "fc_norm": pool == "avg" and not net.value(head, "norm_first"),
        "rel_pos_type": "bias",
    }
