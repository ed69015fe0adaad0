"""A concrete network: stages with their numbers, the traced graph, and the identity of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flopwise.blocks import Block, Graph, Layer
from flopwise.dsl.expr import Value
from flopwise.dsl.files import VERSION

__all__ = ["Input", "Network", "Stage"]


@dataclass(frozen=True, slots=True)
class Input:
    """The images: height and width in pixels, and channels."""

    size: tuple[int, int]
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a network.

    Attributes:
        name: Its id in the spec.
        block: What it repeats.
        depth: How often.
        settings: Every setting of the block, one mapping per repetition.
        inputs: The stages it reads, `input` being the images.
    """

    name: str
    block: Block
    depth: int
    settings: tuple[Mapping[str, Any], ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network with nothing left open.

    Attributes:
        name: The spec's name.
        input: The images it takes.
        classes: The classes it tells apart.
        stages: Its stages in the order of the spec.
        graph: Its layers, traced.
        values: What every variable is worth.
    """

    name: str
    input: Input
    classes: int
    stages: tuple[Stage, ...]
    graph: Graph
    values: Mapping[str, Value]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the layer graph: equal for the same network, whatever its names.

        The layers with their settings and ordered inputs, the input's shape, the classes and the
        version of the language enter it. Names, loss-free converters, initial values, rates and
        the recipe do not.
        """
        content = {
            "spec": VERSION,
            "input": [self.input.channels, *self.input.size],
            "classes": self.classes,
            "layers": list(_canonical(self.graph.flat())),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def depth_total(self) -> int:
        """Repetitions of all stages whose block can be repeated."""
        return sum(stage.depth for stage in self.stages if not stage.block.once)


def _canonical(graph: Graph) -> Iterator[list[Any]]:
    """Yields the layers in an order that depends on the wiring alone, numbered in that order.

    A depth-first walk from the output over ordered inputs; what stands twice in the graph stays
    two layers, and what is shared stays shared.
    """
    makers, aliases = _makers(graph)
    numbers: dict[int, str] = {value: f"in{value}" for value in range(len(graph.inputs))}
    stack = [(aliases[value], False) for value in reversed(graph.outputs)]
    done = 0
    while stack:
        value, ready = stack.pop()
        if value in numbers:
            continue
        layer, first = makers[value]
        inputs = [aliases[index] for index in layer.inputs]
        if not ready:
            stack.append((value, True))
            stack += [(index, False) for index in reversed(inputs) if index not in numbers]
            continue
        for offset in range(len(layer.outputs)):
            numbers[first + offset] = f"{done}.{offset}"
        done += 1
        yield [layer.kind, dict(layer.settings), [numbers[index] for index in inputs]]


def _makers(graph: Graph) -> tuple[dict[int, tuple[Layer, int]], list[int]]:
    """Returns who makes each value, and the value each one is once converters are left out."""
    makers: dict[int, tuple[Layer, int]] = {}
    aliases = list(range(len(graph.inputs)))
    for layer in graph.layers:
        first = len(aliases)
        if _converts(layer):
            aliases.append(aliases[layer.inputs[0]])
            continue
        for value in range(first, first + len(layer.outputs)):
            makers[value] = (layer, first)
            aliases.append(value)
    return makers, aliases


def _converts(layer: Layer) -> bool:
    """Whether a layer only looks at the same numbers in another shape."""
    return layer.kind == "to_tokens" or (layer.kind == "to_map" and not layer.settings["extra"])
