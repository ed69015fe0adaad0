"""A plan and picks to a network: evaluate, wire, trace.

This runs once per candidate of a search, so everything that does not depend on the picks was done
before. A fault found here is one that only shows in numbers, and is told with the computation that
gave the number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flopwise.blocks import Block
from flopwise.dsl.composite import Vocabulary
from flopwise.dsl.evaluate import Around, fitted, left_out
from flopwise.dsl.expr import Value
from flopwise.dsl.memory import Held, evaluate_stages
from flopwise.dsl.network import Input, Network, Stage
from flopwise.dsl.plan import Fixed, Plan, Setting, StagePlan
from flopwise.dsl.tables import INPUT, TOP
from flopwise.dsl.telling import MAX_BLOCKS
from flopwise.dsl.tracing import Tracing
from flopwise.dsl.values import RuleLike
from flopwise.dsl.wire import wire
from flopwise.errors import Fault, SpecError

if TYPE_CHECKING:
    from flopwise.dsl.recipe import Recipe

__all__ = ["Resolver"]

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
        self.memory: dict[str, Held] = {}
        self.vocabulary = Vocabulary(plan.blocks, plan.definitions, plan.strict_kinds)
        self.defaults = {p: s for p, s in plan.places.items() if p.startswith("defaults.")}
        self.wiring = wire(plan.stages, outputs=plan.output, features=plan.features)

    def values(self, picks: Picks) -> dict[str, Value]:
        """Returns what every variable is worth."""
        scope: dict[str, Value] = {}
        for name, written in self.plan.values.items():
            setting = picks.get(name, written)
            rule = TYPED.get(name)
            value = setting.evaluate(scope)
            scope[name] = fitted(value, rule, f"'{name}'", name, setting) if rule else value
        return scope

    def network(self, picks: Picks) -> Network:
        """Returns the network at these picks.

        Raises:
            SpecError: The numbers do not fit together.
        """
        scope = self.values(picks)
        around = Around(self._blocks(picks, scope), self.plan.places, picks, scope)
        removed = left_out(self.plan.stages, around)
        wiring = self.wiring.without(removed) if removed else self.wiring
        if wiring.ends[0] == "input":
            raise SpecError([_empty(self.plan.stages)])
        features = dict.fromkeys(end for end in wiring.ends[1:] if end != "input")
        wiring = replace(wiring, ends=(wiring.ends[0], *features))
        plans = [plan for plan in self.plan.stages if plan.name in wiring.inputs]
        stages, written = evaluate_stages(plans, wiring.inputs, around, self.memory)
        _refuse_size(stages, plans)
        origins = {**self.plan.values, **picks}
        tracing = Tracing(stages, plans, written, origins, strict=self.plan.strict_kinds)
        images, ends = _images(scope), (*self.plan.output, *self.plan.features)
        graph, types = tracing.graph(wiring, images, self.name, ends, advise=not picks)
        return Network(
            name=self.name,
            input=images,
            classes=int(scope["classes"]),  # type: ignore[arg-type]
            stages=tuple(tracing.stages[name] for name in wiring.order),
            graph=graph,
            values=scope,
            ends=wiring.ends,
            types=types,
        )

    def _blocks(self, picks: Picks, scope: Mapping[str, Value]) -> Mapping[str, Block]:
        """Returns the vocabulary; composite blocks hold what the defaults are worth here."""
        if not self.plan.definitions:
            return self.plan.blocks
        own = {path: pick for path, pick in picks.items() if path.startswith("defaults.")}
        given = {
            path: Fixed(each.value, each.place, each.evaluate(scope))
            for path, each in (self.defaults | own).items()
        }
        return self.vocabulary.blocks(given)

    def recipe(self, picks: Picks) -> Recipe:
        """Returns the recipe at these picks."""
        from flopwise.dsl.recipe import Recipe, recipe_rules

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
                found[name] = fitted(value, rule, f"'{name}' of 'train'", name, setting)
            except SpecError as error:
                faults += error.faults
        if faults:
            raise SpecError(faults)
        return Recipe(**found)


def _empty(plans: Sequence[StagePlan]) -> Fault:
    places = [plan.when.place for plan in plans if plan.when] or [plans[0].place]
    fact = "no stage is left: 'when' leaves out all that lead to the output"
    help_ = "keep the stage that makes the output, such as the classifier"
    return Fault(code="E319", message=fact, place=places[-1], helps=(help_,))


def _images(scope: Mapping[str, Value]) -> Input:
    size, channels = scope["input.size"], scope["input.channels"]
    height, width = size if isinstance(size, tuple) else (size, size)
    return Input((int(height), int(width)), int(channels))  # type: ignore[arg-type]


def _refuse_size(stages: Sequence[Stage], plans: Sequence[StagePlan]) -> None:
    total = sum(stage.depth for stage in stages)
    if total > MAX_BLOCKS:
        fact = f"the network has {total} blocks; at most {MAX_BLOCKS} are allowed"
        raise SpecError([Fault(code="E005", message=fact, place=plans[0].place)])
