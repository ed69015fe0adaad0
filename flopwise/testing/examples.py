"""Examples of a block, derived from its signature: inputs from its ports, settings from its fields.

The first example of each kind of input is the plain one: defaults, and for what must be written the
first value that fits. Then one setting is changed at a time, and at last as many as fit together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from flopwise.blocks import Block, Field, Graph, Map, Tensor, Tokens, Trace, Type, Vec, add_stage
from flopwise.errors import BlockError

__all__ = ["DEPTH", "INPUTS", "Example", "derive", "stage_graph", "values"]

DEPTH = 2
INPUTS: dict[type[Tensor], tuple[Type, ...]] = {
    Map: (Type("map", (16, 12, 12)),),
    Tokens: (
        Type("tokens", (16, 16), grid=(4, 4)),
        Type("tokens", (17, 16), extra=1, grid=(4, 4)),
    ),
    Vec: (Type("vec", (16,)),),
}
"""What stands for each kind of input: small, and with sizes that many numbers divide."""
WHOLE = (5, 4, 8, 24, 2, 3, 1, 12, 32, 64)
SHARES = (0.25, 2.5, 0.5, 0.1, 2.0, 1.0)


@dataclass(frozen=True, eq=False)
class Example:
    """A block on inputs of certain types, with every setting that it has.

    Attributes:
        block: The block.
        input: What it reads; a block of several ports reads the same on each.
        settings: Values of some or all settings; the rest have their defaults.
        changed: The settings that are not the plain example's.
    """

    block: Block
    input: Type
    settings: Mapping[str, Any]
    changed: tuple[str, ...] = ()

    @cached_property
    def graph(self) -> Graph:
        """A stage of this block, as deep as it may be up to `DEPTH`."""
        return stage_graph(self.block, self.input, self.settings)

    def __str__(self) -> str:
        kind = f"{self.input.kind}{'+cls' if self.input.extra else ''}"
        changes = (f"{name}={self.settings[name]}" for name in self.changed)
        return "-".join([self.block.name, kind, *changes])


def stage_graph(
    block: Block, input: Type, settings: Mapping[str, Any], depth: int = DEPTH
) -> Graph:
    """Returns the graph of one stage of a block.

    Raises:
        BlockError: The block does not take this input or these settings.
    """
    complete = {name: field.default for name, field in block.fields.items()} | dict(settings)
    trace = Trace()
    x = trace.input(input)
    inputs = [x] * (2 if block.variadic else len(block.ports))
    repetitions = 1 if block.once else depth
    output = add_stage(trace, "stage", block, inputs, [complete] * repetitions)
    return trace.close(output, title="tried")


def derive(block: Block) -> list[Example]:
    """Returns examples of a block; none if no value of its required settings fits."""
    found: list[Example] = []
    kinds = block.takes[0]
    for input in (each for kind in kinds for each in INPUTS.get(kind, ())):
        for plain in _plain(block, input):
            found += [plain, *_changed(plain)]
    return found


def _plain(block: Block, input: Type) -> list[Example]:
    """The first settings that fit: the required ones; each further one if those alone do not."""
    required = [field for field in block.fields.values() if field.required]
    if (example := _first(block, input, required)) is not None:
        return [example]
    optional = (field for field in block.fields.values() if not field.required)
    found = (_first(block, input, [*required, field]) for field in optional)
    return [example for example in found if example is not None]


def _first(block: Block, input: Type, fields: Sequence[Field]) -> Example | None:
    """The example with the first values of these settings that fit together."""
    for chosen in product(*(values(field) for field in fields)):
        names = (field.name for field in fields)
        example = Example(block, input, dict(zip(names, chosen, strict=True)))
        if _fits(example):
            return example
    return None


def _changed(plain: Example) -> Iterator[Example]:
    """Yields the examples with one setting changed, and the one with all that fit together."""
    together = plain
    for field in plain.block.fields.values():
        fitting = [e for value in values(field) if (e := _with(plain, field, value)) is not None]
        yield from fitting[: len(field.choices) or 1]
        for value in values(field):
            if (more := _with(together, field, value)) is not None:
                together = more
                break
    if len(together.changed) > 1:
        yield together


def _with(example: Example, field: Field, value: Any) -> Example | None:
    default = example.settings.get(field.name, field.default)
    if value == default:
        return None
    settings = {**example.settings, field.name: value}
    found = Example(example.block, example.input, settings, (*example.changed, field.name))
    return found if _fits(found) else None


def _fits(example: Example) -> bool:
    try:
        return bool(example.graph)
    except BlockError:
        return False


def values(field: Field) -> Sequence[Any]:
    """Values worth trying for a setting, in their order."""
    if field.choices:
        return field.choices
    if field.type == "bool":
        return (True, False)
    if field.type == "list[int]":
        return ((8,), (8, 16))
    low = -1.0 if field.low is None else field.low
    high = float("inf") if field.high is None else field.high
    tried: Sequence[int | float] = WHOLE if field.type == "int" else SHARES
    return [n for n in tried if low <= n <= high and (not field.odd or n % 2)]
