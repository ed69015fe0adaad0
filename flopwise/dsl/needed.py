"""Which targets of a space each part of a spec depends on, found in its expressions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from flopwise.blocks import Block
from flopwise.dsl.composite import reach
from flopwise.dsl.domains import Domain
from flopwise.dsl.evaluate import fitted
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.plan import Definition, Plan, Setting, StagePlan
from flopwise.dsl.targets import NOWHERE, Names, settings_of
from flopwise.dsl.values import RuleLike

__all__ = ["Needed"]

Picks: TypeAlias = Mapping[str, Value]


class Needed:
    """The dependencies of one spec on the targets of its space."""

    def __init__(
        self,
        plan: Plan,
        space: Mapping[str, Domain],
        when: Collection[str],
        rules: Mapping[str, RuleLike],
    ) -> None:
        """Takes a checked plan, its space, the targets that do not always count, typed names."""
        self.plan, self.space, self.rules = plan, space, rules
        self.always = {target for target in space if target not in when}
        self.settings = settings_of(plan)
        self._definitions = {each.block.name: each for each in plan.definitions}
        self._inside: dict[str, tuple[str, ...]] = {}
        self._worth: dict[str, tuple[tuple[str, ...], dict[Any, Value]]] = {}
        self._picked: dict[str, Setting] = {}

    def of(self, names: Iterable[str]) -> frozenset[str]:
        """Returns the targets that some names depend on, however far away."""
        return frozenset(self._closure(names) & self.space.keys())

    def _closure(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            if name not in self.always and name in self.settings:  # else the pick holds
                waiting += self.settings[name].names
        return found

    def typed(self, names: Iterable[str], picks: Picks) -> dict[str, Value]:
        """Returns what names are worth, in the types of their rules.

        Raises:
            SpecError: A value does not fit, or cannot be worked out.
        """
        found: dict[str, Value] = {}
        for name in names:
            if name not in self._worth:
                self._worth[name] = tuple(sorted(self.of([name]))), {}
            order, known = self._worth[name]
            key = tuple([(value.__class__, value) for value in map(picks.get, order)])
            if key not in known:
                known[key] = self._typed(name, picks)
            found[name] = known[key]
        return found

    def _typed(self, name: str, picks: Picks) -> Value:
        setting = self.setting(picks[name]) if name in picks else self.settings[name]
        rule, value = self.rules.get(name), Names(self.settings, picks)[name]
        return fitted(value, rule, f"'{name}'", name, setting) if rule else value

    def setting(self, value: Value) -> Setting:
        """Returns a pick as a setting, the same one for the same value."""
        key = repr(value)
        if key not in self._picked:
            self._picked[key] = Setting(value, NOWHERE)
        return self._picked[key]

    def names(self, stage: StagePlan, targets: Collection[str]) -> tuple[str, ...]:
        """Returns the variables in the settings of a stage that depend on these targets alone."""
        used = {name for each in self._all(stage) for name in each.names} | {"classes"}
        known = sorted(used & self.plan.values.keys())
        return tuple(name for name in known if self.of([name]) <= frozenset(targets))

    def block(self, stage: StagePlan) -> Block | None:
        """Returns the block of a stage, None where picks choose it."""
        path = f"net.{stage.name}.block"
        if path in self.space or isinstance(stage.block.value, Expression):
            return None
        return self.plan.blocks.get(str(stage.block.value))

    def composite(self, stage: StagePlan) -> bool:
        """Whether a stage may be a composite block."""
        return any(name in self._definitions for name in self._blocks(stage))

    def definition(self, name: str) -> Definition | None:
        """Returns what a composite block is made of; None for any other block."""
        return self._definitions.get(name)

    def inside(self, stage: StagePlan) -> tuple[str, ...]:
        """Returns the paths of the defaults that reach inside the composite blocks of a stage."""
        if stage.name not in self._inside:
            found: dict[str, None] = {}
            waiting = [name for name in self._blocks(stage) if name in self._definitions]
            seen: set[str] = set()
            while waiting:
                name = waiting.pop()
                if name in seen or name not in self._definitions:
                    continue
                seen.add(name)
                definition = self._definitions[name]
                found |= dict.fromkeys(reach(definition, self.plan.blocks))
                waiting += definition.uses
            self._inside[stage.name] = tuple(found)
        return self._inside[stage.name]

    def stage(self, stage: StagePlan) -> frozenset[str]:
        """Returns the targets a whole stage depends on."""
        found = self.of([f"net.{stage.name}.block"]) | self.depth(stage)
        for name in self._blocks(stage):
            block = self.plan.blocks[name]
            found |= self.fields(stage, block, block.fields)
        found |= {target for target in self.space if target.startswith(f"net.{stage.name}[")}
        return found

    def alike(self, stage: StagePlan, block: Block) -> bool:
        """Whether all repetitions of a stage have the same settings, whatever is picked."""
        used = {name for setting in self._all(stage) for name in setting.names}
        return not stage.single and not {"i", "n"} & used.union(block.scope)

    def depth(self, stage: StagePlan) -> frozenset[str]:
        """Returns the targets that the depth of a stage depends on."""
        return self.of([f"net.{stage.name}.depth"])

    def fields(
        self, stage: StagePlan, block: Block, names: Iterable[str], at: int | None = None
    ) -> frozenset[str]:
        """Returns the targets that settings of a stage depend on; `at` names one repetition."""
        found: set[str] = set()
        counted = set(block.scope)
        for name in names:
            used = set(self._setting_names(stage, block, name, at))
            counted |= used & {"i", "n"}
            found |= self.of(used)
        if "classes" in block.scope:
            found |= self.of(["classes"])
        if "n" in counted:
            found |= self.depth(stage)
        found |= self.of(self.inside(stage) if block.name in self._definitions else ())
        return frozenset(found)

    def _setting_names(
        self, stage: StagePlan, block: Block, name: str, at: int | None
    ) -> Iterator[str]:
        """Yields the addresses a setting may come from and the names they use, nearest first."""
        for index, setting in stage.single.get(name, {}).items():
            if at in (None, index):
                yield from setting.names
        single = f"net.{stage.name}[{at}].{name}"
        if single in self.space:
            yield single
            if single in self.always:
                return
        own = f"defaults.{block.name}.{name}"
        shared = () if block.fields[name].local else (f"defaults.{name}",)
        for path in (f"net.{stage.name}.{name}", own, *shared):
            if path in self.space or path in self.settings:
                yield path
            if path in self.always or path in self.settings:
                return
        if name == "classes":
            yield name

    def _blocks(self, stage: StagePlan) -> tuple[str, ...]:
        """Returns the names of the blocks a stage may be."""
        block = self.block(stage)
        return (block.name,) if block else tuple(self.plan.blocks)

    def _all(self, stage: StagePlan) -> Iterator[Setting]:
        """Yields all settings that may hold in a stage."""
        yield from stage.all
        paths = {*self.inside(stage)}
        for name in self._blocks(stage):
            block = self.plan.blocks[name]
            paths |= {f"defaults.{name}.{key}" for key in block.fields}
            paths |= {f"defaults.{key}" for key, f in block.fields.items() if not f.local}
        yield from (self.plan.places[path] for path in paths if path in self.plan.places)
