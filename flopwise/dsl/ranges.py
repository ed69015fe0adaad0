"""Reading domains: `choice`, `range`, `subset`, `permutation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose

from flopwise.dsl.checker import Checker
from flopwise.dsl.domains import Choice, Domain, Permutation, Range, Subset, spell
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.tables import DOMAIN
from flopwise.dsl.tree import Items, Node, Section
from flopwise.dsl.values import Rule, RuleLike
from flopwise.errors import Place

__all__ = ["literal", "read_domain"]

MOST = 50
"""Elements of a subset or permutation: a sampler draws a number for each."""
VALUE = Rule(name="", type="value")
EXAMPLE = "write {choice: [3, 5, 7]}  or  {range: [48, 128], step: 8}"
BELONGS = {"step": "range", "log": "range", "min": "subset", "max": "subset"}


def read_domain(checker: Checker, target: str, node: Node, rule: RuleLike) -> Domain | None:
    """Returns the domain of a target; None, and its faults noted, where it is none."""
    what = f"the domain of '{target}'"
    if not isinstance(node, Section):
        texts = [item.place for item in node.items] if isinstance(node, Items) else []
        spelt = ", ".join(_text(place) for place in texts)
        help_ = f"write  {{choice: [{spelt}]}}" if spelt else EXAMPLE
        checker.fault("E201", f"{what} must be a map", node.place, help_)
        return None
    if not {*READERS} & {*node.entries} and not {*node.entries} - {"min", "max", "step", "log"}:
        fact = f"{what} has ends, but no 'range'"
        checker.fault("E502", fact, node.place, _ranged(node))
        return None
    before = len(checker.faults)
    checker.keys(node, DOMAIN, what, node.place)
    kinds = [name for name in READERS if name in node.entries]
    if not kinds and len(checker.faults) > before:
        return None  # the unknown key is the mistake
    if len(kinds) != 1:
        given = f", not {' and '.join(map(repr, kinds))} together" if kinds else ""
        fact = f"{what} needs one of {', '.join(map(repr, READERS))}{given}"
        checker.fault("E502", fact, node.place, EXAMPLE)
        return None
    values = _values(checker, target, node, kinds[0], rule)
    strangers = [k for k, kind in BELONGS.items() if k in node.entries and kind != kinds[0]]
    for name in strangers:
        fact = f"'{name}' belongs to '{BELONGS[name]}', not to '{kinds[0]}'"
        checker.fault("E503", fact, node.keys[name], "delete it")
    return READERS[kinds[0]](checker, node, values) if values is not None else None


def _text(place: Place) -> str:
    """Returns what stands at a place."""
    return place.text[place.column - 1 :][: place.width]


def _ranged(node: Section) -> str:
    """Spells as a range what is written as `{min: 3, max: 7, step: 2}`."""
    at = {name: _text(inner.place) for name, inner in node.entries.items()}
    rest = "".join(f", {name}: {at[name]}" for name in ("step", "log") if name in at)
    return f"write  {{range: [{at.get('min', 'MIN')}, {at.get('max', 'MAX')}]{rest}}}"


def literal(checker: Checker, node: Node, rule: Rule, what: str) -> Value | None:
    """Returns a value of a search section, which no expression may give."""
    setting = checker.setting(node, VALUE, what)
    if setting is None:
        return None
    if isinstance(setting.value, Expression):
        fact = f"{what} must be written out; a study means the same thing for ever"
        note = "with another value of a variable, its trials would no longer be of one space"
        checker.fault("E201", fact, node.place, "write the value itself", note=note)
        return None
    return checker.literal(node, rule, what)


def _values(
    checker: Checker, target: str, node: Section, kind: str, rule: RuleLike
) -> list[Value] | None:
    """Returns the literals a domain is made of, each fit for its target."""
    items = node.entries[kind]
    if not isinstance(items, Items):
        fact = f"'{kind}' of '{target}' must be a list"
        checker.fault("E201", fact, items.place, EXAMPLE)
        return None
    if kind in ("subset", "permutation") and rule.type != "value":
        fact = f"'{target}' holds one value, but a {kind} gives a list"
        checker.fault("E502", fact, node.keys[kind], "give the list a name under vars")
        return None
    values = [literal(checker, item, VALUE, f"a value of '{target}'") for item in items.items]
    known = [value for value in values if value is not None]
    for value, item in zip(values, items.items, strict=True):
        if value is not None and kind in ("choice", "range"):
            checker.fits(value, rule, f"'{target}'", item.place, literal=True)
    if len(known) < len(values) or (kind != "range" and not _distinct(checker, kind, items, known)):
        return None
    return known


def _distinct(checker: Checker, kind: str, items: Items, values: list[Value]) -> bool:
    if not values:
        fact = f"'{kind}' needs at least one value"
        checker.fault("E502", fact, items.place, "write [3, 5, 7]")
        return False
    for at, value in enumerate(values):
        if value in values[:at]:  # also [true, 1], which a sampler cannot tell apart
            fact = f"{spell(value)} stands twice in this {kind}"
            twin = spell(values[values.index(value)])
            note = f"{twin} and {spell(value)} count as the same" if twin != spell(value) else ""
            checker.fault("E502", fact, items.items[at].place, "delete one of them", note=note)
            return False
    return True


def _choice(checker: Checker, node: Section, values: list[Value]) -> Choice | None:
    return Choice(tuple(values))


def _range(checker: Checker, node: Section, values: list[Value]) -> Range | None:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2 or numbers[0] > numbers[1]:
        fact = "'range' needs the smallest and the largest value, in this order"
        help_ = "write  range: [48, 128]"
        if len(numbers) == len(values) == 2:
            help_ = f"write  range: [{numbers[1]}, {numbers[0]}]"
        elif len(numbers) == len(values) == 3:
            help_ = f"write  range: [{numbers[0]}, {numbers[1]}], step: {numbers[2]}"
        checker.fault("E503", fact, node.entries["range"].place, help_)
        return None
    low, high = numbers
    whole = isinstance(low, int) and isinstance(high, int)
    log = "log" in node.entries and literal(checker, node.entries["log"], DOMAIN["log"], "'log'")
    if log is None:
        return None
    if log and ("step" in node.entries or low <= 0):
        reason, help_ = "begins above 0", "raise the lower end"
        if "step" in node.entries:
            reason, help_ = "has no 'step'", "delete 'step', or list the values with 'choice'"
        fact = f"a range on a logarithmic scale {reason}"
        checker.fault("E503", fact, node.keys["log"], help_)
        return None
    step = _step(checker, node.entries["step"], low, high) if "step" in node.entries else None
    if "step" in node.entries and step is None:
        return None
    if whole and step is None and not log:
        step = 1
    return Range(*((low, high) if whole else (float(low), float(high))), step, bool(log))


def _step(checker: Checker, node: Node, low: float, high: float) -> int | float | None:
    whole = isinstance(low, int) and isinstance(high, int)
    rule = Rule(name="step", type="int" if whole else "float", low=0)
    step = literal(checker, node, rule, "'step'")
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


def _subset(checker: Checker, node: Section, values: list[Value]) -> Subset | None:
    elements = _elements(checker, node, "subset", values)
    least, most = _count(checker, node, "min", 0), _count(checker, node, "max", len(values))
    if elements is None or least is None or most is None:
        return None
    for name, count in (("min", least), ("max", most)):
        if count > len(values):
            fact = f"'{name}' is {count}, but there are only {len(values)} elements"
            checker.fault("E502", fact, node.entries[name].place, f"write  {name}: {len(values)}")
            return None
    if least > most:
        fact = f"'min' {least} is above 'max' {most}"
        checker.fault("E502", fact, node.keys["min"], "swap them")
        return None
    return Subset(elements, least, most)


def _count(checker: Checker, node: Section, name: str, otherwise: int) -> int | None:
    if name not in node.entries:
        return otherwise
    rule = Rule(name=name, type="int", low=0, high=MOST)
    count = literal(checker, node.entries[name], rule, f"'{name}' of a subset")
    return count if isinstance(count, int) else None


def _permutation(checker: Checker, node: Section, values: list[Value]) -> Permutation | None:
    elements = _elements(checker, node, "permutation", values)
    return None if elements is None else Permutation(elements)


def _elements(
    checker: Checker, node: Section, kind: str, values: list[Value]
) -> tuple[bool | int | float | str, ...] | None:
    plain = tuple(value for value in values if not isinstance(value, tuple))
    if len(plain) < len(values):
        fact = f"the elements of a {kind} are plain values, not lists"
        help_ = "list whole lists with 'choice'"
        checker.fault("E502", fact, node.entries[kind].place, help_)
        return None
    if len(plain) > MOST:
        fact = f"a {kind} may have at most {MOST} elements, but this has {len(plain)}"
        checker.fault("E502", fact, node.entries[kind].place, "split it in two")
        return None
    return plain


READERS: Mapping[str, Callable[[Checker, Section, list[Value]], Domain | None]] = {
    "choice": _choice,
    "range": _range,
    "subset": _subset,
    "permutation": _permutation,
}
