"""Graph -> module: generates the source, runs it, and returns the network it defines."""

from __future__ import annotations

from typing import Any

import torch

from flopwise.blocks.graph import Graph, Layer
from flopwise.dsl import Network as Design
from flopwise.nets.runtime import Network, load_source
from flopwise.nets.source import class_name, network_source

__all__ = ["build", "source"]

PLAIN = ("resnet", "densenet", "mobile", "ghost")
"""Families whose stems and heads are plain convolutions."""


def source(network: Design | Graph) -> str:
    """Returns the PyTorch source of a network, the very text that `build` runs."""
    graph = network if isinstance(network, Graph) else network.graph
    return network_source(graph, facts=_facts(graph))


def build(
    network: Design | Graph,
    *,
    seed: int | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> Network:
    """Returns the module of a network, initialised.

    Args:
        network: A network or its graph.
        seed: Seed of the weights; the global generator is left as it was. None draws from it.
        device: Where it is built; `meta` allocates nothing.
        **options: `num_classes`, `in_chans`, `drop_rate`, `drop_path_rate`.
    """
    graph = network if isinstance(network, Graph) else network.graph
    made = load_source(source(graph), graph.title).__dict__[class_name(graph.title)]
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        with torch.device(device or "cpu"):
            model = made(**options)
    assert isinstance(model, Network)
    return model


def _facts(graph: Graph) -> dict[str, Any]:
    """What the generated class says about itself, for timm's contract."""
    leaves = list(graph.walk())
    head = graph.layers[-1].graph
    ends = head.layers[-1] if head and head.head else None
    before = ends.settings["channels"] if ends else 0
    out = graph.types[graph.layers[-1].inputs[0] if ends else graph.outputs[0]]
    width = out.shape[0] if out.kind in ("map", "vec") else (0, *out.shape)[-1]
    tokens = any(layer.kind == "take_token" for _, layer in leaves)
    return {
        "input_size": graph.inputs[0].shape,
        "first_conv": next(
            (path for path, layer in leaves if layer.kind in ("conv", "std_conv")), ""
        ),
        "classifier": leaves[-1][0] if ends else "",
        "num_features": width,
        **({"head_hidden_size": before} if before not in (0, width) else {}),
        "pool": "token" if tokens else "avg",
        "feature_info": _features(graph),
        "no_decay": _no_decay(leaves),
        "rules": _rules(graph),
        **({"drop_paths": shares} if (shares := _drop_shares(graph)) else {}),
    }


def _no_decay(leaves: list[tuple[str, Layer]]) -> tuple[str, ...]:
    """Tables that carry no weight decay, by name; parameters of modules by `.` and their own."""
    names = [
        path if layer.kind == "parameter" else f".{learned.name}"
        for path, layer in leaves
        for learned in layer.parameters
        if not learned.decay and len(learned.shape) > 1
    ]
    return tuple(dict.fromkeys(names))


def _rules(graph: Graph) -> dict[str, str]:
    """The initialisation rule of each step.

    A head starts by the rule of what it stands on, and a plain convolution by that of the first
    convolutional family in the network.
    """
    found: dict[str, str] = {}
    family = "torch"
    inits = {layer.name: layer.graph.init for layer in graph.layers if layer.graph}
    plain = next((init for init in inits.values() if init in PLAIN), "resnet")
    for name, init in inits.items():
        init = plain if init == "conv" else init
        family = family if init in ("head", "torch") else init
        found[name] = family if init == "head" else init
    return found


def _drop_shares(graph: Graph) -> dict[str, float]:
    """Where stochastic depth is not linear to the last block: its share in each, by name.

    timm's MobileNets count every block, those without a shortcut too, and reach the full rate one
    block after the last.
    """
    blocks = [
        (f"{layer.name}.{inner.name}", inner.graph)
        for layer in graph.layers
        if layer.graph and layer.graph.init == "mobile"
        for inner in layer.graph.layers
        if inner.graph
    ]
    return {
        name: index / len(blocks)
        for index, (name, block) in enumerate(blocks)
        if any(leaf.kind == "drop_path" for leaf in block.layers)
    }


def _features(graph: Graph) -> list[dict[str, Any]]:
    """Channels, reduction and module of every level that timm's `features_only` may take."""
    shape = graph.inputs[0].shape
    height = shape[1] if len(shape) > 1 else 1
    found = []
    for layer in graph.layers:
        out = layer.outputs[0]
        if layer.kind != "stage" or layer.graph is None:
            continue
        if out.kind == "map":
            channels, rows, _ = out.shape
            found.append({"num_chs": channels, "reduction": height // rows, "module": layer.name})
        elif out.grid:
            blocks = [inner.name for inner in layer.graph.layers if inner.name.isdigit()]
            info = {"num_chs": out.shape[-1], "reduction": height // out.grid[0]}
            found += [info | {"module": f"{layer.name}.{name}"} for name in blocks]
    return found
