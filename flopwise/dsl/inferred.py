"""What follows from a spec without being written: the section `inferred` of its resolved form.

On reading it changes nothing, but what it says must be so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flopwise.blocks import Type
from flopwise.dsl.checker import Checker
from flopwise.dsl.flow import flow
from flopwise.dsl.network import Network, Stage
from flopwise.dsl.tree import Items, Node, Section

__all__ = ["check_inferred", "inferred"]


def inferred(network: Network) -> dict[str, Any]:
    """Returns costs, and what every stage puts out and costs."""
    graph = network.graph
    layers = {layer.name: layer for layer in graph.layers}
    stages = {}
    for stage in network.stages:
        layer = layers.get(stage.name)
        stages[stage.name] = _given(stage, network.types) | {
            "macs": layer.macs if layer else 0,
            "params": layer.params if layer else 0,
        }
    costs = {name: getattr(graph, name) for name in ("macs", "params", "activations")}
    return costs | {"stages": stages}


def _given(stage: Stage, types: Mapping[str, Type]) -> dict[str, Any]:
    """Returns kind and shape of what a stage gives, lists of them for several outputs."""
    if not stage.block.outputs:
        return {"kind": types[stage.name].kind, "shape": list(types[stage.name].shape)}
    outputs = [types[f"{stage.name}.{output}"] for output in stage.block.outputs]
    return {
        "kind": [type.kind for type in outputs],
        "shape": [list(type.shape) for type in outputs],
    }


def check_inferred(checker: Checker, network: Network, node: Node) -> None:
    """Compares a section `inferred` with what follows from the rest of the spec."""
    _compare(checker, node, inferred(network), "inferred")


def _compare(checker: Checker, node: Node, wanted: object, path: str) -> None:
    help_ = "run  flopwise resolve  again, or delete the section 'inferred'"
    if isinstance(node, Section) and isinstance(wanted, Mapping):
        for name, each in node.entries.items():
            if name in wanted:
                _compare(checker, each, wanted[name], f"{path}.{name}")
            else:
                fact = f"'{path}' tells of '{name}', which is not there"
                checker.fault("E317", fact, node.keys[name], help_)
    elif (found := _plain(node)) != wanted:
        told = flow(wanted) if not isinstance(wanted, Mapping) else "a map"
        fact = f"'{path}' says {flow(found)}, but it is {told}"
        note = "this section is what the rest of the file leads to; it sets nothing"
        checker.fault("E317", fact, node.place, help_, note=note)


def _plain(node: Node) -> object:
    if isinstance(node, Section):
        return {name: _plain(each) for name, each in node.entries.items()}
    return [_plain(each) for each in node.items] if isinstance(node, Items) else node.value
