"""What flows between the steps of a network, and what one of them adds to its costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from flopwise.blocks import Graph, Type, depends, prune

__all__ = ["Edge", "Edges", "Spent", "Unsteady", "times", "told"]


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


@lru_cache(maxsize=1 << 16)
def told(graph: Graph) -> tuple[tuple[Type, ...], tuple[frozenset[int], ...], Spent]:
    """Returns the types a graph gives, which inputs each depends on, and what it costs.

    Facts that change no cost are forgotten.

    Raises:
        Unsteady: It does not need all it reads, so what is before it would cost less.
    """
    kept = prune(graph)
    read = {index for layer in kept.layers for index in layer.inputs} | {*kept.outputs}
    if not read.issuperset(range(len(kept.inputs))):
        raise Unsteady("at some picks a stage does not need all it reads")
    types = tuple(replace(kept.types[index], variance=1.0) for index in kept.outputs)
    spent = Spent(kept.macs, kept.params, kept.activations, 0, kept.blocks)
    return types, depends(kept), spent
