"""Symbolic tensors and the graph they leave behind.

A block is run once on symbolic tensors. Each layer function it calls appends a `Layer` to the
`Graph` under construction and returns a new symbolic tensor. Shapes are physical and without the
batch axis. A sub-block called under a name becomes one `Layer` that holds a `Graph` of its own, so
the graph is a tree whose names are the keys of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar, TypeVar, cast

from flopwise.errors import BlockError

__all__ = [
    "Graph",
    "Heads",
    "Layer",
    "Map",
    "MapLast",
    "Parameter",
    "Tensor",
    "Tokens",
    "Trace",
    "Type",
    "Vec",
    "describe",
    "symbol",
]

T = TypeVar("T", bound="Tensor")


@dataclass(frozen=True, slots=True)
class Type:
    """What flows along an edge.

    Attributes:
        kind: `map` (C, H, W), `map_last` (H, W, C), `tokens` (L, C), `vec` (C,),
            `heads` (heads, L, d) or `table` (a learned parameter of any shape).
        shape: The physical shape without the batch axis.
        extra: Tokens: how many leading tokens are no patches (class token).
        grid: Tokens: height and width of the patch grid, if they still lie on one.
    """

    kind: str
    shape: tuple[int, ...]
    extra: int = 0
    grid: tuple[int, int] | None = None


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
    """

    title: str
    doc: str
    inputs: tuple[Type, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    init: str = "torch"
    head: bool = False

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
    def types(self) -> tuple[Type, ...]:
        """The type of every value, by id."""
        return self.inputs + tuple(out for layer in self.layers for out in layer.outputs)

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
        tables = [layer for layer in self.layers if layer.kind == "parameter"]
        found = {f"{prefix}{layer.name}": layer.parameters[0].shape for layer in tables}
        for layer in self.layers:
            path = f"{prefix}{layer.name}."
            if layer.graph:
                found |= layer.graph.keys(path)
            elif layer.kind != "parameter":
                entries = layer.parameters + layer.buffers
                found |= {f"{path}{entry.name}": entry.shape for entry in entries}
        return found

    def flat(self) -> Graph:
        """Returns the same graph with every inner graph spliced in, names dropped."""
        layers: list[Layer] = []
        count = len(self.inputs)

        def splice(graph: Graph, values: list[int]) -> list[int]:
            nonlocal count
            for layer in graph.layers:
                reads = tuple(values[index] for index in layer.inputs)
                if layer.graph:
                    values += splice(layer.graph, list(reads))
                else:
                    layers.append(_renamed(layer, reads))
                    values += range(count, count + len(layer.outputs))
                    count += len(layer.outputs)
            return [values[index] for index in graph.outputs]

        outputs = splice(self, list(range(count)))
        return Graph(self.title, self.doc, self.inputs, tuple(layers), tuple(outputs))


def _renamed(layer: Layer, reads: tuple[int, ...]) -> Layer:
    return Layer(
        kind=layer.kind,
        inputs=reads,
        outputs=layer.outputs,
        settings=layer.settings,
        parameters=layer.parameters,
        buffers=layer.buffers,
        macs=layer.macs,
        activations=layer.activations,
        init=layer.init,
    )


class Trace:
    """A graph under construction."""

    def __init__(self) -> None:
        self._inputs: list[Type] = []
        self._layers: list[Layer] = []
        self._count = 0
        self._names: set[str] = set()

    def input(self, type: Type) -> Tensor:
        """Adds an input of the graph; all inputs come before the first layer."""
        assert not self._layers, "inputs come before layers"
        self._inputs.append(type)
        self._count += 1
        return symbol(type, self, self._count - 1)

    def append(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Type],
        *,
        name: str = "",
        parameters: Sequence[Parameter] = (),
        buffers: Sequence[Parameter] = (),
        macs: int = 0,
        activations: int = 0,
        init: float | str = "",
        graph: Graph | None = None,
        **settings: Any,
    ) -> tuple[Tensor, ...]:
        """Adds one layer and returns its outputs."""
        if name and name in self._names:
            raise BlockError("E311", f"two layers are called '{name}' in one block")
        self._names.add(name)
        self._layers.append(
            Layer(
                kind=kind,
                name=name,
                inputs=tuple(tensor.index for tensor in inputs),
                outputs=tuple(outputs),
                settings=settings,
                parameters=tuple(parameters),
                buffers=tuple(buffers),
                macs=macs,
                activations=activations,
                init=init,
                graph=graph,
            )
        )
        first = self._count
        self._count += len(outputs)
        return tuple(symbol(out, self, first + i) for i, out in enumerate(outputs))

    def close(
        self,
        *outputs: Tensor,
        title: str = "",
        doc: str = "",
        init: str = "torch",
        head: bool = False,
    ) -> Graph:
        """Returns the finished graph."""
        return Graph(
            title=title,
            doc=doc,
            inputs=tuple(self._inputs),
            layers=tuple(self._layers),
            outputs=tuple(tensor.index for tensor in outputs),
            init=init,
            head=head,
        )


class Tensor:
    """A symbolic tensor: a value of a graph under construction.

    `+` and `*` are element-wise layers; sizes of 1 broadcast in products only.
    """

    __slots__ = ("index", "trace", "type")
    kind: ClassVar[str] = "table"

    def __init__(self, type: Type, trace: Trace, index: int) -> None:
        self.type, self.trace, self.index = type, trace, index

    @property
    def shape(self) -> tuple[int, ...]:
        """The physical shape without the batch axis."""
        return self.type.shape

    @property
    def channels(self) -> int:
        """The number of features of each position."""
        return self.type.shape[-1]

    def __add__(self: T, other: Tensor) -> T:
        if self.shape != other.shape and other.kind != "table":
            raise BlockError(
                "E301",
                f"cannot add {describe(self.type)} and {describe(other.type)}",
                notes=("add needs equal shapes",),
            )
        return cast(T, self.trace.append("add", [self, other], [self.type])[0])

    def __mul__(self: T, other: Tensor) -> T:
        return cast(T, self.trace.append("mul", [self, other], [self.type])[0])


class Map(Tensor):
    """A feature map: channels, height, width."""

    kind = "map"

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.type.shape[0]

    @property
    def height(self) -> int:
        """Rows of the map."""
        return self.type.shape[1]

    @property
    def width(self) -> int:
        """Columns of the map."""
        return self.type.shape[2]


class MapLast(Tensor):
    """A feature map with its channels last: height, width, channels."""

    kind = "map_last"


class Tokens(Tensor):
    """A sequence of tokens: length, channels; the grid of the patches is remembered."""

    kind = "tokens"

    @property
    def length(self) -> int:
        """The number of tokens, class tokens included."""
        return self.type.shape[0]

    @property
    def extra(self) -> int:
        """The number of leading tokens that are no patches."""
        return self.type.extra

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width of the patch grid, if the tokens still lie on one."""
        return self.type.grid


class Vec(Tensor):
    """One feature vector per image."""

    kind = "vec"


class Heads(Tensor):
    """Queries, keys or values: heads, length, channels of a head."""

    kind = "heads"


_KINDS: dict[str, type[Tensor]] = {
    cls.kind: cls for cls in (Tensor, Map, MapLast, Tokens, Vec, Heads)
}


def symbol(type: Type, trace: Trace, index: int) -> Tensor:
    """Returns the symbolic tensor for value `index` of a trace."""
    return _KINDS[type.kind](type, trace, index)


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
