"""A checked spec, ready to be evaluated again and again: every value with its place.

A `Setting` is a literal or an expression. A `Plan` holds all settings of a spec; picks of a search
replace settings by their address, then everything is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from flopwise.blocks import Block
from flopwise.dsl.expr import Expression, Scope, Value, is_expression, parse_expression
from flopwise.dsl.functions import show
from flopwise.dsl.tree import Items, Node, Scalar
from flopwise.errors import Fault, Place, SpecError

__all__ = ["Definition", "Ends", "Fixed", "Plan", "Setting", "StagePlan", "read_setting"]

Ends: TypeAlias = tuple[tuple[str, Place], ...]
"""Stages named as results of a network, each with its place."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a spec, literal or not, and where it is written."""

    value: Value | Expression
    place: Place

    def evaluate(self, scope: Scope) -> Value:
        """Returns the value under the given names."""
        return self.value.evaluate(scope) if isinstance(self.value, Expression) else self.value

    @property
    def names(self) -> frozenset[str]:
        """The names it needs."""
        return self.value.names if isinstance(self.value, Expression) else frozenset()

    def computation(self, name: str, value: Value) -> str:
        """Spells how a value came about, such as `dim = 2*w = 400`."""
        text = str(self.value)
        return f"{name} = {show(value)}" if text == name else f"{name} = {text} = {show(value)}"


@dataclass(frozen=True, slots=True)
class Fixed(Setting):
    """A setting that was evaluated where it is written, to hold in another scope."""

    given: Value

    def evaluate(self, scope: Scope) -> Value:
        """Returns the value it was given."""
        return self.given

    @property
    def names(self) -> frozenset[str]:
        """No names: it needs none any more."""
        return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage as it is written.

    Attributes:
        name: Its id.
        place: Where the id stands.
        block: The name of its block.
        depth: How often the block is repeated; None is once.
        inputs: The ids it names in `from`, each with its place; None is the stage before.
        settings: The block's settings that the stage writes.
        single: Those of single repetitions, by name and repetition.
        ports: The port of the block that each input is for; None is their order.
        when: Whether the stage is there; None is yes.
    """

    name: str
    place: Place
    block: Setting
    depth: Setting | None
    inputs: tuple[tuple[str, Place], ...] | None
    settings: Mapping[str, Setting]
    single: Mapping[str, Mapping[int, Setting]] = field(default_factory=dict)
    ports: tuple[tuple[str, Place], ...] | None = None
    when: Setting | None = None

    @property
    def all(self) -> Iterator[Setting]:
        """Yields every setting."""
        yield from self.single_valued
        yield from self.repeated

    @property
    def single_valued(self) -> Iterator[Setting]:
        """Yields the settings that have one value for the whole stage."""
        yield self.block
        yield from (setting for setting in (self.depth, self.when) if setting)

    @property
    def repeated(self) -> Iterator[Setting]:
        """Yields the settings that are evaluated for each repetition."""
        yield from self.settings.values()
        for each in self.single.values():
            yield from each.values()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Definition:
    """A composite block as it is written and checked.

    Attributes:
        block: Its name, settings and ports; the function is put together where it is used.
        place: Where its name stands.
        stages: The stages inside.
        outputs: The output or outputs, each with its place; empty is the last stage.
        text: What it says, without places: definitions of the same text are the same.
        uses: The blocks that its stages may be.
    """

    block: Block
    place: Place
    stages: tuple[StagePlan, ...]
    outputs: Ends
    text: str
    uses: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is evaluated.

    Attributes:
        values: Variables, `classes`, `input.size`, `input.channels`, in an order in which each
            needs only earlier ones.
        places: Settings under `defaults` and `train` by dotted path.
        stages: The stages in their order.
        blocks: The blocks of the spec by name, shipped ones and its own.
        definitions: Its composite blocks, each after those it is made of.
        output: The stage that `output` names, if it does.
        features: The stages that `features` names.
        strict_kinds: Whether converters must be written.
    """

    values: Mapping[str, Setting]
    places: Mapping[str, Setting]
    stages: tuple[StagePlan, ...]
    blocks: Mapping[str, Block]
    definitions: tuple[Definition, ...] = ()
    output: Ends = ()
    features: Ends = ()
    strict_kinds: bool = False


def read_setting(node: Node) -> Setting | None:
    """Returns the setting a node holds; None for maps and for lists of anything but scalars.

    Raises:
        SpecError: It begins like an expression and is none, or a list holds an expression.
    """
    if isinstance(node, Scalar):
        if isinstance(node.value, str) and is_expression(node.value):
            return Setting(parse_expression(node.value, node.inner), node.place)
        return None if node.value is None else Setting(node.value, node.place)
    if not isinstance(node, Items):
        return None
    values: list[Value] = []
    for item in node.items:
        setting = read_setting(item)
        if setting is None:
            return None
        if isinstance(setting.value, Expression):
            fact = "a list holds plain values, not expressions"
            help_ = 'make the whole list one expression, as in  "$([h, w])"'
            raise SpecError([Fault(code="E406", message=fact, place=item.place, helps=(help_,))])
        values.append(setting.value)
    return Setting(tuple(values), node.place)
