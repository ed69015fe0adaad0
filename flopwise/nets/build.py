"""Graph -> module: generates the source, runs it, and returns the network it defines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import accumulate
from typing import Any

import torch

from flopwise.blocks.graph import Graph, Layer, Type
from flopwise.blocks.reach import collapse
from flopwise.dsl import Network as Design
from flopwise.nets.grids import base_of, grids_of
from flopwise.nets.inline import inline, name_maps
from flopwise.nets.loading import load_source
from flopwise.nets.runtime import Network
from flopwise.nets.source import class_name, first_norm, network_source

__all__ = ["build", "source"]

PLAIN = ("resnet", "densenet", "mobile", "ghost", "mbconv")
"""Families whose stems and heads are plain convolutions."""


def source(network: Design | Graph) -> str:
    """Returns the PyTorch source of a network, the very text that `build` runs."""
    graph = name_maps(inline(collapse(network if isinstance(network, Graph) else network.graph)))
    grids = grids_of(graph)
    return network_source(graph, facts=_facts(graph, grids), base=base_of(graph, grids))


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
        **options: `num_classes`, `in_chans`, `global_pool`, `drop_rate`, `drop_path_rate`, `dtype`;
            `img_size` if the network belongs to one size of images.

    Raises:
        TypeError: The network knows no such option.
        ValueError: It has no such pooling, or its grids do not fit such images.
    """
    graph = network if isinstance(network, Graph) else network.graph
    made = load_source(source(graph), graph.title).__dict__[class_name(graph.title)]
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        with torch.device(device) if device else nullcontext():
            model = made(**options)
    assert isinstance(model, Network)
    return model


def _facts(graph: Graph, grids: dict[str, tuple[int, int]] | None) -> dict[str, Any]:
    """What the generated class says about itself, for timm's contract."""
    leaves = list(graph.walk())
    head = graph.classifier
    ends = head.graph.layers[-1] if head and head.graph else None
    before = ends.settings["channels"] if ends else 0
    out = graph.types[head.inputs[0] if head else graph.outputs[0]]
    width = out.shape[0] if out.kind in ("map", "vec") else (0, *out.shape)[-1]
    tokens = any(layer.kind == "take_token" for _, layer in leaves)
    convs = (path for path, layer in leaves if layer.kind in ("conv", "std_conv"))
    first = first_norm(head.graph) if head and head.graph else None
    private = {
        "FIRST_CONV": next(convs, ""),
        "CLASSIFIER": leaves[-1][0] if ends else "",
        "NORM": f"{head.name}.{first.name}" if head and first else "",
        "POOL": "token" if tokens else "",
        "PREFIX": out.extra,
        "NO_DECAY": _no_decay(leaves),
        "DROP_PATHS": _drop_shares(graph),
        "GRIDS": grids,
    }
    return {
        "input_size": graph.inputs[0].shape,
        "num_features": width,
        **({"head_hidden_size": before} if before not in (0, width) else {}),
        "feature_info": _features(graph),
        **{key: value for key, value in private.items() if value},
        "STARTS": _starts(graph),
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


def _starts(graph: Graph) -> dict[str, str]:
    """The initialisation rule of each step, and of the steps inside blocks that have none.

    A head starts by the rule of what it stands on, and a plain convolution by that of the first
    convolutional family in the network. Numbers of repetitions are left out of names.
    """
    found: dict[str, str] = {}
    family = "torch"
    plain = next((rule for rule in _inits(graph) if rule in PLAIN), "resnet")
    waiting = [("", layer) for layer in reversed(graph.layers)]
    while waiting:
        path, layer = waiting.pop()
        if layer.kind == "to_map" and not path:
            found[layer.name] = "torch"
        if layer.graph is None or not layer.graph.init:
            continue
        name = path if layer.name.isdigit() else f"{path}.{layer.name}".strip(".")
        rule = {"head": family, "conv": plain}.get(layer.graph.init, layer.graph.init)
        if rule == "torch":
            waiting += [(name, inner) for inner in reversed(layer.graph.layers)]
        if rule != "torch" or not path:
            found.setdefault(name, rule)
        family = family if rule == "torch" else rule
    return found


def _inits(graph: Graph) -> Iterator[str]:
    """Yields the rule of every graph inside, in order."""
    for layer in graph.layers:
        if layer.graph:
            yield layer.graph.init
            yield from _inits(layer.graph)


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
    """Channels, reduction and module of every level that timm's `features_only` may take.

    These are the network's features; if it names none, every stage that puts out a map, and every
    block on a grid of tokens. timm wants them from large to small, so a decoder has none.
    """
    shape = graph.inputs[0].shape
    height = shape[1] if len(shape) > 1 else 1
    makers = [None] * len(graph.inputs) + [layer for layer in graph.layers for _ in layer.outputs]
    named = [makers[index] for index in graph.features]
    found = []
    for layer in named or [layer for layer in graph.layers if layer.kind == "stage"]:
        if layer is None or len(layer.outputs) > 1:
            continue
        places = list(_places(layer))[-1 if named else 0 :]
        found += [_level(out, height) | {"module": place} for place, out in places]
    if named:
        return sorted(found, key=lambda level: level["reduction"])
    steps = accumulate((level["reduction"] for level in found), max)
    return [level for level, step in zip(found, steps, strict=True) if level["reduction"] == step]


def _places(layer: Layer) -> Iterator[tuple[str, Type]]:
    """Yields the modules at which the output of a step may be taken, and what they put out."""
    out = layer.outputs[0]
    if out.kind == "map":
        yield layer.name, out
    elif out.grid and layer.graph and layer.kind == "stage":
        blocks = (inner for inner in layer.graph.layers if inner.name.isdigit())
        yield from ((f"{layer.name}.{each.name}", each.outputs[0]) for each in blocks)
    elif out.grid:
        yield layer.name, out


def _level(out: Type, height: int) -> dict[str, int]:
    channels, rows = (out.shape[0], out.shape[1]) if out.kind == "map" else (out.shape[-1], 0)
    step = height // (rows or (out.grid or (1, 1))[0])
    return {"num_chs": channels, "reduction": step, **({"prefix": out.extra} if out.extra else {})}
