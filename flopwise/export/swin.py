"""timm's SwinTransformer: patches, stages of window attention whose widths double, a mean.

Source: timm/models/swin_transformer.py, `SwinTransformer.__init__`.
"""

from __future__ import annotations

from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read"]

PREFIXES = {
    "patch_embed": {"": "patch_embed"},
    "swin": {"downsample": "layers.{stage}.downsample", "#": "layers.{stage}.blocks.{repetition}"},
    "classifier": {"norm": "norm", "fc": "head.fc"},
}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "patch_embed, stages of swin, classifier"
    embed, *body, head = net.layout(r"patch_embed( to_map)?( swin)+ classifier", words)
    body = [stage for stage in body if stage.block.name == "swin"]
    net.covered(embed, "dim")
    net.fixed(embed, "norm", "ln")
    net.fixed(embed, "eps", 1e-5)
    dims = [net.output(embed).shape[-1], *(net.output(stage).shape[0] for stage in body)]
    net.need(
        dims == [dims[0], *(dims[0] * 2**number for number in range(len(body)))],
        f"widths {', '.join(map(str, dims))} (timm's Swin doubles them from stage to stage)",
    )
    for number, stage in enumerate(body):
        _read_stage(net, stage, number)
    _read_head(net, head)
    return "swin_tiny_patch4_window7_224", {
        "img_size": list(net.network.graph.inputs[0].shape[1:]),
        "patch_size": net.value(embed, "patch"),
        "embed_dim": dims[0],
        "depths": [stage.depth for stage in body],
        "num_heads": [net.value(stage, "heads") for stage in body],
        "window_size": net.shared(body, "window"),
        "mlp_ratio": net.shared(body, "mlp"),
        "qkv_bias": net.shared(body, "qkv_bias"),
    }


def _read_stage(net: Reading, stage: Stage, number: int) -> None:
    net.covered(stage, "dim")
    net.fixed(stage, "stride", 2 if number else 1)
    net.fixed(stage, "act", "gelu")
    net.fixed(stage, "shift", True)


def _read_head(net: Reading, head: Stage) -> None:
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "ln")
    net.fixed(head, "norm_first", True)
    net.fixed(head, "eps", 1e-5)
