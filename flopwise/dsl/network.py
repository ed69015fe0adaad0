"""A concrete network: stages with their numbers, the traced graph, and the identity of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from flopwise.blocks import Block, Graph, Layer, Type
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
        inputs: What it reads: the id of a stage, `id.output`, or `input` for the images.
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
        ends: What is read as its output, then its features.
        types: What each stage gives, by the id or `id.output` that reads it.
    """

    name: str
    input: Input
    classes: int
    stages: tuple[Stage, ...]
    graph: Graph
    values: Mapping[str, Value]
    ends: tuple[str, ...]
    types: Mapping[str, Type]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the layer graph: equal for the same network, whatever its names.

        The layers with their settings and ordered inputs, the input's shape, the classes and the
        version of the language enter it. Names, loss-free converters, initial values, rates and
        the recipe do not.
        """
        channels, (height, width) = self.input.channels, self.input.size
        facts = f"spec {VERSION} input {channels} {height} {width} classes {self.classes}"
        text = "\n".join([facts, *_canonical(self.graph)])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def depth_total(self) -> int:
        """Repetitions of all stages whose block can be repeated."""
        return sum(stage.depth for stage in self.stages if not stage.block.once)


@dataclass(frozen=True, slots=True)
class _Made:
    """A layer, the values it reads, and the first value it makes."""

    layer: Layer
    reads: tuple[int, ...]
    first: int


def _canonical(graph: Graph) -> Iterator[str]:
    """Yields a line per layer, in an order and with numbers that the wiring alone decides.

    A depth-first walk from the output over ordered inputs; what stands twice in the graph stays
    two layers, and what is shared stays shared.
    """
    made: list[_Made | None] = [None] * len(graph.inputs)
    outputs = _flatten(graph, list(range(len(graph.inputs))), made)
    numbers = {value: f"in{value}" for value in range(len(graph.inputs))}
    stack = [(value, False) for value in reversed(outputs)]
    done = 0
    while stack:
        value, ready = stack.pop()
        maker = made[value]
        if value in numbers or maker is None:
            continue
        if not ready:
            stack.append((value, True))
            stack += [(read, False) for read in reversed(maker.reads) if read not in numbers]
            continue
        for offset in range(len(maker.layer.outputs)):
            numbers[maker.first + offset] = f"{done}.{offset}"
        done += 1
        yield f"{_label(maker.layer)} {' '.join(numbers[read] for read in maker.reads)}"


def _flatten(graph: Graph, values: list[int], made: list[_Made | None]) -> list[int]:
    """Appends the leaf layers of a graph, converters left out, and returns its output values."""
    for layer in graph.layers:
        reads = tuple(values[index] for index in layer.inputs)
        if layer.graph:
            values += _flatten(layer.graph, list(reads), made)
        elif _converts(layer):
            values.append(reads[0])
        else:
            maker = _Made(layer, reads, len(made))
            values += range(len(made), len(made) + len(layer.outputs))
            made += [maker] * len(layer.outputs)
    return [values[index] for index in graph.outputs]


@lru_cache(maxsize=8192)
def _label(layer: Layer) -> str:
    """Spells what a layer is; layers are shared between networks, so this is done once for each."""
    return f"{layer.kind} {json.dumps(dict(layer.settings), sort_keys=True)}"


def _converts(layer: Layer) -> bool:
    """Whether a layer only looks at the same numbers in another shape."""
    return layer.kind == "to_tokens" or (layer.kind == "to_map" and not layer.settings["extra"])
