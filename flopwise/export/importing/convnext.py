"""timm's ConvNeXt to stages: a stem of patches, stages that shrink the map before their blocks.

Source: timm/models/convnext.py, `ConvNeXt`, `ConvNeXtStage`, `ConvNeXtBlock`.
"""

from __future__ import annotations

from typing import Any

from flopwise.export.importing.drawing import Line
from flopwise.export.importing.modules import ANY, NONE, Known, Published, free

__all__ = ["KNOWN", "read"]

NORM = ("LayerNorm", "LayerNorm2d", "Identity")
KNOWN: Known = {
    "ConvNeXt": {"stem": ("Sequential",), "stages": ANY, "norm_pre": NONE, "head": ANY},
    "ConvNeXtStage": {
        "downsample": ("Sequential", "Identity"),
        "blocks": ANY,
        "grad_checkpointing": ANY,
    },
    "ConvNeXtBlock": {
        **free("use_conv_mlp conv_dw mlp gamma drop_path"),
        "norm": NORM,
        "shortcut": NONE,
    },
    "GlobalResponseNormMlp": {
        **free("fc1 fc2 act drop1 drop2"),
        "grn": ("GlobalResponseNorm",),
    },
    "GlobalResponseNorm": {"eps": (1e-6,), "spatial_dim": ANY, "channel_dim": ANY, "wb_shape": ANY},
    "NormMlpClassifierHead": {
        **free("in_features hidden_size num_features global_pool"),
        **free("norm flatten pre_logits drop fc"),
        "use_conv": (False,),
    },
}


def read(net: Published) -> list[Line]:
    """Returns the stages."""
    net.walk(KNOWN)
    net.finish()
    model = net.model
    norms = [module for kind in NORM for module in net.modules(kind) if kind != "Identity"]
    eps = net.one((norm.eps for norm in norms), "eps of the norms")
    lines = [Line("stem", "patchify", _stem(net, model.stem, eps))]
    for number, stage in enumerate(model.stages, start=1):
        lines.append(_stage(net, f"stage{number}", stage, eps))
    return [*lines, _head(net, model.head, eps)]


def _stem(net: Published, stem: Any, eps: float) -> dict[str, Any]:
    net.need(len(stem) == 2, "a stem of overlapping convolutions (flopwise's patchify has patches)")
    conv = stem[0]
    net.need(conv.kernel_size == conv.stride, "a stem whose patches overlap (patchify has none)")
    return {"patch": conv.kernel_size[0], "dim": conv.out_channels, "eps": eps}


def _stage(net: Published, name: str, stage: Any, eps: float) -> Line:
    blocks = list(stage.blocks)
    dim = blocks[0].conv_dw.out_channels
    stride = 1 if type(stage.downsample).__name__ == "Identity" else stage.downsample[1].stride[0]
    scale = [None if b.gamma is None else 1e-6 for b in blocks]
    settings = {
        "dim": dim if stride > 1 else None,
        "stride": stride,
        "kernel": net.one((b.conv_dw.kernel_size[0] for b in blocks), f"{name}: kernel"),
        "expand": net.one((b.mlp.fc1.weight.shape[0] / dim for b in blocks), f"{name}: expand"),
        "act": net.one((net.act(b.mlp.act) for b in blocks), f"{name}: act"),
        "layer_scale": net.one(scale, f"{name}: layer_scale") or 0.0,
        "grn": net.one((hasattr(b.mlp, "grn") for b in blocks), f"{name}: grn"),
        "pointwise": "conv" if blocks[0].use_conv_mlp else "linear",
        "eps": eps,
    }
    if stride == 1 and type(stage.downsample).__name__ != "Identity":
        net.need(False, f"{name}: downsampling by 1")
    net.need(all(b.conv_dw.bias is not None for b in blocks), f"{name}: conv_bias false")
    return Line(name, "convnext", settings, len(blocks))


def _head(net: Published, head: Any, eps: float) -> Line:
    first = type(head).__name__ == "ClassifierHead"
    net.need(not first, "head_norm_first (flopwise's classifier normalises the mean of a map)")
    hidden = getattr(head, "hidden_size", None)
    net.need(not hidden, f"head_hidden_size {hidden} (flopwise has no layer between norm and fc)")
    return Line("head", "classifier", {"norm": "ln", "eps": eps})
