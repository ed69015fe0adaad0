"""A concrete network: stages with their numbers, the traced graph, and the identity of both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from flopwise.blocks import Block, Graph, Layer, Type
from flopwise.dsl.expr import Value
from flopwise.dsl.files import VERSION
from flopwise.dsl.paths import whole_of
from flopwise.dsl.wire import digraph

if TYPE_CHECKING:  # importing it takes 0.3 s, and only who asks for the graph needs it
    import networkx as nx

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
        version of the language enter it. Names, loss-free converters, initial values, rates, the
        recipe and which stages are called features do not.
        """
        from hashlib import sha256  # only where it is asked for: it brings OpenSSL

        channels, (height, width) = self.input.channels, self.input.size
        facts = f"spec {VERSION} input {channels} {height} {width} classes {self.classes}"
        text = "\n".join([facts, *_canonical(self.graph)])
        return sha256(text.encode()).hexdigest()

    def stage_graph(self) -> nx.DiGraph[str]:
        """Returns the graph of stages as networkx knows graphs, `input` being the images.

        A stage knows its `block`, `depth`, `shape`, `kind`, `macs` and `params`; an edge its
        `ports`, the places at which the reader takes what comes.
        """
        graph = digraph({stage.name: stage.inputs for stage in self.stages})
        layers = {layer.name: layer for layer in self.graph.layers}
        for stage in self.stages:
            layer, type = layers.get(stage.name), self.types[stage.name]
            graph.add_node(
                stage.name,
                block=stage.block.name,
                depth=stage.depth,
                shape=type.shape,
                kind=type.kind,
                macs=layer.macs if layer else 0,
                params=layer.params if layer else 0,
            )
        graph.add_node("input", shape=self.types["input"].shape, kind="map")
        return graph

    def value(self, path: str) -> Value | None:
        """Returns what a variable or a setting of a stage is worth; None where there is none."""
        if path in self.values:
            return self.values[path]
        whole, index = whole_of(path)
        _, name, key = whole.split(".")
        stage = next((each for each in self.stages if each.name == name), None)
        if key == "when":
            return stage is not None
        if stage is None or (index or 0) >= stage.depth:
            return None
        extra: Mapping[str, Value] = {"depth": stage.depth, "block": stage.block.name}
        return extra.get(key, stage.settings[index or 0].get(key))

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


def _canonical(graph: Graph) -> list[str]:
    """Returns a line per layer, in an order and with numbers that the wiring alone decides.

    A depth-first walk from the output over ordered inputs; what stands twice in the graph stays
    two layers, and what is shared stays shared. Layers that only features need come after, those
    whose lines sort first before the others.
    """
    made: list[_Made | None] = [None] * len(graph.inputs)
    values = list(range(len(graph.inputs)))
    outputs = _flatten(graph, values, made)
    numbers = {value: f"in{value}" for value in range(len(graph.inputs))}
    lines = list(_walk(outputs, made, numbers, 0))
    waiting = {values[index] for index in graph.features} - numbers.keys()
    while waiting:
        done = len(lines)
        walks = {end: list(_walk([end], made, dict(numbers), done)) for end in waiting}
        first = min(walks, key=lambda end: walks[end])
        lines += _walk([first], made, numbers, done)
        waiting -= numbers.keys()
    return lines


def _walk(
    ends: list[int], made: Sequence[_Made | None], numbers: dict[int, str], done: int
) -> Iterator[str]:
    """Yields the lines of all layers before some values, and numbers what these make.

    `done` is how many lines there are already.
    """
    stack = [(value, False) for value in reversed(ends)]
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
