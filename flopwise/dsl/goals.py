"""Reading what a search is after: budgets, a fit, requirements, objectives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flopwise.dsl.checker import Checker
from flopwise.dsl.domains import Choice, Domain, Range
from flopwise.dsl.expr import Expression
from flopwise.dsl.fitting import MOST
from flopwise.dsl.plan import Plan
from flopwise.dsl.ranges import literal, read_domain
from flopwise.dsl.space import Fit, Window
from flopwise.dsl.tables import FIT, METRICS, OBJECTIVES
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Rule, RuleLike, read_share, read_window_edge
from flopwise.errors import Place, nearest

__all__ = ["read_budgets", "read_fit", "read_objectives", "read_require"]

VALUE = Rule(name="", type="value")
WITHIN = Rule(name="within", type="percent", low=0, high=1)
Budget = Mapping[str, Window]


def read_budgets(checker: Checker, node: Node) -> Iterator[Budget]:
    """Yields every budget: one map, or a list of them."""
    if isinstance(node, Items) and not node.items:
        checker.fault("E502", "'budget' lists no budget", node.place, "delete it, or write one")
    for each in node.items if isinstance(node, Items) else (node,):
        if not isinstance(each, Section) or not each.entries:
            fact = "a budget is a map from metrics to windows"
            help_ = "write  budget: {macs: {target: 4.5G, within: 1%}}"
            checker.fault("E201", fact, each.place, help_)
            continue
        rules = {metric: Rule(name=metric, type="any") for metric in METRICS}
        checker.keys(each, rules, "'budget'", each.place)
        yield {
            metric: window
            for metric, inner in each.entries.items()
            if metric in METRICS and (window := _window(checker, metric, inner))
        }


def _window(checker: Checker, metric: str, node: Node) -> Window | None:
    help_ = _windows(metric, node)
    if not isinstance(node, Section):
        checker.fault("E201", f"the window of '{metric}' must be a map", node.place, help_)
        return None
    rules = {n: Rule(name=n, type="quantity", low=0) for n in ("target", "min", "max")}
    rules["within"] = WITHIN
    checker.keys(node, rules, f"the window of '{metric}'", node.place)
    edges = {}
    for name, inner in node.entries.items():
        value = _edge(checker, inner, rules[name], name) if name in rules else None
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


def _windows(metric: str, node: Node) -> str:
    """Spells the windows of a metric; of a bare cost, with that cost."""
    target, most = "4.5G", "30M"
    if isinstance(node, Scalar) and read_window_edge(node.value or "", up=False) is not None:
        at = node.place
        target = most = at.text[at.column - 1 :][: at.width]
    return f"write  {metric}: {{target: {target}, within: 1%}}  or  {metric}: {{max: {most}}}"


def _edge(checker: Checker, node: Node, rule: Rule, name: str) -> float | None:
    """Returns one number of a window; a lower bound is rounded up, an upper one down."""
    value = literal(checker, node, rule, f"'{name}'")
    if value is None:
        return None
    if rule.type == "percent":
        return read_share(value)
    return read_window_edge(value, up=name == "min")


def read_fit(
    checker: Checker,
    section: Section,
    space: Mapping[str, Domain],
    rules: Mapping[str, RuleLike],
    budgets: tuple[Budget, ...],
) -> Fit | None:
    """Returns the fit; None, and its faults noted, where it makes no sense.

    Args:
        checker: Takes the faults.
        section: The map under `fit`.
        space: The domains of the space.
        rules: Every address of the spec, with what it may hold.
        budgets: The budgets, which a fit must not contradict.
    """
    checker.keys(section, FIT, "'fit'", section.place)
    within = 0.01
    if "within" in section.entries:
        read = _edge(checker, section.entries["within"], WITHIN, "within")
        if read is None:
            return None
        within = read
    goal = _goal(checker, section.entries["to"]) if "to" in section.entries else None
    varied = _varied(checker, section, space, rules)
    if goal is None or varied is None:
        return None
    (metric, target), (vary, domain) = goal, varied
    window = Window.around(target, within)
    fit = Fit(
        vary=vary,
        domain=domain,
        metric=metric,
        goal=target,
        window=window,
        place=section.place,
    )
    _contradiction(checker, fit, budgets, section.entries["to"].place)
    return fit


def _goal(checker: Checker, node: Node) -> tuple[str, float] | None:
    help_ = "write  to: {macs: 4.5G}"
    if not isinstance(node, Section) or len(node.entries) != 1:
        fact = "'to' of 'fit' names one metric and its goal"
        note = f"metrics: {', '.join(METRICS)}; limit the others in 'budget'"
        checker.fault("E508", fact, node.place, help_, note=note)
        return None
    rules = {metric: Rule(name=metric, type="quantity", low=1) for metric in METRICS}
    checker.keys(node, rules, "'to' of 'fit'", node.place)
    ((metric, inner),) = node.entries.items()
    goal = _edge(checker, inner, rules[metric], metric) if metric in rules else None
    return None if goal is None else (metric, goal)


def _varied(
    checker: Checker,
    section: Section,
    space: Mapping[str, Domain],
    rules: Mapping[str, RuleLike],
) -> tuple[str, Choice | Range] | None:
    """Returns the target of a fit and its values, from 'space' or from the fit itself."""
    if "vary" not in section.entries:
        return None
    node = section.entries["vary"]
    vary = literal(checker, node, FIT["vary"], "'vary' of 'fit'")
    if not isinstance(vary, str):
        return None
    if vary not in rules:
        near = nearest(vary, rules)
        helps = (f"did you mean '{near}'?",) if near else ("name a variable",)
        checker.fault("E508", f"there is no target '{vary}' to vary", node.place, *helps)
        return None
    own = "range" in section.entries
    if own == (vary in space):
        fact = f"'{vary}' has its values both in 'space' and in 'fit'"
        help_ = "delete one of them; a fitted target is solved, never sampled"
        if not own:
            fact = f"no values are given for '{vary}'"
            help_ = f"add  {vary}: {{range: [16, 128], step: 8}}  to 'space', or 'range' to 'fit'"
        checker.fault("E508", fact, node.place, help_)
        return None
    domain: Domain | None = space.get(vary)
    if own:
        ranges = {n: section.entries[n] for n in ("range", "step") if n in section.entries}
        inner = Section(ranges, {n: section.keys[n] for n in ranges}, section.place)
        domain = read_domain(checker, vary, inner, rules[vary])
    solvable = None if domain is None else _solvable(checker, vary, domain, node.place)
    return None if solvable is None else (vary, solvable)


def _solvable(checker: Checker, vary: str, domain: Domain, place: Place) -> Choice | Range | None:
    """Returns the domain if one of its values can be solved for."""
    if not isinstance(domain, Choice | Range) or not domain.whole or domain.size < 2:
        fact = f"'{vary}' cannot be solved: it needs at least two whole numbers, but has {domain}"
        checker.fault("E508", fact, place, "vary a width or a depth, as in  vary: w")
        return None
    if domain.size > MOST:
        fact = f"'{vary}' has {domain.size:,} values; a fit chooses from at most {MOST:,}"
        checker.fault("E508", fact, place, "give it a step, or narrow its range")
        return None
    return domain


def _contradiction(checker: Checker, fit: Fit, budgets: tuple[Budget, ...], place: Place) -> None:
    for number, budget in enumerate(budgets, 1):
        window = budget.get(fit.metric)
        if window and not window.meets(fit.window):
            which = f"budget {number}" if len(budgets) > 1 else "the budget"
            fact = f"the fit brings {fit.metric} to {fit.window}, but {which} asks for {window}"
            help_ = f"delete {fit.metric} from the budget, or fit to a value inside it"
            checker.fault("E509", fact, place, help_)


def read_require(checker: Checker, node: Node, plan: Plan) -> Iterator[Expression]:
    """Yields the requirements."""
    stages = (f"net.{stage.name}.depth" for stage in plan.stages)
    known = {*plan.values, *METRICS, "depth_total", *stages}
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


def read_objectives(checker: Checker, node: Node) -> tuple[tuple[str, str], ...]:
    """Returns the objectives: one map, or a list of them."""
    items = node.items if isinstance(node, Items) else (node,)
    found = [one for item in items if (one := _objective(checker, item, len(items) > 1))]
    if len(found) < len(items) or not items:
        if not items:
            fact = "'objective' names one score, or a list of scores and costs"
            checker.fault("E502", fact, node.place, "write  objective: {maximize: top1}")
        return ()
    metrics = [metric for _, metric in found]
    for at, metric in enumerate(metrics):
        if metric in metrics[:at]:
            fact = f"'{metric}' stands twice among the objectives"
            checker.fault("E510", fact, items[at].place, "delete one of them")
    if metrics[0] in METRICS:
        fact = f"the first objective must be a score, but '{metrics[0]}' is a cost"
        note = "the best of the front are trained again in the order of the first objective"
        help_ = f"put one of {', '.join(OBJECTIVES)} first"
        checker.fault("E510", fact, items[0].place, help_, note=note)
    return tuple(found)


def _objective(checker: Checker, node: Node, several: bool) -> tuple[str, str] | None:
    if not isinstance(node, Section) or len(node.entries) != 1:
        fact = "'objective' names one score"
        help_ = "write  objective: {maximize: top1}"
        listed = "several are a list: [{maximize: top1}, {minimize: macs}]"
        checker.fault("E502", fact, node.place, help_, note=listed)
        return None
    words = (*OBJECTIVES, *METRICS) if several else OBJECTIVES
    rules = {way: Rule(name=way, type="text", choices=words) for way in ("maximize", "minimize")}
    found = checker.literals(node, rules, "'objective'", node.place)
    for way, score in found.items():
        better = "maximize" if score in ("top1", "balanced") else "minimize"
        if score in words and score != "score" and way != better:  # which way one goes is unknown
            fact = f"to {way} '{score}' is to look for the worst network"
            checker.fault("E510", fact, node.place, f"write  {{{better}: {score}}}")
    return next(((way, str(score)) for way, score in found.items()), None)
