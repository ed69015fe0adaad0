"""What flows between the steps of a network, and what one of them adds to its costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from flopwise.blocks import Graph, Type, depends, prune

__all__ = ["Edge", "Edges", "Spent", "Unsteady", "looked", "times", "told"]


class Unsteady(Exception):  # noqa: N818 - no error, but the reason why there are no steps
    """Why what a step costs cannot be told from its own inputs."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A value between steps: its type, and whether it depends on the images."""

    type: Type
    alive: bool


Edges: TypeAlias = Mapping[str, Edge]
"""What is read, by a stage's id or `id.output`, to what it is."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a step adds to a network.

    Attributes:
        macs: Multiply-adds.
        params: Learned numbers.
        activations: Elements put out by the layers that have MACs.
        depth: Repetitions, of blocks that can be repeated.
        blocks: Inner graphs.
    """

    macs: int = 0
    params: int = 0
    activations: int = 0
    depth: int = 0
    blocks: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.macs + other.macs,
            self.params + other.params,
            self.activations + other.activations,
            self.depth + other.depth,
            self.blocks + other.blocks,
        )


def times(one: Spent, count: int) -> Spent:
    """Returns what several of the same cost."""
    numbers = (one.macs, one.params, one.activations, one.depth, one.blocks)
    return Spent(*(count * number for number in numbers))


Depends: TypeAlias = tuple[frozenset[int], ...]


@lru_cache(maxsize=1 << 16)
def looked(graph: Graph) -> tuple[tuple[Type, ...], frozenset[int], Depends, Spent]:
    """Returns the types a graph gives, the inputs it reads, what each depends on, and its costs.

    Facts that change no cost are forgotten.
    """
    kept = prune(graph)
    read = {index for layer in kept.layers for index in layer.inputs} | {*kept.outputs}
    types = tuple(replace(kept.types[index], variance=1.0) for index in kept.outputs)
    spent = Spent(kept.macs, kept.params, kept.activations, 0, kept.blocks)
    return types, frozenset(read & {*range(len(kept.inputs))}), depends(kept), spent


def told(graph: Graph) -> tuple[tuple[Type, ...], Depends, Spent]:
    """Returns the types a graph gives, which inputs each depends on, and what it costs.

    Raises:
        Unsteady: It does not need all it reads, so what is before it would cost less.
    """
    types, read, alive, spent = looked(graph)
    if len(read) < len(graph.inputs):
        raise Unsteady("at some picks a stage does not need all it reads")
    return types, alive, spent
