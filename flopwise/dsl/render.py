"""A network back to text: a spec of the same grammar in which nothing is left to work out.

No variables, expressions or parents; every stage says what it reads and every setting it has, and
converters are stages. Composite blocks stay, with the defaults that reach inside them. What follows
from all this stands under `inferred`. Read again it is the same network with the same checkpoint
keys, and renders to the same text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flopwise.blocks import Type, conversions
from flopwise.dsl.composite import Composite
from flopwise.dsl.files import VERSION
from flopwise.dsl.flow import flow, text
from flopwise.dsl.functions import show
from flopwise.dsl.inferred import inferred
from flopwise.dsl.network import Network, Stage
from flopwise.dsl.plan import Definition, Plan
from flopwise.errors import Fault, SpecError

__all__ = ["render_spec"]

LONGEST = 400
"""Characters of `pick(i, ...)` beyond which the values become a variable."""


def render_spec(
    network: Network,
    plan: Plan,
    doc: str,
    train: Mapping[str, object],
    export: Mapping[str, object],
    used: Sequence[str] = (),
) -> str:
    """Returns the resolved text of a network.

    Args:
        network: What is rendered.
        plan: The spec it is of.
        doc: The spec's free text.
        train: The keys of the recipe that are written out; the others have their default.
        export: The `export` section.
        used: The Python files with blocks of its own.

    Raises:
        SpecError: A setting is written in some repetitions of a stage only (E324).
    """
    return "\n".join(_Rendering(network, plan).lines(doc, train, export, used)) + "\n"


@dataclass(frozen=True, slots=True)
class _Line:
    """A stage to write: its keys, and what it gives and costs."""

    keys: Mapping[str, Any]
    facts: Mapping[str, Any]


class _Rendering:
    """One network on its way to text."""

    def __init__(self, network: Network, plan: Plan) -> None:
        self.network, self.plan = network, plan
        self.facts = inferred(network)
        self.lists: dict[str, Sequence[Any]] = {}
        self.converters: dict[tuple[str, str], str] = {}
        self.stages: dict[str, _Line] = {}
        for stage in network.stages:
            reads = self._converted(stage)
            keys = {"block": stage.block.name, **dict(self._keys(stage, reads))}
            self.stages[stage.name] = _Line(keys, self.facts["stages"][stage.name])

    def lines(
        self,
        doc: str,
        train: Mapping[str, object],
        export: Mapping[str, object],
        used: Sequence[str],
    ) -> Iterator[str]:
        """Yields the lines of the file."""
        network = self.network
        yield f"spec: {VERSION}"
        yield f"name: {text(network.name)}"
        if doc:
            yield f"doc: {text(doc)}"
        if used:
            yield f"use: {flow(used)}"
        height, width = network.input.size
        size = height if height == width else [height, width]
        yield f"input: {flow({'size': size, 'channels': network.input.channels})}"
        yield f"classes: {network.classes}"
        if self.plan.strict_kinds:
            yield "strict_kinds: true"
        yield from _section("vars", self.lists)
        yield from self._blocks()
        yield from ["", *_section("net", {k: line.keys for k, line in self.stages.items()})]
        output, *features = network.ends
        if output != list(self.stages)[-1]:
            yield f"output: {text(output)}"
        if features:
            yield f"features: {flow(features)}"
        for name, section in (("train", train), ("export", export)):
            yield from ["", f"{name}: {flow(section)}"] if section else []
        yield from self._inferred()

    def _blocks(self) -> Iterator[str]:
        """Yields the composite blocks in use, and the defaults that reach inside them."""
        used: dict[str, Composite] = {}
        for stage in self.network.stages:
            _collect(stage.block.function, used)
        if not used:
            return
        defaults = {
            path.removeprefix("defaults."): setting.given
            for composite in used.values()
            for path, setting in composite.defaults.items()
        }
        nested: dict[str, Any] = {}
        for path in sorted(defaults):
            block, _, name = path.rpartition(".")
            (nested.setdefault(block, {}) if block else nested)[name] = defaults[path]
        yield from _section("defaults", nested)
        yield from ["", "blocks:"]
        for definition in self.plan.definitions:
            if definition.block.name in used:
                yield from _definition(definition)

    def _converted(self, stage: Stage) -> list[str]:
        """Returns what a stage reads, with a stage of its own for every converter."""
        types = [self.network.types[read] for read in stage.inputs]
        ways = conversions(stage.block, types, stage.name)
        return [
            self._converter(read, way) if way else read
            for read, way in zip(stage.inputs, ways, strict=True)
        ]

    def _converter(self, read: str, way: str) -> str:
        name = self.converters.get((read, way), f"{read.replace('.', '_')}__{way}")
        if (read, way) not in self.converters:
            while name in self.network.types or name in self.stages:
                name += "_"
            self.converters[read, way] = name
            channels, *sizes = self.network.types[read].shape
            if way == "to_map":
                *_, channels = self.network.types[read].shape
                kind, shape = "map", [channels, *(self.network.types[read].grid or ())]
            else:
                kind, shape = "tokens", [sizes[0] * sizes[1], channels]
            keys = {"block": way, "from": read} | ({"drop": "none"} if way == "to_map" else {})
            facts = {"kind": kind, "shape": shape, "macs": 0, "params": 0}
            self.stages[name] = _Line(keys, facts)
        return name

    def _keys(self, stage: Stage, reads: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yields the keys of a stage in the order they are read best."""
        block = stage.block
        if stage.depth != 1:
            yield "depth", stage.depth
        if len(reads) == 1:
            yield "from", reads[0]
        else:
            named = dict(zip(block.ports, reads, strict=True)) if not block.variadic else None
            yield "from", named or reads
        for name in block.fields:
            values = _values(stage, name, self.network.types[stage.inputs[0]])
            if values == [None] or (name == "classes" and values == [self.network.classes]):
                continue  # as the input, or the network, has it
            yield name, values[0] if len(values) == 1 else self._varying(stage.name, name, values)

    def _varying(self, stage: str, name: str, values: Sequence[Any]) -> str:
        """Spells a setting with another value in each repetition."""
        spelt = f"$(pick(i, {', '.join(map(show, values))}))"
        if len(spelt) <= LONGEST:
            return spelt
        variable = f"{stage}_{name}"
        self.lists[variable] = values
        return f"$({variable}[i])"

    def _inferred(self) -> Iterator[str]:
        stages = {name: line.facts for name, line in self.stages.items()}
        yield from ["", "inferred:"]
        yield from (f"  {name}: {self.facts[name]}" for name in self.facts if name != "stages")
        yield from (f"  {line}" for line in _section("stages", stages))


def _values(stage: Stage, name: str, reads: Type) -> list[Any]:
    """Returns the values of a setting: one, or one for each repetition if they differ.

    A width that is not written in some repetitions is that of what they get.
    """
    values = [settings[name] for settings in stage.settings]
    if all(value == values[0] for value in values):
        return values[:1]
    if None in values and name != "dim":
        fact = f"'{name}' of stage '{stage.name}' has a value in some repetitions only"
        help_ = f"give it one in the others too, as in  net.{stage.name}[*].{name}"
        raise SpecError([Fault(code="E324", message=fact, helps=(help_,))])
    width = reads.shape[0 if reads.kind in ("map", "vec") else -1]
    for at, value in enumerate(values):
        width = values[at] = width if value is None else value
    return values


def _collect(function: object, used: dict[str, Composite]) -> None:
    """Adds a composite block and those it is made of."""
    if isinstance(function, Composite) and function.__name__ not in used:
        used[function.__name__] = function
        for name in sorted(function.definition.uses):
            _collect(function.blocks[name].function, used)


def _definition(definition: Definition) -> Iterator[str]:
    """Yields the lines of a composite block as it is written, its stages one a line."""
    name, body = json.loads(definition.text)
    yield f"  {name}:"
    for key, value in _data(body).items():
        if key == "net":
            yield from (f"    {line}" for line in _section("net", value))
        else:
            yield f"    {key}: {flow(value)}"


def _data(value: Any) -> Any:
    """Returns plain data from the text of a definition, in which maps are lists of pairs."""
    if isinstance(value, dict):
        return [_data(each) for each in value["list"]]
    return {key: _data(each) for key, each in value} if isinstance(value, list) else value


def _section(name: str, entries: Mapping[str, object]) -> Iterator[str]:
    """Yields a section with an entry a line, the values below each other."""
    if not entries:
        return
    longest = max(map(len, entries)) + 1
    yield f"{name}:"
    yield from (f"  {key + ':':<{longest}} {flow(value)}" for key, value in entries.items())
