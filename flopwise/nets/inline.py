"""Steps without a module of their own: they are written where they are used."""

from __future__ import annotations

from dataclasses import replace

from flopwise.blocks.graph import Graph, Layer
from flopwise.nets.forms import FORMS

__all__ = ["inline"]


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


def _plain(graph: Graph) -> bool:
    """Whether nothing in a block needs a module or an attribute."""
    forms = [FORMS.get(layer.kind) for layer in graph.layers]
    return all(form and not (form.call or form.attributes) for form in forms)
