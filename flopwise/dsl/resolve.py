"""A plan and picks to a network: evaluate, wire, trace.

This runs once per candidate of a search, so everything that does not depend on the picks was done
before. A fault found here is one that only shows in numbers, and is told with the computation that
gave the number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flopwise.blocks import Block
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.functions import show
from flopwise.dsl.network import Input, Network, Stage
from flopwise.dsl.plan import Plan, Setting, StagePlan
from flopwise.dsl.recipe import Recipe, recipe_rules
from flopwise.dsl.tables import INPUT, NODE, TOP
from flopwise.dsl.tracing import Tracing
from flopwise.dsl.values import Misfit, RuleLike, fit
from flopwise.dsl.wire import wire
from flopwise.errors import Fault, SpecError, nearest

__all__ = ["Resolver"]

MAX_BLOCKS = 20_000
TYPED: Mapping[str, RuleLike] = {
    "classes": TOP["classes"],
    "input.size": INPUT["size"],
    "input.channels": INPUT["channels"],
}
Picks = Mapping[str, Setting]


class Resolver:
    """Makes networks and recipes of one plan."""

    def __init__(self, plan: Plan, name: str) -> None:
        """Takes a checked plan and the name of the networks."""
        self.plan, self.name = plan, name
        self.inputs, self.order = wire(plan.stages)

    def values(self, picks: Picks) -> dict[str, Value]:
        """Returns what every variable is worth."""
        scope: dict[str, Value] = {}
        for name, written in self.plan.values.items():
            setting = picks.get(name, written)
            rule = TYPED.get(name)
            value = setting.evaluate(scope)
            scope[name] = _fitted(value, rule, f"'{name}'", name, setting) if rule else value
        return scope

    def network(self, picks: Picks) -> Network:
        """Returns the network at these picks.

        Raises:
            SpecError: The numbers do not fit together.
        """
        scope = self.values(picks)
        written: dict[str, Mapping[str, Setting]] = {}
        stages: list[Stage] = []
        faults: list[Fault] = []
        for plan in self.plan.stages:
            try:
                block = self._block(picks.get(f"net.{plan.name}.block", plan.block), scope)
                written[plan.name] = self._written(plan, block, picks)
                stages.append(self._stage(plan, block, written[plan.name], scope))
            except SpecError as error:
                faults += error.faults
        if faults:
            raise SpecError(dict.fromkeys(faults))
        _refuse_size(stages, self.plan.stages)
        origins = {**self.plan.values, **picks}
        tracing = Tracing(stages, self.plan.stages, written, origins)
        images = _images(scope)
        return Network(
            name=self.name,
            input=images,
            classes=int(scope["classes"]),  # type: ignore[arg-type]
            stages=tuple(stages),
            graph=tracing.graph(self.order, images, self.name),
            values=scope,
        )

    def recipe(self, picks: Picks) -> Recipe:
        """Returns the recipe at these picks."""
        scope = self.values(picks)
        found: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, rule in recipe_rules().items():
            path = f"train.{name}"
            setting = picks.get(path) or self.plan.places.get(path)
            if setting is None:
                continue
            try:
                value = setting.evaluate(scope)
                found[name] = _fitted(value, rule, f"'{name}' of 'train'", name, setting)
            except SpecError as error:
                faults += error.faults
        if faults:
            raise SpecError(faults)
        return Recipe(**found)

    def _block(self, setting: Setting, scope: Mapping[str, Value]) -> Block:
        name, blocks = setting.evaluate(scope), self.plan.blocks
        if isinstance(name, str) and name in blocks:
            return blocks[name]
        near = nearest(name, blocks) if isinstance(name, str) else None
        told = Fault(
            code="E101",
            message=f"there is no block called {show(name)}",
            place=setting.place,
            helps=(f"did you mean '{near}'?",) if near else (),
            notes=(f"blocks: {', '.join(blocks)}",),
        )
        raise SpecError([told])

    def _written(self, plan: StagePlan, block: Block, picks: Picks) -> dict[str, Setting]:
        """Returns the setting that holds for each field: the stage's, else a default."""
        places, found = self.plan.places, {}
        for name, field in block.fields.items():
            stage, own, shared = _addresses(plan.name, block.name, name)
            setting = picks.get(stage) or plan.settings.get(name)
            setting = setting or picks.get(own) or places.get(own)
            if setting is None and not field.local:
                setting = picks.get(shared) or places.get(shared)
            if setting is not None:
                found[name] = setting
        depth = picks.get(f"net.{plan.name}.depth") or plan.depth
        return {**found, "depth": depth} if depth else found

    def _stage(
        self,
        plan: StagePlan,
        block: Block,
        written: Mapping[str, Setting],
        scope: Mapping[str, Value],
    ) -> Stage:
        _refuse_strangers(plan, block)
        depth = 1
        if "depth" in written:
            value = written["depth"].evaluate(scope)
            what = f"'depth' of stage '{plan.name}'"
            depth = int(_fitted(value, NODE["depth"], what, "depth", written["depth"]))  # type: ignore[arg-type]
        if block.once and depth != 1:
            fact = f"block '{block.name}' stands alone and cannot be repeated"
            place, help_ = written["depth"].place, "delete 'depth'"
            raise SpecError([Fault(code="E203", message=fact, place=place, helps=(help_,))])
        counted = any(setting.names & {"i", "n"} for setting in written.values())
        rounds = range(depth if counted else 1)
        each = [
            dict(_evaluated(plan, block, written, {**scope, "i": i, "n": depth})) for i in rounds
        ]
        settings = tuple(each) if counted else tuple(each * depth)
        return Stage(
            name=plan.name,
            block=block,
            depth=depth,
            settings=settings,
            inputs=self.inputs[plan.name],
        )


def _addresses(stage: str, block: str, name: str) -> tuple[str, str, str]:
    return f"net.{stage}.{name}", f"defaults.{block}.{name}", f"defaults.{name}"


def _fitted(value: Value, rule: RuleLike, what: str, name: str, setting: Setting) -> Value:
    """Returns a value in the type of its rule, or tells how it came about."""
    computed = isinstance(setting.value, Expression)
    try:
        return fit(value, rule, what, computed=computed)
    except Misfit as error:
        notes = (setting.computation(name, value),) if computed else ()
        told = Fault(
            code=error.code,
            message=error.message,
            place=setting.place,
            label=error.label,
            helps=error.helps,
            notes=notes,
        )
        raise SpecError([told]) from None


def _refuse_strangers(plan: StagePlan, block: Block) -> None:
    """Refuses settings the block lacks; only a block that an expression chose can have any."""
    faults = [
        Fault(
            code="E102",
            message=f"block '{block.name}' has no setting '{name}'",
            place=setting.place,
            helps=(
                f"move it to  defaults: {{BLOCK: {{{name}: ...}}}}  of the blocks that have it",
            ),
        )
        for name, setting in plan.settings.items()
        if name not in block.fields
    ]
    if faults:
        raise SpecError(faults)


def _evaluated(
    plan: StagePlan, block: Block, written: Mapping[str, Setting], scope: Mapping[str, Value]
) -> Iterator[tuple[str, Any]]:
    """Yields every field of the block with its value in one repetition."""
    for name, field in block.fields.items():
        if name in written:
            what = f"'{name}' of block '{block.name}'"
            value = written[name].evaluate(scope)
            yield name, _fitted(value, field, what, name, written[name])
        elif field.required:
            help_ = f"add  {name}: ...  to stage '{plan.name}'"
            fact = f"block '{block.name}' needs '{name}'"
            told = Fault(code="E103", message=fact, place=plan.place, helps=(help_,))
            raise SpecError([replace(told, notes=(field.doc,) if field.doc else ())])
        else:
            yield name, scope["classes"] if name == "classes" else field.default


def _images(scope: Mapping[str, Value]) -> Input:
    size, channels = scope["input.size"], scope["input.channels"]
    height, width = size if isinstance(size, tuple) else (size, size)
    return Input((int(height), int(width)), int(channels))  # type: ignore[arg-type]


def _refuse_size(stages: Sequence[Stage], plans: Sequence[StagePlan]) -> None:
    total = sum(stage.depth for stage in stages)
    if total > MAX_BLOCKS:
        fact = f"the network has {total} blocks; at most {MAX_BLOCKS} are allowed"
        raise SpecError([Fault(code="E005", message=fact, place=plans[0].place)])
