"""From a graph to the lines of `forward`: what is used once is nested, the rest gets a name."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from flopwise.blocks.graph import TABLES, Graph, Layer
from flopwise.nets.forms import ACTS, FORMS, Form

__all__ = ["forward_lines", "input_names"]

NESTING = 4
"""How many calls are nested in one line before a variable is used."""
PRODUCTS = frozenset({"mul", "times", "gamma_act"})
NAMES = ("x", "y", "z", "u", "v", "w", "s", "t")


@dataclass(slots=True, eq=False)
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
        self.product = ""  # the variable of the last line, if that is a product
        reads = [index for layer in graph.layers for index in layer.inputs] + list(graph.outputs)
        self.counts = [reads.count(index) for index in range(len(graph.types))]
        self.values: list[_Value] = [
            _Value(name, frozenset({name}), 0, self.counts[i])
            for i, name in enumerate(input_names(graph))
        ]

    def write(self, layer: Layer) -> None:
        """Writes one layer: into a later line where that is possible, else as its own."""
        if layer.kind in TABLES:  # a tensor of the block is read wherever it is needed
            count = self.counts[len(self.values)]
            self.values.append(_Value(f"self.{layer.name}", frozenset(), 0, count))
            return
        form = FORMS.get(layer.kind, Form())
        inputs = [self.values[index] for index in layer.inputs]
        depth = 1 + max((v.depth for v in inputs), default=0)
        uses = self.counts[len(self.values) : len(self.values) + len(layer.outputs)]
        nested = uses == [1] and depth < self.nesting and not form.operator and not form.names
        if not nested:
            self._settle(inputs)
        for value in inputs:
            value.uses -= 1
        text = form.forward.format(*(v.text for v in inputs), **_words(layer, inputs))
        used = frozenset[str]().union(*(v.variables for v in inputs))
        if nested:
            self.values.append(_Value(text, used, depth, 1))
            return
        text = self._longer_product(layer, inputs, text)
        if len(layer.outputs) > 1:
            names = list(form.names) or self._several(used, len(layer.outputs))
        else:
            names = [self._free(used)]
        self.lines.append(f"{', '.join(names)} = {text}")
        self.product = names[0] if layer.kind in PRODUCTS else ""
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

    def _settle(self, inputs: list[_Value]) -> None:
        """Gives what waits to be nested a line before the next one: the order is the graph's."""
        for value in self.values:
            if value.uses and value.depth and value.variables and value not in inputs:
                uses, value.uses = value.uses, 0  # its variable may be written over
                name = self._free(value.variables)
                self.lines.append(f"{name} = {value.text}")
                self.product = ""
                value.text, value.variables = name, frozenset({name})
                value.depth, value.uses = 0, uses

    def _longer_product(self, layer: Layer, inputs: list[_Value], text: str) -> str:
        """Takes back the last line if it is a product and only the product to write reads it."""
        if layer.kind not in PRODUCTS or self.product != inputs[0].text or inputs[0].uses:
            return text
        if not text.startswith(f"{self.product} "):  # it does more with the product than multiply
            return text
        before = self.lines.pop().removeprefix(f"{self.product} = ")
        return before + text.removeprefix(self.product)

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
    if layer.kind == "token_mean":
        words["patches"] = f"[:, {words['extra']}:]" if words["extra"] else ""
    words["all"] = ", ".join(value.text for value in inputs)
    if layer.kind == "concat":
        words["torch_axis"] = 1 if words["axis"] == 0 else -1
    return words
