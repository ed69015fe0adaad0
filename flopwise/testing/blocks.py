"""The suite for blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from flopwise import nets
from flopwise.blocks import Block, Type
from flopwise.errors import BlockError
from flopwise.nets.runtime import Network
from flopwise.testing.checks import (
    check_counts,
    check_forms,
    check_gradients,
    check_independence,
    check_layouts,
    check_learning,
    images,
    roughened,
)
from flopwise.testing.examples import DEPTH, Example, derive, stage_graph

__all__ = ["BlockCase"]


class BlockCase:
    """What every block keeps. Subclass it and set `blocks`.

    Attributes:
        blocks: The blocks to hold to it.
        cases: Examples beside the derived ones, for what a signature does not tell.
    """

    blocks: ClassVar[Sequence[Block]] = ()
    cases: ClassVar[Sequence[Example]] = ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Runs each test on every example, the costly ones on the plain and the fullest ones."""
        if "example" in metafunc.fixturenames:
            found = [each for block in self.blocks for each in self.examples(block)]
            metafunc.parametrize("example", found, ids=str)
        if "main" in metafunc.fixturenames:
            metafunc.parametrize("main", self.main(), ids=str)
        if "block" in metafunc.fixturenames:
            metafunc.parametrize("block", self.blocks, ids=[block.name for block in self.blocks])

    @classmethod
    def examples(cls, block: Block) -> list[Example]:
        """Returns the derived examples of a block and those that were given."""
        return [*derive(block), *(case for case in cls.cases if case.block is block)]

    @classmethod
    def main(cls) -> list[Example]:
        """Returns the plain and the fullest examples, and one of every layer kind they lack."""
        groups = [cls.examples(block) for block in cls.blocks]
        found = [each for group in groups for each in _main(group)]
        seen = {layer.kind for each in found for _, layer in each.graph.walk()}
        for example in (each for group in groups for each in group):
            kinds = {layer.kind for _, layer in example.graph.walk()}
            if not kinds <= seen:
                found.append(example)
                seen |= kinds
        return found

    def test_there_is_an_example_and_a_docstring(self, block: Block) -> None:
        """Its signature leads to an example, and its docstring says what every setting is."""
        assert self.examples(block), "no settings fit the plain inputs: give `cases`"
        assert block.doc
        silent = [name for name, field in block.fields.items() if not field.doc]
        assert silent == []

    def test_shape_counts_and_keys_are_those_of_the_module(self, example: Example) -> None:
        """Symbolic shape == real shape, counted == measured, keys == state dict, on meta too."""
        check_counts(example.graph, lambda model, inputs: model(*inputs))
        model = _built(example).eval()
        out = model(images(example.input, 1))
        assert tuple(out.shape[1:]) == example.graph.types[example.graph.outputs[0]].shape

    def test_parameters_learn_and_no_image_sees_another(self, example: Example) -> None:
        """Every parameter gets a gradient; a batch in evaluation is its images one by one."""
        model = roughened(_built(example).double().eval())
        x = images(example.input, 3, dtype=torch.float64)
        check_independence(model, x)
        check_learning(model, x)

    def test_keys_do_not_depend_on_the_depth(self, example: Example) -> None:
        """One repetition more adds keys behind and renames none."""
        if not example.block.once:
            keys = list(example.graph.keys())
            deeper = stage_graph(example.block, example.input, example.settings, DEPTH + 1)
            assert list(deeper.keys())[: len(keys)] == keys

    def test_gradients_are_those_of_finite_differences(self, main: Example) -> None:
        """Gradcheck in float64."""
        model = roughened(_built(main).double().eval())
        check_gradients(model, images(main.input, 1, dtype=torch.float64))

    def test_it_runs_with_channels_last_and_in_bfloat16(self, main: Example) -> None:
        """Memory formats change nothing; low precision runs."""
        check_layouts(roughened(_built(main).eval(), 0.1), images(main.input, 2))

    def test_it_survives_tracing_scripting_export_and_copies(self, main: Example) -> None:
        """The forms that PyTorch gives a module compute the same."""
        check_forms(roughened(_built(main).eval(), 0.1), images(main.input, 2))

    def test_other_sizes_run_where_its_parameters_fit_them(self, main: Example) -> None:
        """Where another size gives the same source, the module takes it."""
        other = _other_size(main)
        if other is None or _body(other) != _body(main):
            return
        wanted, model = _built(other).eval(), _built(main).eval()
        model.load_state_dict(wanted.state_dict())
        x = images(other.input, 2)
        torch.testing.assert_close(model(x), wanted(x))

    def test_checkpointing_changes_no_gradient(self, main: Example) -> None:
        """The gradients with and without gradient checkpointing are equal."""
        gradients = []
        for enable in (False, True):
            model = roughened(_built(main), 0.1)
            assert isinstance(model, Network)
            model.set_grad_checkpointing(enable)
            x = images(main.input, 2).requires_grad_()
            torch.manual_seed(0)  # for dropout
            out = model(x)
            if not out.requires_grad:  # nothing of it depends on the input
                return
            out.square().sum().backward()
            gradients.append([x.grad, *(p.grad for p in model.parameters())])
        for plain, saved in zip(*gradients, strict=True):
            torch.testing.assert_close(plain, saved)


def _built(example: Example) -> Network:
    return nets.build(example.graph, seed=0)


def _main(examples: list[Example]) -> list[Example]:
    """Of each kind of input the plain example and the one with most changes."""
    found: dict[Type, list[Example]] = {}
    for example in examples:
        found.setdefault(example.input, []).append(example)
    fullest = (max(group, key=lambda each: len(each.changed)) for group in found.values())
    plain = (group[0] for group in found.values())
    return list(dict.fromkeys([*plain, *fullest]))


def _other_size(example: Example) -> Example | None:
    """The same example on a larger input."""
    old = example.input
    if old.kind == "map":
        new = replace(old, shape=(old.shape[0], 24, 16))
    elif old.grid:
        new = replace(old, shape=(old.extra + 24, old.shape[1]), grid=(6, 4))
    else:
        return None
    other = replace(example, input=new)
    try:
        return other if other.graph else None
    except BlockError:
        return None


def _body(example: Example) -> str:
    """An example's source, without the facts of the network."""
    blocks, _, network = nets.source(example.graph).partition("(Network)")
    return blocks + network.partition("    def __init__")[2]
