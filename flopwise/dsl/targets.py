"""What picks may set: every address of a spec, how deep a stage may get, and who depends on whom.

A target may count only under a condition: `when` says so, and a target of one repetition counts
only in stages that are deep enough. A target that does not count keeps its written value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from flopwise.dsl.domains import Domain
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.plan import Plan, Setting
from flopwise.dsl.recipe import recipe_rules
from flopwise.dsl.tables import INPUT, TOP, fields_of
from flopwise.dsl.values import Rule, RuleLike
from flopwise.errors import Fault, Place, Source, SpecError

__all__ = ["NOWHERE", "Activity", "Names", "depths", "needs", "settings_of", "target_rules"]

VALUE = Rule(name="", type="value")
LISTED = 20_000
"""Most combinations of values that are tried to find how deep a stage may get."""
NOWHERE = Place(Source("", ()), 1, 1)
ONCE, THERE = Setting(1, NOWHERE), Setting(True, NOWHERE)


def target_rules(plan: Plan) -> dict[str, RuleLike]:
    """Returns every address that picks may set, with what it may hold."""
    rules: dict[str, RuleLike] = dict.fromkeys(plan.values, VALUE)
    rules |= {"classes": TOP["classes"]}
    rules |= {f"input.{name}": rule for name, rule in INPUT.items()}
    rules |= {f"train.{name}": rule for name, rule in recipe_rules().items()}
    for stage in plan.stages:
        name = stage.block.value
        known = isinstance(name, str)
        fields = fields_of(plan.blocks[name] if isinstance(name, str) else None)
        fields = {**fields, "block": Rule(name="block", type="text", choices=tuple(plan.blocks))}
        if not known:
            fields |= {key: VALUE for key in stage.settings if key not in fields}
        rules |= {f"net.{stage.name}.{key}": rule for key, rule in fields.items()}
    for block in plan.blocks.values():
        rules |= {f"defaults.{block.name}.{key}": field for key, field in block.fields.items()}
        rules |= {f"defaults.{k}": VALUE for k, field in block.fields.items() if not field.local}
    return rules


def settings_of(plan: Plan) -> dict[str, Setting]:
    """Returns every written setting that an expression about picks may name, by its address."""
    found = {**plan.values, **plan.places}
    for stage in plan.stages:
        found |= {f"net.{stage.name}.{key}": each for key, each in stage.settings.items()}
        found[f"net.{stage.name}.depth"] = stage.depth or ONCE
        found[f"net.{stage.name}.block"] = stage.block
        found[f"net.{stage.name}.when"] = stage.when or THERE
    return found


class Names(Mapping[str, Value]):
    """What names are worth at some picks; each is evaluated once, when it is asked for."""

    def __init__(self, settings: Mapping[str, Setting], picks: Mapping[str, Value]) -> None:
        """Takes the written settings, and the picks on top of them."""
        self._settings, self._picks = settings, picks
        self._known: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        waiting = [name]
        while waiting:  # a long chain of variables must not exhaust the stack
            at = waiting[-1]
            needed = () if at in self._picks or at in self._known else self._settings[at].names
            missing = [n for n in needed if n in self._settings and not self._has(n)]
            if not missing:
                waiting.pop()
                if not self._has(at):
                    self._known[at] = self._settings[at].evaluate(self)
            waiting += missing
        return self._picks[name] if name in self._picks else self._known[name]

    def _has(self, name: str) -> bool:
        return name in self._picks or name in self._known

    def __contains__(self, name: object) -> bool:
        return name in self._picks or name in self._settings

    def __iter__(self) -> Iterator[str]:
        return iter({**self._settings, **self._picks})

    def __len__(self) -> int:
        return len({**self._settings, **self._picks})


@dataclass(frozen=True, slots=True)
class Activity:
    """Which targets count at which picks.

    Attributes:
        settings: Every written setting by its address.
        when: Target -> what must be true for it to count, each after those it depends on.
    """

    settings: Mapping[str, Setting]
    when: Mapping[str, tuple[Expression, ...]]

    def active(self, picks: Mapping[str, Value]) -> dict[str, Value]:
        """Returns the picks that count.

        Raises:
            SpecError: A condition is neither true nor false (E506).
        """
        kept = {target: value for target, value in picks.items() if target not in self.when}
        if len(kept) == len(picks):
            return kept
        names = Names(self.settings, kept)  # what it has evaluated depends on no later target
        for target, conditions in self.when.items():
            if target in picks and all(_met(each, names) for each in conditions):
                kept[target] = picks[target]
        return {target: kept[target] for target in picks if target in kept}


def needs(names: frozenset[str], settings: Mapping[str, Setting]) -> set[str]:
    """Returns these names and all that their settings need, however far away."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += settings[name].names if name in settings else ()
    return found


def depths(
    stage: str, settings: Mapping[str, Setting], space: Mapping[str, Domain]
) -> tuple[int, int] | None:
    """Returns the smallest and the largest depth a stage can have in a space.

    None where too many values play a part to try them all, or no depth comes out.
    """
    path = f"net.{stage}.depth"
    driving = [name for name in needs(frozenset({path}), settings) if name in space]
    if prod(space[name].size for name in driving) > LISTED:
        return None
    axes = [_with_written(name, space[name], settings) for name in driving]
    found = []
    for values in product(*axes):
        try:
            depth = Names(settings, dict(zip(driving, values, strict=True)))[path]
        except SpecError:  # these values make no network
            continue
        if isinstance(depth, int) and not isinstance(depth, bool) and depth > 0:
            found.append(depth)
    return (min(found), max(found)) if found else None


def _with_written(name: str, domain: Domain, settings: Mapping[str, Setting]) -> tuple[Value, ...]:
    """Returns the values of a domain, and the written one, which holds while it does not count."""
    written = Names(settings, {})[name] if name in settings else None
    return tuple(domain.values()) if written is None else (*domain.values(), written)


def _met(condition: Expression, names: Names) -> bool:
    value = condition.evaluate(names)
    if not isinstance(value, bool):
        fact = f"a condition must be true or false, but this is {value!r}"
        help_ = "compare it with something, as in  when: $(depth > 2)"
        told = Fault(code="E506", message=fact, place=condition.place, helps=(help_,))
        raise SpecError([told])
    return value
