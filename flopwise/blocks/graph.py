"""The graph a block leaves behind: a tree of layers whose names are the keys of the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

__all__ = ["TABLES", "Graph", "Layer", "Parameter", "Type", "describe"]

TABLES = ("parameter", "fixed")
"""The kinds of layers that are a tensor of their block and no module; torch lists them so."""


@dataclass(frozen=True, slots=True)
class Type:
    """What flows along an edge.

    Attributes:
        kind: `map` (C, H, W), `map_last` (H, W, C), `tokens` (L, C), `vec` (C,),
            `heads` (heads, L, d), `windows` (windows, N, C) or `table` (a parameter of any shape).
        shape: The physical shape without the batch axis.
        extra: Tokens: how many leading tokens are no patches (class token).
        grid: Tokens: height and width of the patch grid, if they still lie on one.
        absent: Whether it is what `zero` leaves: an edge that is not there.
        variance: What the values are expected to vary by at the start, where a block keeps track
            of it (NFNet); it changes no shape and no cost.
    """

    kind: str
    shape: tuple[int, ...]
    extra: int = 0
    grid: tuple[int, int] | None = None
    absent: bool = False
    variance: float = 1.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """A learned tensor of a layer, or a buffer that is part of the checkpoint."""

    name: str
    shape: tuple[int, ...]
    decay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One step of a graph: a layer kind with its numbers, or a named graph of its own.

    Attributes:
        kind: Name of the layer kind, or `block` / `stage` when `graph` is set.
        name: The attribute and checkpoint name; empty for steps without a module.
        inputs: Ids of the values it reads: the graph's inputs first, then all outputs in order.
        outputs: What it yields.
        settings: The numbers that make this layer this layer; they enter the hash.
        parameters: Learned tensors.
        buffers: Tensors of the checkpoint that are not learned.
        macs: Multiply-accumulates for one image: convolutions, linears, attention products.
        activations: Elements of the outputs of the layers that have MACs.
        init: Initialisation that differs from the family's rule; no part of the hash.
        graph: The inside of a `block` or `stage`.
    """

    kind: str
    name: str = ""
    inputs: tuple[int, ...]
    outputs: tuple[Type, ...]
    settings: Mapping[str, Any]
    parameters: tuple[Parameter, ...] = ()
    buffers: tuple[Parameter, ...] = ()
    macs: int = 0
    activations: int = 0
    init: float | str = ""
    graph: Graph | None = None

    @property
    def params(self) -> int:
        """Elements of all learned tensors, as torch counts them."""
        inside = self.graph.params if self.graph else 0
        return inside + sum(prod(parameter.shape) for parameter in self.parameters)


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced function: static single assignment over value ids, inputs first.

    Attributes:
        title: Name of what was traced; the generated class is named after it.
        doc: Its docstring.
        inputs: Types of the values 0, 1, ...
        layers: Steps in order; the outputs of each get the next free ids.
        outputs: Ids of the results.
        init: Name of the family's initialisation rule for the layers inside.
        head: Whether the last layer is the classifier that a user may replace.
        features: Ids of further results of a network, which timm may take as features.
    """

    title: str
    doc: str
    inputs: tuple[Type, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    init: str = "torch"
    head: bool = False
    features: tuple[int, ...] = ()

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates for one image (convolution, linear, attention products)."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def params(self) -> int:
        """Elements of all learned tensors."""
        return sum(layer.params for layer in self.layers)

    @cached_property
    def activations(self) -> int:
        """Elements of the outputs of all convolutions, linears and matrix products."""
        return sum(layer.activations for layer in self.layers)

    @cached_property
    def blocks(self) -> int:
        """How many inner graphs there are, those inside them included."""
        return sum(1 + layer.graph.blocks for layer in self.layers if layer.graph)

    @cached_property
    def types(self) -> tuple[Type, ...]:
        """The type of every value, by id."""
        return self.inputs + tuple(out for layer in self.layers for out in layer.outputs)

    @property
    def classifier(self) -> Layer | None:
        """The last layer of a network, if it is a head and what the network puts out."""
        last = self.layers[-1] if self.layers else None
        head = last is not None and last.graph is not None and last.graph.head
        return last if head and self.outputs[0] == len(self.types) - 1 else None

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yields every leaf layer with its dotted name, in order of execution."""
        for layer in self.layers:
            path = f"{prefix}.{layer.name}".strip(".")
            if layer.graph:
                yield from layer.graph.walk(path)
            else:
                yield path, layer

    def keys(self, prefix: str = "") -> dict[str, tuple[int, ...]]:
        """Returns the shape of every checkpoint key, in the order of torch's state dict."""
        tables = [layer for kind in TABLES for layer in self.layers if layer.kind == kind]
        found = {f"{prefix}{layer.name}": layer.outputs[0].shape for layer in tables}
        for layer in self.layers:
            path = f"{prefix}{layer.name}."
            if layer.graph:
                found |= layer.graph.keys(path)
            elif layer.kind not in TABLES:
                entries = layer.parameters + layer.buffers
                found |= {f"{path}{entry.name}": entry.shape for entry in entries}
        return found

    def flat(self) -> Graph:
        """Returns the same graph with every inner graph spliced in, names dropped."""
        steps, outputs = self.steps()
        layers = tuple(replace(layer, name="", inputs=reads) for layer, reads in steps)
        return Graph(self.title, self.doc, self.inputs, layers, outputs)

    def steps(self) -> tuple[list[tuple[Layer, tuple[int, ...]]], tuple[int, ...]]:
        """Returns every leaf layer with the ids it reads in the flat graph, and the results'."""
        steps: list[tuple[Layer, tuple[int, ...]]] = []
        count = len(self.inputs)

        def splice(graph: Graph, values: list[int]) -> list[int]:
            nonlocal count
            for layer in graph.layers:
                reads = [values[index] for index in layer.inputs]
                if layer.graph:
                    values += splice(layer.graph, reads)
                else:
                    steps.append((layer, tuple(reads)))
                    values += range(count, count + len(layer.outputs))
                    count += len(layer.outputs)
            return [values[index] for index in graph.outputs]

        return steps, tuple(splice(self, list(range(count))))


def describe(type: Type) -> str:
    """Says in words what flows along an edge.

    >>> describe(Type("map", (96, 56, 56)))
    'a map of 96 x 56 x 56'
    >>> describe(Type("tokens", (197, 384), extra=1))
    'tokens of 197 x 384 with a class token'
    """
    size = " x ".join(map(str, type.shape))
    words = {"map": "a map", "tokens": "tokens", "vec": "a vector", "map_last": "a map (H, W, C)"}
    tail = " with a class token" if type.extra else ""
    return f"{words.get(type.kind, 'a tensor')} of {size}{tail}"
