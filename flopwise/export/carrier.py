"""timm's MobileNetV5 as a carrier of mobile networks: stages of convolutions and mobile blocks.

It is the one class of timm's that takes the settings of every single block from JSON. Its head has
a 1x1 convolution, a batch norm and an activation behind the pooling; where a network has no such
layers they are filled so that they change nothing, and count as dead.

Source: timm/models/mobilenetv5.py, `MobileNetV5.__init__`; timm/models/_efficientnet_builder.py,
`EfficientNetBuilder`; timm/models/_efficientnet_blocks.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from flopwise.blocks import Graph, Layer
from flopwise.blocks.parts import divisible
from flopwise.dsl import Stage
from flopwise.export.config import Filled
from flopwise.export.reading import ACTS, Reading

__all__ = ["PREFIXES", "fill", "read"]

PREFIXES = {
    "conv_stem": {"conv1": "conv_stem.conv", "bn1": "conv_stem.bn"},
    "separable": {"#": "blocks.{stage}.{repetition}"},
    "inverted": {"#": "blocks.{stage}.{repetition}"},
    "conv": {
        "#.conv": "blocks.{stage}.{repetition}.conv",
        "#.norm": "blocks.{stage}.{repetition}.bn1",
    },
    "classifier": {
        "conv_head.bias": "norm_head.bias",
        "conv_head": "conv_head",
        "norm_head": "norm_head",
        "fc": "classifier",
    },
}
LAYOUT = r"conv_stem( (separable|inverted|conv))+ classifier"
LOWEST = 32
"""timm dilates instead of shrinking the map beyond this share of the image."""
EPS = 1e-5
"""What timm's batch norm adds to the variance."""
KEPT = {
    "relu": ("relu", "relu6", "sigmoid", "hard_sigmoid"),
    "relu6": ("relu6", "sigmoid", "hard_sigmoid"),
}
"""Activation -> those whose means it gives back unchanged."""


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "conv_stem, stages of separable, inverted or conv, classifier"
    stem, *body, head = net.layout(LAYOUT, words)
    for setting, wanted in {"kernel": 3, "stride": 2, "pool": "none", "norm": "bn"}.items():
        net.fixed(stem, setting, wanted)
    net.covered(stem, "dim")
    act = net.act([stem])
    shrinks = 2 * prod(net.value(stage, "stride") for stage in body)
    net.need(
        shrinks <= LOWEST,
        f"the map shrinks to 1/{shrinks} ({net.family} dilates beyond 1/{LOWEST})",
    )
    args = {
        "block_args": [list(_blocks(net, stage)) for stage in body],
        "stem_size": net.output(stem).shape[0],
        "stem_bias": False,
        "norm_layer": "batchnorm2d",
        "act_layer": act,
        "use_msfa": False,
        "num_features": _read_head(net, stem, body[-1], head),
        "channel_multiplier": 0,  # no rounding of widths
    }
    levels = sum(net.value(stage, "stride") > 1 for stage in body) + 1
    return "mobilenetv5_300m", args | ({"out_indices": list(range(levels))} if levels < 5 else {})


def fill(net: Reading) -> dict[str, Filled]:
    """Returns the tensors of timm's head that the network has no layers for.

    A batch norm of variance 1 - eps, weight 1, mean 0 and bias 0 gives back what it gets.
    """
    head = net.network.stages[-1]
    hidden = net.keys.get(f"{head.name}.conv_head.weight")
    width = hidden[0] if hidden else net.keys[f"{head.name}.fc.weight"][1]
    found = {"conv_head.weight": Filled((width, width, 1, 1), "identity")} if not hidden else {}
    if f"{head.name}.norm_head.weight" in net.keys:
        return found
    found["norm_head.weight"] = Filled((width,), 1.0)
    if not hidden:  # the bias of its own convolution stands there otherwise
        found["norm_head.bias"] = Filled((width,), 0.0)
    return found | {
        "norm_head.running_mean": Filled((width,), 0.0, learned=False),
        "norm_head.running_var": Filled((width,), 1.0 - EPS, learned=False),
        "norm_head.num_batches_tracked": Filled((), 0, learned=False),
    }


def _blocks(net: Reading, stage: Stage) -> Iterator[dict[str, Any]]:
    """Yields timm's words for every repetition of a stage; each may have settings of its own."""
    net.covered(stage, *stage.block.fields)
    stride = net.value(stage, "stride")
    net.need(stride < 3, f"{stage.name}.stride {stride} ({net.family} has 1 and 2)")
    width = net.network.graph.types[net.layers[stage.name].inputs[0]].shape[0]
    for repetition, settings in enumerate(stage.settings):
        act = settings["act"]
        net.need(settings["norm"] == "bn", f"{stage.name}.norm {settings['norm']} (timm wants bn)")
        net.need(act in ACTS, f"{stage.name}.act {act}: timm has no activation of that name")
        out = settings["dim"] or width
        yield {
            "stride": 1 if repetition else stride,
            "out_chs": out,
            "act_layer": ACTS.get(act, act),
            **FORMS[stage.block.name](settings, width),
        }
        width = out


def _separable(settings: Mapping[str, Any], width: int) -> dict[str, Any]:
    return {
        "block_type": "ds",
        "dw_kernel_size": settings["kernel"],
        "pw_act": settings["acts"] == "all",
        "noskip": not settings["skip"],
        **({"se_ratio": max(1, round(settings["se"] * width)) / width} if settings["se"] else {}),
    }


def _inverted(settings: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Gates of timm have `round(ratio * inner width)` channels, ours `round(ratio * width)`."""
    made = {
        "block_type": "ir",
        "dw_kernel_size": settings["kernel"],
        "exp_ratio": settings["expand"],
    }
    if settings["se"]:
        inner = divisible(settings["expand"] * width, 8)
        made["se_ratio"] = max(1, round(settings["se"] * width)) / inner
    return made


def _conv(settings: Mapping[str, Any], width: int) -> dict[str, Any]:
    groups = settings["groups"]
    return {
        "block_type": "cn",
        "kernel_size": settings["kernel"],
        **({"group_size": width // groups} if groups > 1 else {}),
    }


FORMS = {"separable": _separable, "inverted": _inverted, "conv": _conv}


def _read_head(net: Reading, stem: Stage, last: Stage, head: Stage) -> int:
    """Returns the channels before the classifier.

    The head activates as the stem does. Without a hidden layer that must not change the means of
    the last map.
    """
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    net.covered(head, "hidden")
    act = net.value(stem, "act")
    if hidden := net.value(head, "hidden"):
        net.fixed(head, "hidden_act", act)
        net.value(head, "hidden_norm")
        return int(hidden)
    net.covered(head, "hidden_act", "hidden_norm")
    made = _last_act(net.layers[last.name])
    net.need(
        act == "none" or made in KEPT.get(act, ()),
        f"the head activates the pooled features by {act}, as {stem.name} does, and so changes "
        f"those behind {made or 'no activation'}: write {head.name}.hidden: N with hidden_act: "
        f"{act}, or let {stem.name} and the last layer activate by relu",
    )
    return net.output(last).shape[0]


def _last_act(layer: Layer) -> str:
    """Returns the activation that a stage ends in, if it does."""
    while layer.graph is not None:
        layer = _maker(layer.graph)
    return str(layer.settings["function"]) if layer.kind == "act" else ""


def _maker(graph: Graph) -> Layer:
    """Returns the layer that puts out what a graph puts out."""
    value = graph.outputs[0] - len(graph.inputs)
    for layer in graph.layers:
        value -= len(layer.outputs)
        if value < 0:
            return layer
    raise AssertionError("a graph puts out what a layer of it made")
