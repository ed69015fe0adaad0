"""A composite block at work: its stages are evaluated and traced like those of a network.

The callable hashes by value: by what the definition says and what the defaults of the file are
worth for it. So a graph that was traced for one candidate is found again for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flopwise.blocks import BLOCKS, Block, Map, Tensor, Tokens
from flopwise.blocks.graph import describe
from flopwise.dsl.evaluate import Around, left_out
from flopwise.dsl.expr import Value
from flopwise.dsl.memory import evaluate_stages
from flopwise.dsl.plan import Definition, Fixed, Setting
from flopwise.dsl.tracing import Tracing
from flopwise.dsl.wire import wire
from flopwise.errors import Fault, SpecError

__all__ = ["Composite", "Vocabulary", "reach"]


class Composite:
    """The function of a composite block: symbolic tensors in, symbolic tensors out."""

    def __init__(
        self,
        definition: Definition,
        blocks: Mapping[str, Block],
        defaults: Mapping[str, Fixed],
        strict: bool = False,
    ) -> None:
        """Takes what it is, the blocks it may be made of, and the defaults that reach inside.

        Strict is a spec with `strict_kinds`: converters inside must be written too.
        """
        self.definition, self.blocks, self.defaults = definition, blocks, defaults
        self.strict = strict
        self.__name__, self.__doc__ = definition.block.name, definition.block.doc
        self.wiring = wire(
            definition.stages, sources=definition.block.ports, outputs=definition.outputs
        )
        own = (blocks[name].function for name in sorted(definition.uses) if name not in BLOCKS)
        worth = tuple((path, setting.given) for path, setting in defaults.items())
        self.key = (definition.text, tuple(own), worth, strict)
        self._hash = hash(self.key)

    def __hash__(self) -> int:
        """Returns the hash of what it is."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, of the same blocks and defaults."""
        return self is other or (isinstance(other, Composite) and self.key == other.key)

    def __call__(self, *inputs: Tensor, **settings: Any) -> Tensor | tuple[Tensor, ...]:
        """Traces the stages inside.

        Raises:
            SpecError: One of them cannot be evaluated or applied.
        """
        block, plans = self.definition.block, self.definition.stages
        tensors = dict(zip(block.ports, inputs, strict=True))
        scope = {**settings, **self.facts(inputs, settings)}
        around = Around(self.blocks, self.defaults, {}, scope)
        removed = left_out(plans, around)
        wiring = self.wiring.without(removed) if removed else self.wiring
        plans = tuple(plan for plan in plans if plan.name in wiring.inputs)
        stages, written = evaluate_stages(plans, wiring.inputs, around)
        tracing = Tracing(stages, plans, written, {}, strict=self.strict, inside=block.name)
        tracing.add(inputs[0].trace, tensors, wiring.order)
        outputs = tuple(tracing.end(read, tensors, self.definition.outputs) for read in wiring.ends)
        return outputs if block.outputs else outputs[0]

    def facts(self, inputs: Sequence[Tensor], settings: Mapping[str, Any]) -> dict[str, Value]:
        """Returns what expressions inside may ask of the inputs.

        Raises:
            SpecError: One asks an input for what its kind does not have.
        """
        tensors = dict(zip(self.definition.block.ports, inputs, strict=True))
        found = dict(_facts(tensors))
        self._refuse_missing({**settings, **found}, tensors)
        return found

    def _refuse_missing(self, scope: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> None:
        """Refuses to ask an input for what its kind does not have."""
        faults = []
        for stage in self.definition.stages:
            for setting in stage.all:
                for name in sorted(name for name in setting.names if "." in name):
                    if name not in scope:
                        port = name.partition(".")[0]
                        tensor = tensors.get(port) or next(iter(tensors.values()))
                        faults.append(_missing(name, self.__name__, tensor, setting))
        if faults:
            raise SpecError(faults)


def _facts(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Value]]:
    """Yields what expressions may ask of the inputs; the first one is also called `input`."""
    for at, (port, tensor) in enumerate(tensors.items()):
        for name in dict.fromkeys((port, "input") if at == 0 else (port,)):
            yield f"{name}.channels", tensor.channels
            if isinstance(tensor, Tokens):
                yield f"{name}.tokens", tensor.length
            size = _size(tensor)
            if size:
                yield f"{name}.height", size[0]
                yield f"{name}.width", size[1]
                yield f"{name}.size", size[0] if size[0] == size[1] else size


def _size(tensor: Tensor) -> tuple[int, int] | None:
    if isinstance(tensor, Map):
        return tensor.height, tensor.width
    return tensor.grid if isinstance(tensor, Tokens) else None


def _missing(name: str, block: str, tensor: Tensor, setting: Setting) -> Fault:
    return Fault(
        code="E119",
        message=f"block '{block}' gets {describe(tensor.type)}, which has no '{name}'",
        place=setting.place,
        helps=("give the number as a parameter, or convert the input first",),
        notes=("maps have channels, height, width, size; tokens have channels, tokens",),
    )


class Vocabulary:
    """The blocks of a spec: those that are there, and the composite ones for given defaults."""

    def __init__(
        self, blocks: Mapping[str, Block], definitions: Sequence[Definition], strict: bool = False
    ) -> None:
        """Takes the blocks that need nothing, and definitions in the order they need each other."""
        self.base, self.definitions, self.strict = blocks, definitions, strict
        self._made: dict[Composite, Block] = {}

    def blocks(self, defaults: Mapping[str, Fixed]) -> Mapping[str, Block]:
        """Returns all blocks by name, given what the settings under `defaults` are worth."""
        if not self.definitions:
            return self.base
        found = dict(self.base)
        for definition in self.definitions:
            composite = self._composite(definition, found, defaults)
            if composite not in self._made:
                self._made[composite] = _block(definition, composite)
            found[definition.block.name] = self._made[composite]
        return found

    def _composite(
        self,
        definition: Definition,
        blocks: Mapping[str, Block],
        defaults: Mapping[str, Fixed],
    ) -> Composite:
        paths = [path for path in reach(definition, blocks) if path in defaults]
        within = {path: defaults[path] for path in paths}
        return Composite(definition, blocks, within, self.strict)


def reach(definition: Definition, blocks: Mapping[str, Block]) -> Iterator[str]:
    """Yields the paths of the defaults that hold for the stages of a block."""
    for name in sorted(definition.uses):
        for key, field in blocks[name].fields.items():
            yield f"defaults.{name}.{key}"
            if not field.local:
                yield f"defaults.{key}"


def _block(definition: Definition, composite: Composite) -> Block:
    scope = _scope(definition, composite.blocks)
    return replace(definition.block, function=composite, scope=scope)


def _scope(definition: Definition, blocks: Mapping[str, Block]) -> tuple[str, ...]:
    """Returns what the stages inside need of the repetition that the block stands in."""
    names: set[str] = set()
    for stage in definition.stages:
        word = stage.block.value
        inner = [blocks[word]] if isinstance(word, str) else [blocks[n] for n in definition.uses]
        below = {name for block in inner for name in block.scope}
        if any("classes" in block.fields for block in inner) or "classes" in below:
            names.add("classes")
        names.update(*(setting.names for setting in stage.single_valued))
        if stage.depth is None:  # a stage with a depth counts its own repetitions
            names |= below
            names.update(*(setting.names for setting in stage.repeated))
    return tuple(sorted(names & {"i", "n", "classes"}))
