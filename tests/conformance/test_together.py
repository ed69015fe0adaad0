"""Blocks traced for many candidates at once cost what each candidate costs alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from flopwise.blocks import BLOCKS, Block, Type
from flopwise.blocks.numbers import Apart, Numbers, numbers
from flopwise.blocks.stage import chosen, repetition
from flopwise.dsl.together import Later, Together
from flopwise.errors import BlockError
from flopwise.testing.examples import derive

ALONE = [block for block in BLOCKS.values() if len(block.ports) == 1 and not block.variadic]


def cases(block: Block) -> Iterator[tuple[str, Type, Any]]:
    """Yields entries and repetitions of the block's examples, at several sizes of the input."""
    for example in derive(block):
        type = example.input
        at = 0 if type.kind == "map" else -1
        settings = {n: field.default for n, field in block.fields.items()} | dict(example.settings)
        for scale in (1, 2, 3, 5):
            shape = list(type.shape)
            shape[at] *= scale
            wide = replace(type, shape=tuple(shape))
            for i in range(2):
                around = {**settings, "i": i, "n": 2}
                yield "repetition", wide, chosen(block, repetition(block, around))
            if block.entry:
                yield "entry", wide, settings


def asked(together: Together, block: Block, case: tuple[str, Type, Any]) -> Any:
    how, type, settings = case
    try:
        return getattr(together, how)(block, type, settings)
    except BlockError as error:
        return error.code


@pytest.mark.parametrize("block", ALONE, ids=lambda block: block.name)
def test_a_block_costs_together_what_it_costs_alone(block: Block) -> None:
    together, alone = Together(), Together()
    wanted = list(cases(block))
    together.gathering = True
    for case in wanted:
        with pytest.raises(Later):
            asked(together, block, case)
    together.solve()
    assert [asked(together, block, case) for case in wanted] == [
        asked(alone, block, case) for case in wanted
    ]
    if block.name in ("convnext", "residual", "vit"):
        assert together.traces < alone.traces / 2


@pytest.mark.parametrize(
    ("question", "ways"),
    [
        (lambda x: x == 8, (True, False, False)),
        (lambda x: x > 12, (False, False, True)),
        (lambda x: not x % 3, (True, False, True)),
        (lambda x: range(x), (8, 12, 16)),
        (lambda x: f"{x}", (8, 12, 16)),
        (lambda x: int(x / 8), (1.0, 1.5, 2.0)),
    ],
)
def test_numbers_that_differ_in_an_answer_go_apart(question: Any, ways: tuple[Any, ...]) -> None:
    with pytest.raises(Apart) as found:
        question(Numbers((8, 12, 16)))
    assert found.value.ways == ways


def test_numbers_that_are_the_same_for_all_are_one() -> None:
    assert numbers([4, 4]) == 4
    assert (Numbers((8, 12)) - Numbers((2, 6))) == 6
    assert (7 - Numbers((1, 2))).values == (6, 5)
