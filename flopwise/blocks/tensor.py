"""Symbolic tensors and the graph they leave behind.

A block is run once on symbolic tensors. Each layer function it calls appends a `Layer` to the
`Graph` under construction and returns a new symbolic tensor. Shapes are physical and without the
batch axis. A sub-block called under a name becomes one `Layer` that holds a `Graph` of its own, so
the graph is a tree whose names are the keys of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

from flopwise.blocks.graph import Graph, Layer, Parameter, Type, describe
from flopwise.errors import BlockError

__all__ = ["Heads", "Map", "MapLast", "Tensor", "Tokens", "Trace", "Vec", "Windows", "symbol"]

T = TypeVar("T", bound="Tensor")


class Trace:
    """A graph under construction."""

    def __init__(self) -> None:
        self._inputs: list[Type] = []
        self._layers: list[Layer] = []
        self._count = 0
        self._names: set[str] = set()
        self.blocks = 0  # inner graphs so far, those inside them included

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
        self.blocks += 1 + graph.blocks if graph else 0
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

    def note(self, tensor: T, **facts: Any) -> T:
        """Writes facts on the value made last; they travel with the tensor to other blocks."""
        assert tensor.index == self._count - 1, "facts are noted where a value is made"
        type = replace(tensor.type, **facts)
        layer = self._layers[-1]
        self._layers[-1] = replace(layer, outputs=(*layer.outputs[:-1], type))
        return cast(T, symbol(type, self, tensor.index))

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
                helps=_ways_to_equal(self.type, other.type),
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


class Windows(Tensor):
    """Windows of a map: windows, positions of a window, channels."""

    kind = "windows"


_KINDS: dict[str, type[Tensor]] = {
    cls.kind: cls for cls in (Tensor, Map, MapLast, Tokens, Vec, Heads, Windows)
}


def symbol(type: Type, trace: Trace, index: int) -> Tensor:
    """Returns the symbolic tensor for value `index` of a trace."""
    return _KINDS[type.kind](type, trace, index)


def _ways_to_equal(one: Type, other: Type) -> tuple[str, ...]:
    """Says how two shapes that differ can be made equal."""
    if one.kind != other.kind:
        return ()
    channels = 0 if one.kind == "map" else -1
    if one.shape[channels] == other.shape[channels]:
        return ("give both the same height and width: pool the larger one, or drop a stride",)
    block = "{block: conv, dim: %d, kernel: 1}" if one.kind == "map" else "{block: linear, dim: %d}"
    return (f"put {block % one.shape[channels]} on the second, or use block: concat",)
