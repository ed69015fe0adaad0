"""timm's ConvNeXt: a patch stem and four stages, each halving the map before its blocks.

Source: timm/models/convnext.py, `ConvNeXt.__init__`, `ConvNeXtStage`, `ConvNeXtBlock`.
"""

from __future__ import annotations

from typing import Any

from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read"]

PREFIXES = {
    "patchify": {"": "stem"},
    "convnext": {
        "downsample": "stages.{stage}.downsample",
        "#": "stages.{stage}.blocks.{repetition}",
    },
    "classifier": {"": "head"},
}


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "patchify, four stages of convnext, classifier"
    stem, *body, head = net.layout(r"patchify( convnext)+ classifier", words)
    net.need(len(body) == 4, f"{len(body)} stages (timm's ConvNeXt has four)")
    patch = _read_stem(net, stem)
    eps = net.shared([stem, *body, head], "eps")
    for number, stage in enumerate(body):
        net.fixed(stage, "stride", 2 if number or patch == 2 else 1)
        _read_block(net, stage)
    dims = [net.output(stage).shape[0] for stage in body]
    width = net.output(stem).shape[0]
    net.need(
        width == dims[0],
        f"{stem.name}.dim {width} is not {body[0].name}.dim {dims[0]} (timm's ConvNeXt has one)",
    )
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "ln")
    entrypoint, scale = _read_scale(net, body, net.shared(body, "grn"))
    return entrypoint, {
        "depths": [stage.depth for stage in body],
        "dims": dims,
        "kernel_sizes": [net.value(stage, "kernel") for stage in body],
        "patch_size": patch,
        "act_layer": net.act(body),
        **({} if eps == 1e-6 else {"norm_eps": eps}),
        **({"conv_mlp": True} if net.shared(body, "pointwise") == "conv" else {}),
        **scale,
    }


def _read_stem(net: Reading, stem: Stage) -> int:
    net.fixed(stem, "norm", "ln")
    net.covered(stem, "dim")
    patch: int = net.value(stem, "patch")
    net.need(
        patch < 8,
        f"{stem.name}.patch {patch} (timm's ConvNeXt dilates instead of shrinking beyond 1/32)",
    )
    return patch


def _read_block(net: Reading, stage: Stage) -> None:
    net.covered(stage, "dim", "expand")
    dim = net.output(stage).shape[0]
    for hidden in sorted(set(net.widths(stage, "mlp.fc1")) - {4 * dim}):
        net.need(False, f"{stage.name}.expand {hidden / dim:g} (timm's ConvNeXt fixes 4)")


def _read_scale(net: Reading, body: list[Stage], grn: bool) -> tuple[str, dict[str, Any]]:
    """Initial values are free; a ConvNeXt without scales has ConvNeXt V2's entrypoint.

    JSON cannot say None safely, and `convnextv2_*` is None by itself.
    """
    scales = [each["layer_scale"] for stage in body for each in stage.settings]
    for stage in body:
        net.covered(stage, "layer_scale")
    net.need(
        all(scales) or not any(scales), "layer_scale is 0 in some blocks only (timm: all or none)"
    )
    if any(scales):
        return "convnext_tiny", {"ls_init_value": max(scales), **({"use_grn": True} if grn else {})}
    return "convnextv2_tiny", {"use_grn": grn}
