"""Steps without a module of their own: written where they are used, or given a name."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count

from flopwise.blocks.graph import Graph, Layer
from flopwise.nets.forms import FORMS

__all__ = ["inline", "name_maps"]


def inline(graph: Graph) -> Graph:
    """Returns a network whose blocks of expressions alone, such as `concat`, are spliced in.

    Those whose output is a feature stay modules, which can be asked for it by name.
    """
    number = list(range(len(graph.inputs)))
    layers: list[Layer] = []
    old, new = len(number), len(number)
    for layer in graph.layers:
        reads = [number[index] for index in layer.inputs]
        ids = range(old, old + len(layer.outputs))
        old += len(layer.outputs)
        if layer.graph is None or not _plain(layer.graph) or set(ids) & {*graph.features}:
            layers.append(replace(layer, inputs=tuple(reads)))
            number += range(new, new + len(layer.outputs))
            new += len(layer.outputs)
            continue
        for inner in layer.graph.layers:
            layers.append(replace(inner, inputs=tuple(reads[index] for index in inner.inputs)))
            reads += range(new, new + len(inner.outputs))
            new += len(inner.outputs)
        number += [reads[index] for index in layer.graph.outputs]
    outputs, features = (
        tuple(number[index] for index in ends) for ends in (graph.outputs, graph.features)
    )
    return replace(graph, layers=tuple(layers), outputs=outputs, features=features)


def name_maps(graph: Graph) -> Graph:
    """Returns a graph in which the steps that lay tokens out as a map have names.

    Their modules keep the grid, which follows from the size of the images.
    """
    taken = {layer.name for layer in graph.layers}
    numbered = chain(["map"], (f"map{number}" for number in count(2)))
    words = (word for word in numbered if word not in taken)
    layers = []
    for layer in graph.layers:
        if layer.graph:
            layer = replace(layer, graph=name_maps(layer.graph))
        elif layer.kind == "to_map":
            layer = replace(layer, name=next(words))
        layers.append(layer)
    return replace(graph, layers=tuple(layers))


def _plain(graph: Graph) -> bool:
    """Whether nothing in a block needs a module or an attribute."""
    forms = [FORMS.get(layer.kind) for layer in graph.layers]
    return all(form and not (form.call or form.attributes) for form in forms)
