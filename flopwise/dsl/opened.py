"""What a composite block costs, put together from what the stages inside cost.

The settings of a composite block usually reach a few of its stages each. So a stage inside is
traced once for each of its own settings and inputs, and a repetition of the block is a walk over
what is known: forwards for the types, backwards for what the result needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flopwise.blocks import Block, Trace, Type, call_stage
from flopwise.blocks.tensor import symbol
from flopwise.dsl.composite import Composite
from flopwise.dsl.evaluate import Around, evaluate_stage
from flopwise.dsl.expr import Value
from flopwise.dsl.plan import Definition, StagePlan
from flopwise.dsl.spent import Spent, Unsteady, looked
from flopwise.dsl.together import Together
from flopwise.dsl.tracing import check_ports, refuse_conversions

__all__ = ["opens", "repeated"]


@dataclass(frozen=True, slots=True)
class _Part:
    """A stage inside at some settings and inputs.

    Attributes:
        type: What it gives.
        used: The positions of the inputs that it reads.
        depends: The positions of those that its result depends on.
        spent: What it costs.
    """

    type: Type
    used: frozenset[int]
    depends: frozenset[int]
    spent: Spent


def repeated(
    block: Block, type: Type, own: Sequence[tuple[str, Any]], together: Together
) -> tuple[Type, bool, Spent]:
    """Returns what one repetition gives, whether that depends on its input, and what it costs.

    Args:
        block: A block with one input and one output.
        type: The type of its input.
        own: The settings that its function takes.
        together: What is known of blocks.

    Raises:
        SpecError: A stage inside cannot be evaluated or applied.
        BlockError: The block cannot be applied.
        Unsteady: It does not need what it reads.
        Later: What it costs is to be traced with others.
    """
    opened = _opened(block.function) if isinstance(block.function, Composite) else None
    if opened:
        together.traces += 1
        return opened.costed(type, dict(own))
    (type,), (reads,), spent = together.repetition(block, type, own)
    return type, bool(reads), spent


def opens(definition: Definition, blocks: Mapping[str, Block]) -> bool:
    """Whether a composite block is costed stage by stage.

    It has one input and one output, as its stages have, and none of these can be left out.
    """
    words = [stage.block.value for stage in definition.stages]
    inner = [blocks.get(word) for word in words if isinstance(word, str)]
    whole = all(stage.when is None for stage in definition.stages)
    one = len(definition.block.ports) == 1 and not definition.block.outputs
    return one and whole and len(inner) == len(words) and all(b and not b.outputs for b in inner)


@lru_cache(maxsize=256)
def _opened(composite: Composite) -> _Opened | None:
    known = opens(composite.definition, composite.blocks)
    return _Opened(composite) if known else None


class _Opened:
    """The stages of a composite block, and what is known of each."""

    def __init__(self, composite: Composite) -> None:
        """Takes a block of one input that opens."""
        self.composite, self.wiring = composite, composite.wiring
        plans = {plan.name: plan for plan in composite.definition.stages}
        self.plans = [plans[name] for name in self.wiring.order]
        self.names = [self._names(plan) for plan in self.plans]
        self._parts: list[dict[Any, _Part]] = [{} for _ in self.plans]
        self._facts: dict[Type, Mapping[str, Value]] = {}

    def _names(self, plan: StagePlan) -> tuple[str, ...]:
        """Returns what a stage inside may need to know of the block around it."""
        inner = self.composite.blocks[str(plan.block.value)]
        names = {"i", "n", "classes"} & {*inner.scope, *inner.fields}
        return tuple(sorted(names.union(*(setting.names for setting in plan.all), {"i", "n"})))

    def costed(self, type: Type, settings: Mapping[str, Any]) -> tuple[Type, bool, Spent]:
        """Returns what one repetition gives, whether that depends on the input, and its costs."""
        if type not in self._facts:
            self._facts[type] = self.composite.facts([symbol(type, Trace(), 0)], settings)
        scope = {**settings, **self._facts[type]}
        port, end = self.composite.definition.block.ports[0], self.wiring.ends[0]
        types, alive = {port: type}, {port: True}
        parts = []
        for at, plan in enumerate(self.plans):
            reads = self.wiring.inputs[plan.name]
            part = self._part(at, tuple(types[read] for read in reads), scope)
            types[plan.name] = part.type
            alive[plan.name] = any(alive[reads[place]] for place in part.depends)
            parts.append((plan.name, reads, part))
        needed, total = {end}, Spent()
        for name, reads, part in reversed(parts):
            if name in needed:
                total += part.spent
                needed.update(reads[place] for place in part.used)
        if port not in needed:
            raise Unsteady("at some picks a stage does not need all it reads")
        return types[end], alive[end], total

    def _part(self, at: int, types: tuple[Type, ...], scope: Mapping[str, Value]) -> _Part:
        worth = tuple([(value.__class__, value) for value in map(scope.get, self.names[at])])
        known, key = self._parts[at], (types, worth)
        if key not in known:
            known[key] = self._traced(self.plans[at], types, scope)
        return known[key]

    def _traced(self, plan: StagePlan, types: Sequence[Type], scope: Mapping[str, Value]) -> _Part:
        composite = self.composite
        around = Around(composite.blocks, composite.defaults, {}, scope)
        stage, _ = evaluate_stage(plan, self.wiring.inputs[plan.name], around)
        check_ports(stage)
        trace = Trace()
        tensors = [trace.input(type) for type in types]
        if composite.strict:
            refuse_conversions(stage, tensors)
        made = call_stage(trace, stage.name, stage.block, tensors, stage.settings)
        (type,), used, (depends,), spent = looked(trace.close(made[0]))
        return _Part(type, used, depends, spent)
