"""How the networks of a space are put together, choice by choice: steps, conditions, checks.

A route is what a table of costs is made from. It holds no numbers yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from flopwise.dsl.domains import Domain
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.needed import Needed
from flopwise.dsl.plan import Plan
from flopwise.dsl.recipe import recipe_rules
from flopwise.dsl.resolve import TYPED, Resolver
from flopwise.dsl.space import Search, Window
from flopwise.dsl.spent import Unsteady
from flopwise.dsl.stepwise import Step, steps_of
from flopwise.dsl.tables import METRICS
from flopwise.dsl.targets import Names

__all__ = ["Check", "Route", "route"]

Picks: TypeAlias = Mapping[str, Value]
TOTALS = (*METRICS, "depth_total")


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold of picks, whatever they cost.

    Attributes:
        targets: The targets it depends on.
        met: Whether it holds; raises `SpecError` where the picks make no candidate.
    """

    targets: frozenset[str]
    met: Callable[[Picks], bool]


@dataclass(frozen=True, slots=True)
class Route:
    """How the networks of a space are put together.

    Attributes:
        domains: Target -> values, those of a fit's target included.
        steps: The steps in their order.
        ends: What is read of the last of them.
        checks: What must hold of the picks.
        windows: Requirements on one total, such as macs <= 4.5e9.
        others: Requirements on totals in any other form.
        conditions: Target -> the targets that decide whether it counts.
    """

    domains: Mapping[str, Domain]
    steps: Sequence[Step]
    ends: tuple[str, ...]
    checks: Sequence[Check]
    windows: Sequence[tuple[str, Window]]
    others: Sequence[Expression]
    conditions: Mapping[str, frozenset[str]]
    _needed: Needed
    _when: Mapping[str, tuple[Expression, ...]]

    def counts(self, target: str, picks: Picks) -> bool:
        """Whether a target counts at the picks that count and decide about it."""
        names = Names(self._needed.settings, picks)
        return all(each.evaluate(names) is True for each in self._when.get(target, ()))

    def met(self, picks: Picks, totals: Mapping[str, int]) -> bool:
        """Whether all requirements on totals hold."""
        names = _Scope(self._needed, picks)
        return all(each.evaluate({**names.of(each), **totals}) is True for each in self.others)


def route(plan: Plan, resolver: Resolver, search: Search) -> Route:
    """Returns the route of a space.

    Raises:
        Unsteady: What a step costs cannot be told from its own inputs.
    """
    domains = dict(search.space)
    if search.fit:
        domains[search.fit.vary] = search.fit.domain
        if search.fit.vary in search.when:
            raise Unsteady(f"'{search.fit.vary}' is solved by 'fit' and does not always count")
    needed = Needed(plan, domains, search.when, TYPED)
    early = [each for each in search.require if not each.names & {*TOTALS}]
    late = [each for each in search.require if each.names & {*TOTALS}]
    windows = {each: found for each in late if (found := _window(each))}
    conditions = {
        target: needed.of(chain.from_iterable(each.names for each in several))
        for target, several in search.when.items()
    }
    return Route(
        domains=domains,
        steps=steps_of(plan, resolver.wiring, resolver.vocabulary, domains, needed),
        ends=resolver.wiring.ends,
        checks=[*_evaluable(plan, needed), *(_required(each, needed) for each in early)],
        windows=tuple(windows.values()),
        others=tuple(each for each in late if each not in windows),
        conditions=conditions,
        _needed=needed,
        _when=search.when,
    )


class _Scope:
    """What requirements may name at some picks."""

    def __init__(self, needed: Needed, picks: Picks) -> None:
        self.needed, self.names = needed, Names(needed.settings, picks)

    def of(self, expression: Expression) -> dict[str, Value]:
        known = {name for name in expression.names if name in self.names}
        return {name: self._worth(name) for name in known}

    def _worth(self, name: str) -> Value:
        there = f"{name.removesuffix('.depth')}.when"
        if name.startswith("net.") and self.names[there] is False:
            return 0
        return self.names[name]


def _required(expression: Expression, needed: Needed) -> Check:
    names = {*expression.names}
    names |= {f"{name.removesuffix('.depth')}.when" for name in names if name.startswith("net.")}

    def met(picks: Picks) -> bool:
        value = expression.evaluate(_Scope(needed, picks).of(expression))
        if not isinstance(value, bool):
            raise Unsteady(f"the requirement {expression.text} is not always true or false")
        return value

    return Check(needed.of(names), met)


def _evaluable(plan: Plan, needed: Needed) -> Iterator[Check]:
    """Yields a check for everything that is evaluated although no stage asks for it."""
    rules = {f"train.{name}": rule for name, rule in recipe_rules().items()}
    inside = bool(plan.definitions)
    for name, setting in needed.settings.items():
        trained = name in rules and name in plan.places
        asked = name in plan.values or trained or (inside and name.startswith("defaults."))
        targets = needed.of([name]) if asked and setting.names else frozenset()
        if targets and name not in needed.always:
            yield Check(targets, _evaluates(name, needed))


def _evaluates(name: str, needed: Needed) -> Callable[[Picks], bool]:
    def met(picks: Picks) -> bool:
        needed.typed([name], picks)
        return True

    return met


def _window(expression: Expression) -> tuple[str, Window] | None:
    """Returns the window that a comparison of one total with a number is."""
    found = expression.compared()
    if found is None or found[0] not in TOTALS or not isinstance(found[2], int | float):
        return None
    name, word, number = found[0], found[1], float(found[2])
    whole = int(number // 1)
    exact = whole == number
    return {
        "<=": (name, Window(None, whole)),
        "<": (name, Window(None, whole - exact)),
        ">=": (name, Window(whole + (not exact), None)),
        ">": (name, Window(whole + 1, None)),
    }.get(word)
