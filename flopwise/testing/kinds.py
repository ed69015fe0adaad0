"""The suite for layer kinds: each alone, between the tensors it stands between in some block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flopwise import nets
from flopwise.blocks import Block, Graph, Layer, Type
from flopwise.nets.forms import FORMS
from flopwise.testing.checks import check_counts, check_gradients, images, roughened
from flopwise.testing.examples import Example, derive

__all__ = ["LayerKindCase", "alone"]


class LayerKindCase:
    """What every layer kind keeps. Subclass it and name the blocks that use the kinds.

    Attributes:
        kinds: The kinds to hold to it; all by default.
        blocks: Blocks whose examples are searched for layers of these kinds.
        cases: Examples beside the derived ones.
    """

    kinds: ClassVar[Sequence[str]] = tuple(FORMS)
    blocks: ClassVar[Sequence[Block]] = ()
    cases: ClassVar[Sequence[Example]] = ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Runs each test on every kind."""
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", self.kinds)

    def layers(self, kind: str) -> Sequence[Graph]:
        """Returns different layers of a kind, each alone in a graph."""
        return _layers(tuple(self.blocks)).get(kind, ())

    def test_some_block_uses_it(self, kind: str) -> None:
        """A kind that no block uses is dead."""
        assert self.layers(kind)

    def test_shape_and_counts_are_those_of_the_module(self, kind: str) -> None:
        """Symbolic shapes == real shapes, counted == measured, keys == state dict."""
        for graph in self.layers(kind):
            check_counts(graph, lambda model, inputs: model.get_submodule("layer")(*inputs[1:]))
            out, type = _run(_built(graph), graph), graph.layers[0].outputs[0]
            assert tuple(out.shape) == (() if type.kind == "table" else (2,)) + type.shape

    def test_it_is_one_step_of_fx(self, kind: str) -> None:
        """A trace computes the same: nothing branches on what only a run knows."""
        for graph in self.layers(kind):
            module = _built(graph)
            traced = torch.fx.symbolic_trace(module)
            torch.testing.assert_close(_run(traced, graph), _run(module, graph))

    def test_gradients_are_those_of_finite_differences(self, kind: str) -> None:
        """Gradcheck in float64 of its first example."""
        graph = self.layers(kind)[0]
        inputs = [images(type, 1, dtype=torch.float64) for type in graph.inputs[1:]]
        if inputs:
            check_gradients(_built(graph).double(), *inputs)


@lru_cache(maxsize=8)
def _layers(blocks: tuple[Block, ...]) -> Mapping[str, Sequence[Graph]]:
    """Returns the different layers in the examples of blocks by kind, each alone in a graph."""
    found: dict[str, dict[str, Graph]] = {}
    for graph in (example.graph.flat() for block in blocks for example in derive(block)):
        for layer in graph.layers:
            inputs = [graph.types[index] for index in layer.inputs]
            for output in range(len(layer.outputs)):
                label = f"{inputs} {layer.settings} {output}"
                found.setdefault(layer.kind, {}).setdefault(label, alone(layer, inputs, output))
    return {kind: tuple(graphs.values()) for kind, graphs in found.items()}


def alone(layer: Layer, inputs: Sequence[Type], output: int = 0) -> Graph:
    """Returns a network of one layer and one of its outputs.

    The network's first input is an image that nothing reads.
    """
    form = FORMS[layer.kind]
    named = layer.name or ("layer" if form.call or form.positional else "")
    step = replace(layer, name=named, inputs=tuple(range(len(inputs))))
    inner = Graph("alone", "", tuple(inputs), (step,), (len(inputs) + output,))
    call = Layer(
        kind="block",
        name="layer",
        inputs=tuple(range(1, len(inputs) + 1)),
        outputs=(layer.outputs[output],),
        settings={},
        macs=layer.macs,
        activations=layer.activations,
        graph=inner,
    )
    types, end = (Type("map", (1, 1, 1)), *inputs), (len(inputs) + 1,)
    return Graph("tried", "", types, (call,), end, features=end)  # a feature stays a module


def _built(graph: Graph) -> nn.Module:
    return roughened(nets.build(graph, seed=0).eval(), 0.1).get_submodule("layer")


def _run(module: nn.Module, graph: Graph) -> Tensor:
    found: Tensor = module(*(images(type, 2) for type in graph.inputs[1:]))
    return found
