"""Reading the `search` section: what may vary and under which conditions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flopwise.blocks import Field
from flopwise.dsl.checker import Checker
from flopwise.dsl.domains import Choice, Domain, Range
from flopwise.dsl.expr import Expression, parse_expression
from flopwise.dsl.goals import read_budgets, read_fit, read_objectives, read_require
from flopwise.dsl.paths import whole_of
from flopwise.dsl.plan import Plan, read_setting
from flopwise.dsl.ranges import read_domain
from flopwise.dsl.space import Final, Search
from flopwise.dsl.tables import FINAL, METRICS, SEARCH
from flopwise.dsl.targets import depths, needs, settings_of, target_rules
from flopwise.dsl.tree import Node, Section
from flopwise.dsl.trying import read_trying
from flopwise.dsl.values import RuleLike
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = ["read_search"]

When = dict[str, tuple[Expression, ...]]
ALIKE = {
    "train.data": "scores on different images cannot be compared",
    "train.validation": "scores on different images cannot be compared",
    "train.workers": "it changes how fast a training is, not what it gives",
}
"""Settings that all trials share, and why."""


def read_search(section: Section, at: Place, plan: Plan, checker: Checker) -> Search:
    """Returns the search of a spec.

    Raises:
        SpecError: Every fault of the section.
    """
    checker.keys(section, SEARCH, "'search'", at)
    good = {
        name: node
        for name, node in section.entries.items()
        if name in SEARCH and checker.shape(node, SEARCH[name])
    }
    rules = target_rules(plan)
    targets = _Targets(checker, plan, rules)
    if isinstance(node := good.get("space"), Section):
        targets.read(node)
    budget = tuple(read_budgets(checker, good["budget"])) if "budget" in good else ()
    fit = None
    if isinstance(node := good.get("fit"), Section):
        fit = read_fit(checker, node, targets.space, rules, budget)
    found = _others(checker, good, plan)
    checker.stop_if_faulty()
    when = targets.conditions(fit.vary if fit else None)
    checker.stop_if_faulty()
    space = {name: domain for name, domain in targets.space.items() if not fit or name != fit.vary}
    place = section.keys.get("budget") or section.keys.get("fit") or at
    search = Search(
        space=space,
        when=when,
        fit=fit,
        budget=budget,
        place=place,
        places=targets.places,
        **found,
    )
    return read_trying(checker, search, good)


def _others(checker: Checker, good: Mapping[str, Node], plan: Plan) -> dict[str, Any]:
    """Returns what a search has besides its space, its budgets and its fit."""
    found = _numbers(checker, good)
    if "require" in good:
        found["require"] = tuple(read_require(checker, good["require"], plan))
    if "objective" in good:
        found["objectives"] = read_objectives(checker, good["objective"])
    if isinstance(node := good.get("final"), Section):
        final: dict[str, Any] = dict(checker.literals(node, FINAL, "'final'", node.place))
        found["final"] = Final(**final)
    return found


def _numbers(checker: Checker, nodes: Mapping[str, Node]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("trials", "max_rejects"):
        if name in nodes:
            value = checker.literal(nodes[name], SEARCH[name], f"'{name}'")
            found |= {name: value} if isinstance(value, int) else {}
    return found


class _Targets:
    """The space while it is read: domains, and the conditions of those that have some."""

    def __init__(self, checker: Checker, plan: Plan, rules: Mapping[str, RuleLike]) -> None:
        self.checker, self.plan, self.rules = checker, plan, rules
        self.settings = settings_of(plan)
        self.space: dict[str, Domain] = {}
        self.when: When = {}
        self.places: dict[str, Place] = {}

    def read(self, section: Section) -> None:
        """Reads every line of `space`; those of single repetitions need the others first."""
        repeated: list[tuple[str, Place, Domain, tuple[Expression, ...]]] = []
        for target, node in section.entries.items():
            place = section.keys[target]
            if "[" not in target:
                rule = self.rules.get(target)
            else:
                rule = self._rule_of_repetition(target, place)
            if rule is None:
                if "[" not in target or whole_of(target)[0] not in self.rules:
                    self._no_target(target, place)
                continue
            domain = read_domain(self.checker, target, node, rule)
            conditions = self._when(node)
            if domain and "[" in target:
                repeated.append((target, place, domain, conditions))
            elif domain:
                self._add(target, place, domain, conditions)
            self.places[target] = node.place
        for each in repeated:
            self._expand(*each)
        self._refuse_shared()

    def _refuse_shared(self) -> None:
        """Refuses targets that a setting depends on which all trials share."""
        several = {target for target, domain in self.space.items() if domain.size > 1}
        for setting, why in ALIKE.items():
            for target in sorted(needs(frozenset({setting}), self.settings) & several):
                driven = "" if target == setting else f", which '{target}' sets"
                fact = f"all trials of a search share '{setting}'{driven}"
                help_ = f"write one value; for another start a study with  --set {setting}=..."
                self.checker.fault("E514", fact, self.places[target], help_, note=why)

    def conditions(self, fitted: str | None) -> When:
        """Returns the conditions, each target after those that it depends on."""
        stages = (f"net.{stage.name}.depth" for stage in self.plan.stages)
        known = {*self.plan.values, *stages, *self.space}
        depends: dict[str, set[str]] = {}
        for target, conditions in self.when.items():
            for condition in conditions:
                self._check(target, condition, known)
            needed = needs(frozenset().union(*(each.names for each in conditions)), self.settings)
            depends[target] = {name for name in needed if name in self.when}
            if fitted in needed:
                fact = f"the condition of '{target}' depends on '{fitted}', which 'fit' solves last"
                self.checker.fault("E508", fact, conditions[0].place, "let it depend on others")
        ordered: When = {}
        while len(ordered) < len(self.when):
            waiting = [target for target in self.when if target not in ordered]
            ready = [target for target in waiting if not depends[target] - ordered.keys()]
            if not ready:
                self._circle(waiting, depends)
                break
            ordered |= {target: self.when[target] for target in ready}
        return ordered

    def _add(
        self, target: str, place: Place, domain: Domain, conditions: tuple[Expression, ...]
    ) -> None:
        if target in self.space:
            fact = f"'{target}' has two domains"
            self.checker.fault("E507", fact, place, "delete this line, or the one with [*]")
            return
        self.space[target] = domain
        if conditions:
            self.when[target] = conditions

    def _when(self, node: Node) -> tuple[Expression, ...]:
        if not isinstance(node, Section) or "when" not in node.entries:
            return ()
        inner = node.entries["when"]
        try:
            setting = read_setting(inner)
        except SpecError as error:
            self.checker.faults += error.faults
            return ()
        if setting is None or not isinstance(setting.value, Expression):
            text = setting.value if setting and isinstance(setting.value, str) else "se"
            fact = "'when' is an expression that is true or false"
            self.checker.fault("E506", fact, inner.place, f"write  when: $({text})")
            return ()
        return (setting.value,)

    def _rule_of_repetition(self, target: str, place: Place) -> RuleLike | None:
        """Returns what one repetition of a stage may hold at a setting."""
        whole, _ = whole_of(target)
        rule = self.rules.get(whole)
        key = whole.rpartition(".")[2]
        if rule is not None and key in ("depth", "block"):
            fact = f"'{key}' belongs to the whole stage, not to one of its repetitions"
            self.checker.fault("E507", fact, place, f"write  {whole}")
            return None
        if isinstance(rule, Field) and rule.first:
            fact = f"'{key}' counts in the first repetition only"
            self.checker.fault("E507", fact, place, f"write  {whole}")
            return None
        return rule

    def _expand(
        self, target: str, place: Place, domain: Domain, conditions: tuple[Expression, ...]
    ) -> None:
        """Adds one target per repetition, each under the condition that the stage is that deep."""
        whole, only = whole_of(target)
        _, stage, key = whole.split(".")
        if whole in self.space and only is None:
            fact = f"'{whole}' and '{target}' both say what '{key}' is"
            self.checker.fault("E507", fact, place, "delete one of the two lines")
            return
        span = depths(stage, self.settings, self.space)
        if span is None:
            fact = f"how deep '{stage}' may get cannot be listed"
            help_ = f"make net.{stage}.depth, or the variable it comes from, a target of few values"
            self.checker.fault("E507", fact, place, help_)
            return
        least, most = span
        if only is not None and only >= most:
            fact = f"'{stage}' has at most {most} repetitions, so there is none of number {only}"
            help_ = f"they are counted from 0: write at most {most - 1}"
            self.checker.fault("E507", fact, place, help_)
            return
        for index in range(most) if only is None else (only,):
            deep = f"$(net.{stage}.depth > {index})"
            deeper = () if index < least else (parse_expression(deep, place),)
            single = f"net.{stage}[{index}].{key}"
            self._add(single, place, domain, (*deeper, *conditions))
            self.places[single] = self.places[target]

    def _check(self, target: str, condition: Expression, known: Collection[str]) -> None:
        costs = sorted(condition.names & {*METRICS, "depth_total"})
        if costs:
            fact = f"the condition of '{target}' depends on {costs[0]}"
            note = "costs are known only when everything is picked, so they cannot decide what is"
            help_ = f"write it under 'require', as in  require: [$({condition.text})]"
            self.checker.fault("E506", fact, condition.place, help_, note=note)
            return
        self.checker.faults += condition.unknown(known)
        self._refuse_equality(target, condition)

    def _refuse_equality(self, target: str, condition: Expression) -> None:
        operands = condition.equated()
        domains = [self.space[name] for name in operands if name in self.space]
        if any(isinstance(each, float) for each in operands) or any(map(_decimal, domains)):
            fact = f"the condition of '{target}' compares decimals for equality"
            note = "whether two decimals are equal is a matter of rounding"
            help_ = "compare with < or >, or give the cases names with a text variable"
            self.checker.fault("E506", fact, condition.place, help_, note=note)

    def _circle(self, waiting: list[str], depends: Mapping[str, set[str]]) -> None:
        walk = [waiting[0]]
        while walk[-1] not in walk[:-1]:
            walk.append(min(depends[walk[-1]] & set(waiting)))
        circle = walk[walk.index(walk[-1]) :]
        fact = f"conditions need each other: {' -> '.join(circle)}"
        help_ = "delete 'when' from one of them"
        also = tuple((self.when[name][0].place, "and this one") for name in circle[1:-1])
        place = self.when[circle[0]][0].place
        told = Fault(code="E506", message=fact, place=place, also=also, helps=(help_,))
        self.checker.faults.append(told)

    def _no_target(self, target: str, place: Place) -> None:
        section, dot, last = target.rpartition(".")
        beside = {
            each.rpartition(".")[2]: each
            for each in self.rules
            if dot and each.rpartition(".")[0] == section
        }
        near = nearest(target, self.rules) or beside.get(nearest(last, beside) or "")
        helps = [f"did you mean '{near}'?"] if near else []
        if "." not in target and not near:
            helps = [f"give it a value under vars, or name a place such as net.STAGE.{target}"]
        fact = f"'{target}' is neither a variable nor a place of this spec"
        self.checker.fault("E404", fact, place, *helps)


def _decimal(domain: Domain) -> bool:
    if isinstance(domain, Choice):
        return any(isinstance(value, float) for value in domain.options)
    return isinstance(domain, Range) and not domain.whole
