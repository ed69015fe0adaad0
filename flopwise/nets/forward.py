"""From a graph to the lines of `forward`: what is used once is nested, the rest gets a name."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from flopwise.blocks.graph import Graph, Layer
from flopwise.nets.forms import ACTS, FORMS, Form

__all__ = ["forward_lines", "input_names"]

NESTING = 4
"""How many calls are nested in one line before a variable is used."""
NAMES = ("x", "y", "z", "u", "v", "w", "s", "t")


@dataclass(slots=True)
class _Value:
    """A value while lines are written: its text, the variables in it, the uses to come."""

    text: str
    variables: frozenset[str]
    depth: int
    uses: int


class _Writer:
    def __init__(self, graph: Graph, nesting: int) -> None:
        self.nesting = nesting
        self.lines: list[str] = []
        reads = [index for layer in graph.layers for index in layer.inputs] + list(graph.outputs)
        self.counts = [reads.count(index) for index in range(len(graph.types))]
        self.values: list[_Value] = [
            _Value(name, frozenset({name}), 0, self.counts[i])
            for i, name in enumerate(input_names(graph))
        ]

    def write(self, layer: Layer) -> None:
        form = FORMS.get(layer.kind, Form())
        inputs = [self.values[index] for index in layer.inputs]
        for value in inputs:
            value.uses -= 1
        text = form.forward.format(*(v.text for v in inputs), **_words(layer, inputs))
        used = frozenset[str]().union(*(v.variables for v in inputs))
        depth = 1 + max((v.depth for v in inputs), default=0)
        uses = self.counts[len(self.values) : len(self.values) + len(layer.outputs)]
        if form.names:
            names = list(form.names)
        elif len(layer.outputs) > 1:
            names = self._several(used, len(layer.outputs))
        elif uses == [1] and depth < self.nesting and not form.operator:
            self.values.append(_Value(text, used, depth, 1))
            return
        else:
            names = [self._free(used)]
        self.lines.append(f"{', '.join(names)} = {text}")
        for name, count in zip(names, uses, strict=True):
            self.values.append(_Value(name, frozenset({name}), 0, count))

    def _several(self, used: frozenset[str], count: int) -> list[str]:
        """Returns a variable for each of several values."""
        names: list[str] = []
        for _ in range(count):
            self.values.append(_Value("", frozenset(names), 0, 1))  # those just chosen are taken
            names.append(self._free(used))
            self.values.pop()
        return names

    def _free(self, used: frozenset[str]) -> str:
        """Returns a variable that no pending value needs: one just read, if it is done with."""
        taken = {name for value in self.values if value.uses for name in value.variables}
        order = [name for name in NAMES if name in used] + list(NAMES)
        more = (f"h{number}" for number in itertools.count())
        return next(name for name in itertools.chain(order, more) if name not in taken)


def forward_lines(graph: Graph, nesting: int = NESTING) -> list[str]:
    """Returns the body of `forward` for one graph."""
    writer = _Writer(graph, nesting)
    for layer in graph.layers:
        writer.write(layer)
    result = ", ".join(writer.values[index].text for index in graph.outputs)
    lines = writer.lines
    if lines and lines[-1].startswith(f"{result} = "):
        return [*lines[:-1], f"return {lines[-1].removeprefix(f'{result} = ')}"]
    return [*lines, f"return {result}"]


def input_names(graph: Graph) -> list[str]:
    """Names the arguments of `forward`."""
    return ["x"] if len(graph.inputs) == 1 else [f"x{i}" for i in range(len(graph.inputs))]


def _words(layer: Layer, inputs: list[_Value]) -> dict[str, object]:
    words = dict(layer.settings)
    words["me"] = f"self.{layer.name}"
    if "function" in words:
        words["function"] = ACTS[words["function"]]
    if layer.kind == "global_mean":
        words["keepdim"] = ", keepdim=True" if words["keep"] else ""
    words["all"] = ", ".join(value.text for value in inputs)
    if layer.kind == "concat":
        words["torch_axis"] = 1 if words["axis"] == 0 else -1
    return words
