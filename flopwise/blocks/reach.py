"""What of a graph is reached: the layers its results need, and the inputs they depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from flopwise.blocks.graph import Graph, Layer

__all__ = ["collapse", "depends", "prune"]

MEMO = 4096


@dataclass(frozen=True, slots=True)
class _Kept:
    """A layer that stays: what it was, what it is now, and which of its outputs it still has."""

    was: Layer
    layer: Layer
    places: tuple[int, ...]


def prune(graph: Graph) -> Graph:
    """Returns a network without the layers, inside its stages too, that no result needs.

    Its inputs stay; stages lose the inputs and outputs that nothing reads.
    """
    _, kept = _needed(graph, (*graph.outputs, *graph.features))
    if _whole(graph, kept):
        return graph
    layers, number = _renumbered(graph, kept, range(len(graph.inputs)))
    outputs, features = (
        tuple(number[index] for index in ends) for ends in (graph.outputs, graph.features)
    )
    return replace(graph, layers=layers, outputs=outputs, features=features)


def collapse(graph: Graph) -> Graph:
    """Returns a graph without the steps that only hand on what they read, inner ones included."""
    number = list(range(len(graph.inputs)))
    layers: list[Layer] = []
    count = len(number)
    for layer in graph.layers:
        inner = _collapsed(layer.graph) if layer.graph else None
        reads = tuple(number[index] for index in layer.inputs)
        if inner is not None and not inner.layers:
            number += [reads[index] for index in inner.outputs]
            continue
        same = inner is layer.graph and reads == layer.inputs
        layers.append(layer if same else replace(layer, graph=inner, inputs=reads))
        number += range(count, count + len(layer.outputs))
        count += len(layer.outputs)
    if tuple(map(id, layers)) == tuple(map(id, graph.layers)):
        return graph
    outputs, features = (
        tuple(number[index] for index in ends) for ends in (graph.outputs, graph.features)
    )
    return replace(graph, layers=tuple(layers), outputs=outputs, features=features)


@lru_cache(maxsize=MEMO)
def _collapsed(graph: Graph) -> Graph:
    return collapse(graph)


def depends(graph: Graph) -> tuple[frozenset[int], ...]:
    """Returns for every result of a graph the positions of the inputs it depends on."""
    values = [frozenset({index}) for index in range(len(graph.inputs))]
    for layer in graph.layers:
        reads = [values[index] for index in layer.inputs]
        if layer.graph:
            inside = _inside(layer.graph)
            values += [frozenset().union(*(reads[at] for at in each)) for each in inside]
        else:
            known = [] if layer.kind == "zero" else reads
            values += [frozenset[int]().union(*known)] * len(layer.outputs)
    return tuple(values[index] for index in (*graph.outputs, *graph.features))


@lru_cache(maxsize=MEMO)
def _inside(graph: Graph) -> tuple[frozenset[int], ...]:
    return depends(graph)


@lru_cache(maxsize=MEMO)
def _part(graph: Graph, wanted: tuple[int, ...]) -> tuple[Graph, tuple[int, ...]]:
    """Returns what some outputs of an inner graph need of it, and which inputs that reads."""
    ends = [graph.outputs[place] for place in wanted]
    needed, kept = _needed(graph, ends)
    used = tuple(index for index in range(len(graph.inputs)) if index in needed)
    if len(used) == len(graph.inputs) and ends == list(graph.outputs) and _whole(graph, kept):
        return graph, used
    layers, number = _renumbered(graph, kept, used)
    outputs = tuple(number[index] for index in ends)
    inputs = tuple(graph.inputs[index] for index in used)
    return replace(graph, inputs=inputs, layers=layers, outputs=outputs), used


def _needed(graph: Graph, ends: Iterable[int]) -> tuple[set[int], list[_Kept]]:
    """Walks back from some values; returns all they need, and the layers that make it."""
    needed, kept = set(ends), []
    first = len(graph.types)
    for layer in reversed(graph.layers):
        count = len(layer.outputs)
        first -= count
        wanted = tuple(at for at in range(count) if first + at in needed)
        if not wanted:
            continue
        trimmed = layer
        if layer.graph:
            inner, used = _part(layer.graph, wanted)
            if inner is not layer.graph:
                trimmed = _trimmed(layer, inner, used)
        kept.append(_Kept(layer, trimmed, wanted if layer.graph else tuple(range(count))))
        needed.update(trimmed.inputs)
    return needed, kept[::-1]


def _trimmed(layer: Layer, inner: Graph, used: Sequence[int]) -> Layer:
    return replace(
        layer,
        inputs=tuple(layer.inputs[at] for at in used),
        outputs=tuple(inner.types[index] for index in inner.outputs),
        graph=inner,
        macs=inner.macs,
        activations=inner.activations,
    )


def _whole(graph: Graph, kept: Sequence[_Kept]) -> bool:
    return len(kept) == len(graph.layers) and all(each.was is each.layer for each in kept)


def _renumbered(
    graph: Graph, kept: Sequence[_Kept], inputs: Sequence[int]
) -> tuple[tuple[Layer, ...], dict[int, int]]:
    """Returns the layers that stay, reading by new ids, and the new id of each old one."""
    number = {old: new for new, old in enumerate(inputs)}
    starts = {}
    first = len(graph.inputs)
    for layer in graph.layers:
        starts[id(layer)] = first
        first += len(layer.outputs)
    layers = []
    for each in kept:
        for place in each.places:
            number[starts[id(each.was)] + place] = len(number)
        reads = tuple(number[index] for index in each.layer.inputs)
        layers.append(replace(each.layer, inputs=reads))
    return tuple(layers), number
