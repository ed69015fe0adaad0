"""Reading the `search` section: targets, domains, budgets, requirements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose

from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.plan import Plan
from flopwise.dsl.recipe import recipe_rules
from flopwise.dsl.space import Choice, Domain, Final, Range, SamplerChoice, Search, Window
from flopwise.dsl.tables import (
    FINAL,
    INPUT,
    METRICS,
    NODE,
    OBJECTIVES,
    SAMPLER,
    SEARCH,
    TOP,
    fields_of,
)
from flopwise.dsl.tree import Items, Node, Section
from flopwise.dsl.values import Rule, RuleLike, read_share, read_window_edge
from flopwise.errors import Place, nearest

__all__ = ["read_search", "target_rules"]

VALUE = Rule(name="", type="value")


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
    space = dict(_space(checker, good.get("space"), plan))
    budget = tuple(_budgets(checker, good["budget"])) if "budget" in good else ()
    require = tuple(_require(checker, good["require"], plan)) if "require" in good else ()
    objective = _objective(checker, good.get("objective"))
    trials = (
        checker.literal(good["trials"], SEARCH["trials"], "'trials'") if "trials" in good else None
    )
    sampler = _literals(checker, good.get("sampler"), SAMPLER, "'sampler'")
    final = _literals(checker, good.get("final"), FINAL, "'final'")
    checker.stop_if_faulty()
    return Search(
        space=space,
        budget=budget,
        require=require,
        objective=objective,
        **({"trials": trials} if isinstance(trials, int) else {}),
        sampler=SamplerChoice(**sampler),  # type: ignore[arg-type]
        final=Final(**final),  # type: ignore[arg-type]
        place=section.keys.get("budget", at),
    )


def target_rules(plan: Plan) -> dict[str, RuleLike]:
    """Returns every address that picks may set, with what it may hold."""
    rules: dict[str, RuleLike] = dict.fromkeys(plan.values, VALUE)
    rules |= {"classes": TOP["classes"]}
    rules |= {f"input.{name}": rule for name, rule in INPUT.items()}
    rules |= {f"train.{name}": rule for name, rule in recipe_rules().items()}
    for stage in plan.stages:
        name = stage.block.value
        known = isinstance(name, str)
        fields = fields_of(plan.blocks[name]) if isinstance(name, str) else {"depth": NODE["depth"]}
        fields = {**fields, "block": Rule(name="block", type="text", choices=tuple(plan.blocks))}
        if not known:
            fields |= {key: VALUE for key in stage.settings if key not in fields}
        rules |= {f"net.{stage.name}.{key}": rule for key, rule in fields.items()}
    for block in plan.blocks.values():
        rules |= {f"defaults.{block.name}.{key}": field for key, field in block.fields.items()}
        rules |= {f"defaults.{k}": VALUE for k, field in block.fields.items() if not field.local}
    return rules


def _literals(
    checker: Checker, node: Node | None, rules: Mapping[str, Rule], what: str
) -> dict[str, Value]:
    return checker.literals(node, rules, what, node.place) if isinstance(node, Section) else {}


def _space(checker: Checker, node: Node | None, plan: Plan) -> Iterator[tuple[str, Domain]]:
    if not isinstance(node, Section):
        return
    rules = target_rules(plan)
    for target, domain in node.entries.items():
        place = node.keys[target]
        rule = rules.get(target)
        if rule is None:
            _no_target(checker, target, place, rules)
        elif found := _domain(checker, target, domain, rule):
            yield target, found


def _no_target(checker: Checker, target: str, place: Place, rules: Mapping[str, RuleLike]) -> None:
    near = nearest(target, rules)
    helps = [f"did you mean '{near}'?"] if near else []
    if "." not in target and not near:
        helps = [f"give it a value under vars, or name a place such as net.STAGE.{target}"]
    fact = f"'{target}' is neither a variable nor a place of this spec"
    checker.fault("E404", fact, place, *helps)


def _domain(checker: Checker, target: str, node: Node, rule: RuleLike) -> Domain | None:
    what = f"the domain of '{target}'"
    help_ = "write {choice: [3, 5, 7]}  or  {range: [48, 128], step: 8}"
    if not isinstance(node, Section):
        checker.fault("E201", f"{what} must be a map", node.place, help_)
        return None
    rules = {name: Rule(name=name, type="any") for name in ("choice", "range", "step", "log")}
    checker.keys(node, rules, what, node.place)
    kinds = [name for name in ("choice", "range") if name in node.entries]
    if len(kinds) != 1:
        fact = f"{what} needs either 'choice' or 'range'"
        checker.fault("E502", fact, node.place, help_)
        return None
    items = node.entries[kinds[0]]
    if not isinstance(items, Items):
        fact = f"'{kinds[0]}' of '{target}' must be a list"
        checker.fault("E201", fact, items.place, help_)
        return None
    values = [checker.literal(item, VALUE, f"a value of '{target}'") for item in items.items]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    for value, item in zip(known, items.items, strict=True):
        checker.fits(value, rule, f"'{target}'", item.place, literal=True)
    read = _choice if kinds[0] == "choice" else _range
    return read(checker, node, items, known)


def _choice(checker: Checker, node: Section, items: Items, values: list[Value]) -> Choice | None:
    for name in ("step", "log"):
        if name in node.entries:
            fact = f"'{name}' belongs to 'range', not to 'choice'"
            checker.fault("E503", fact, node.keys[name], "delete it")
    if not values:
        checker.fault("E502", "'choice' needs at least one value", items.place, "write [3, 5, 7]")
        return None
    for at, value in enumerate(values):
        if value in values[:at]:  # also [true, 1], which a sampler cannot tell apart
            fact = f"{_show(value)} stands twice in this choice"
            checker.fault("E502", fact, items.items[at].place, "delete one of them")
            return None
    return Choice(tuple(values))  # type: ignore[arg-type]


def _range(checker: Checker, node: Section, items: Items, values: list[Value]) -> Range | None:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2 or numbers[0] > numbers[1]:
        fact = "'range' needs the smallest and the largest value, in this order"
        checker.fault("E503", fact, items.place, "write  range: [48, 128]")
        return None
    low, high = numbers
    whole = isinstance(low, int) and isinstance(high, int)
    step = _step(checker, node.entries["step"], low, high) if "step" in node.entries else None
    log = (
        checker.literal(node.entries["log"], Rule(name="log", type="bool"), "'log'")
        if ("log" in node.entries)
        else False
    )
    if "step" in node.entries and step is None:
        return None
    if log and (step is not None or low <= 0):
        reason = "has no 'step'" if step is not None else "begins above 0"
        fact = f"a range on a logarithmic scale {reason}"
        help_ = (
            "delete 'step', or list the values with 'choice'"
            if step is not None
            else ("raise the lower end")
        )
        checker.fault("E503", fact, node.keys["log"], help_)
        return None
    if whole and step is None and not log:
        step = 1
    return Range(*((low, high) if whole else (float(low), float(high))), step, bool(log))


def _step(checker: Checker, node: Node, low: float, high: float) -> int | float | None:
    whole = isinstance(low, int) and isinstance(high, int)
    rule = Rule(name="step", type="int" if whole else "float", low=0)
    step = checker.literal(node, rule, "'step'")
    if not isinstance(step, int | float):
        return None
    if step <= 0:
        checker.fault("E503", "'step' must be above 0", node.place, "write  step: 1")
        return None
    steps = (high - low) / step
    if not isclose(steps, round(steps), abs_tol=1e-9):
        below, above = low + int(steps) * step, low + (int(steps) + 1) * step
        fact = f"the range from {low:g} to {high:g} in steps of {step:g} does not end on {high:g}"
        checker.fault("E503", fact, node.place, f"end it on {below:g} or {above:g}")
        return None
    return step


def _budgets(checker: Checker, node: Node) -> Iterator[Mapping[str, Window]]:
    for each in node.items if isinstance(node, Items) else (node,):
        if not isinstance(each, Section) or not each.entries:
            fact = "a budget is a map from metrics to windows"
            help_ = "write  budget: {macs: {target: 4.5G, within: 1%}}"
            checker.fault("E201", fact, each.place, help_)
            continue
        rules = {metric: Rule(name=metric, type="any") for metric in METRICS}
        checker.keys(each, rules, "'budget'", each.place)
        windows = {
            metric: window
            for metric, inner in each.entries.items()
            if metric in METRICS and (window := _window(checker, metric, inner))
        }
        yield windows


def _window(checker: Checker, metric: str, node: Node) -> Window | None:
    help_ = f"write  {metric}: {{target: 4.5G, within: 1%}}  or  {metric}: {{max: 30M}}"
    if not isinstance(node, Section):
        checker.fault("E201", f"the window of '{metric}' must be a map", node.place, help_)
        return None
    percent = Rule(name="within", type="percent", low=0, high=1)
    rules = {n: Rule(name=n, type="quantity", low=0) for n in ("target", "min", "max")}
    checker.keys(node, {**rules, "within": percent}, f"the window of '{metric}'", node.place)
    edges = {}
    for name, inner in node.entries.items():
        rule = {**rules, "within": percent}.get(name)
        value = _edge(checker, inner, rule, name) if rule else None
        if value is not None:
            edges[name] = value
    if len(edges) != len(node.entries):
        return None
    if set(edges) not in ({"target", "within"}, {"min"}, {"max"}, {"min", "max"}):
        fact = f"the window of '{metric}' needs 'target' and 'within', or 'min' and/or 'max'"
        checker.fault("E502", fact, node.place, help_)
        return None
    if "target" in edges:
        return Window.around(edges["target"], edges["within"])
    low, high = (int(edges[n]) if n in edges else None for n in ("min", "max"))
    if low is not None and high is not None and low > high:
        checker.fault("E502", f"'min' {low} is above 'max' {high}", node.place, "swap them")
        return None
    return Window(low, high)


def _edge(checker: Checker, node: Node, rule: Rule, name: str) -> float | None:
    """Returns one number of a window; a lower bound is rounded up, an upper one down."""
    setting = checker.setting(node, rule, f"'{name}'")
    if setting is None or isinstance(setting.value, Expression):
        if setting:
            fact = f"'{name}' must be written out; a study means the same thing for ever"
            checker.fault("E201", fact, node.place, "write the value itself")
        return None
    if rule.type == "percent":
        return read_share(setting.value)
    return read_window_edge(setting.value, up=name == "min")


def _require(checker: Checker, node: Node, plan: Plan) -> Iterator[Expression]:
    known = {*plan.values, *METRICS, "depth_total"}
    for item in node.items if isinstance(node, Items) else ():
        setting = checker.setting(item, VALUE, "a requirement")
        if setting is None:
            continue
        if not isinstance(setting.value, Expression):
            fact = "a requirement is an expression that is true or false"
            text = setting.value if isinstance(setting.value, str) else "macs <= 4.5e9"
            checker.fault("E201", fact, item.place, f"write  $({text})")
            continue
        checker.faults += setting.value.unknown(known)
        yield setting.value


def _objective(checker: Checker, node: Node | None) -> tuple[str, str]:
    if not isinstance(node, Section):
        return ("maximize", "top1")
    rules = {
        name: Rule(name=name, type="text", choices=OBJECTIVES) for name in ("maximize", "minimize")
    }
    found = checker.literals(node, rules, "'objective'", node.place)
    if len(node.entries) != 1:
        fact = "'objective' names one score"
        checker.fault("E502", fact, node.place, "write  objective: {maximize: top1}")
    return next(((way, str(score)) for way, score in found.items()), ("maximize", "top1"))


def _show(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
