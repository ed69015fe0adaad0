"""A merged tree against the tables of keys and the signatures of the blocks.

All faults of a spec are collected; a pass runs only where the passes before it are clean, so that
one mistake is one message.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Expression
from flopwise.dsl.plan import Definition, Plan, Setting, StagePlan
from flopwise.dsl.presets import PRESET, preset_rule
from flopwise.dsl.stages import check_reads, read_defaults, read_ends, read_stages
from flopwise.dsl.tables import DEFAULT_VALUES, INPUT, RESERVED_VARIABLES, TOP
from flopwise.dsl.tree import Node, Section
from flopwise.dsl.values import Rule
from flopwise.errors import Fault, Place

__all__ = ["build_plan"]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
VALUE = Rule(name="", type="value")


def build_plan(tree: Section, checker: Checker) -> Plan:
    """Returns the plan of a merged spec.

    Raises:
        SpecError: Every fault of its keys and literals, then of its names, then of its order.
    """
    checker.keys(tree, TOP, "the spec", tree.place)
    good = {
        name: node
        for name, node in tree.entries.items()
        if name in TOP and checker.shape(node, TOP[name])
    }
    maps = {name: node for name, node in good.items() if isinstance(node, Section)}
    checker.stages = tuple(maps["net"].entries if "net" in maps else ())
    checker.unread = "blocks" in tree.entries and "blocks" not in maps
    _check_texts(checker, good)
    values = dict(_values(checker, good, maps, tree.place))
    definitions: tuple[Definition, ...] = ()
    if "blocks" in maps:
        from flopwise.dsl.definitions import read_definitions

        definitions = tuple(read_definitions(checker, maps["blocks"], values))
    places = dict(read_defaults(checker, maps["defaults"]) if "defaults" in maps else ())
    if "train" in maps:
        places |= _train(checker, maps["train"], tree.keys["train"])
    stages = tuple(read_stages(checker, maps["net"], tree.keys["net"]) if "net" in maps else ())
    written = maps["vars"].entries if "vars" in maps else ()
    _check_names(checker, {*values, *written}, (*values.values(), *places.values()), stages)
    output = read_ends(checker, "output", good["output"]) if "output" in good else ()
    features = read_ends(checker, "features", good["features"]) if "features" in good else ()
    unread = set(checker.stages) - {stage.name for stage in stages}  # faulty, but there
    check_reads(checker, stages, ("input", *sorted(unread)), (*output, *features))
    strict = "strict_kinds" in good and checker.literal(
        good["strict_kinds"], TOP["strict_kinds"], "'strict_kinds'"
    )
    ordered = _ordered(checker, values)
    checker.stop_if_faulty()
    return Plan(
        values=ordered,
        places=places,
        stages=stages,
        blocks=checker.blocks,
        definitions=definitions,
        output=output,
        features=features,
        strict_kinds=bool(strict),
    )


def _check_texts(checker: Checker, nodes: Mapping[str, Node]) -> None:
    for key in ("name", "doc"):
        if key not in nodes:
            continue
        text = checker.literal(nodes[key], TOP[key], f"'{key}'")
        if key == "name" and isinstance(text, str) and not NAME.fullmatch(text):
            plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", text)[:40].strip("_.+-") or "my_net"
            rule = "a name has letters, digits and _ . + - only"
            fact = f"'{text[:40]}' cannot be a name"
            checker.fault("E108", fact, nodes[key].place, f"write  name: {plain}", label=rule)


def _values(
    checker: Checker, nodes: Mapping[str, Node], maps: Mapping[str, Section], at: Place
) -> Iterator[tuple[str, Setting]]:
    """Yields everything an expression may name, by that name."""
    yield from ((name, Setting(value, at)) for name, value in DEFAULT_VALUES.items())
    if "classes" in nodes and (
        setting := checker.setting(nodes["classes"], TOP["classes"], "'classes'")
    ):
        yield "classes", setting
    if "input" in maps:
        checker.keys(maps["input"], INPUT, "'input'", at)
        for name, node in maps["input"].entries.items():
            rule = INPUT.get(name)
            if rule and (setting := checker.setting(node, rule, f"'{name}' of 'input'")):
                yield f"input.{name}", setting
    if "vars" in maps:
        for name, node in maps["vars"].entries.items():
            _check_variable(checker, name, maps["vars"].keys[name])
            if setting := checker.setting(node, VALUE, f"variable '{name}'"):
                yield name, setting


def _check_variable(checker: Checker, name: str, place: Place) -> None:
    if "." in name or name in RESERVED_VARIABLES:
        fact = f"a variable cannot be called '{name}'"
        why = "a dot is for places" if "." in name else "the language uses this word itself"
        checker.fault("E108", fact, place, "choose another name", label=why)


def _train(checker: Checker, section: Section, at: Place) -> dict[str, Setting]:
    from flopwise.dsl.recipe import recipe_rules

    rules = recipe_rules()
    checker.keys(section, {PRESET: preset_rule(), **rules}, "'train'", at)
    if PRESET in section.entries:
        checker.literal(section.entries[PRESET], preset_rule(), f"'{PRESET}' of 'train'")
    found = {}
    for name, node in section.entries.items():
        if name in rules and (
            setting := checker.setting(node, rules[name], f"'{name}' of 'train'")
        ):
            found[f"train.{name}"] = setting
    return found


def _check_names(
    checker: Checker,
    known: Collection[str],
    shared: Iterable[Setting],
    stages: Iterable[StagePlan],
) -> None:
    """Checks that expressions name only what is in their scope."""
    inside = {*known, "i", "n"}
    for setting in shared:
        checker.faults += _unknown(setting, known)
    for stage in stages:
        for setting in stage.single_valued:
            checker.faults += _unknown(setting, known)
        for setting in stage.repeated:
            checker.faults += _unknown(setting, inside)


def _unknown(setting: Setting, known: Collection[str]) -> list[Fault]:
    return setting.value.unknown(known) if isinstance(setting.value, Expression) else []


def _ordered(checker: Checker, values: Mapping[str, Setting]) -> dict[str, Setting]:
    """Returns the values so that each needs only earlier ones."""
    ordered: dict[str, Setting] = {}
    waiting = dict(values)
    while waiting:
        ready = [name for name in waiting if not waiting[name].names & waiting.keys()]
        if not ready:
            _circle(checker, waiting)
            break
        ordered |= {name: waiting.pop(name) for name in ready}
    return ordered


def _circle(checker: Checker, waiting: Mapping[str, Setting]) -> None:
    """Names one circle among variables that all wait for another."""
    walk = [next(iter(waiting))]
    while walk[-1] not in walk[:-1]:
        walk.append(min(waiting[walk[-1]].names & waiting.keys()))
    circle = walk[walk.index(walk[-1]) :]
    fact = f"variables need each other: {' -> '.join(circle)}"
    help_ = "give one of them a plain value"
    if len(circle) == 2:
        fact = f"variable '{circle[0]}' needs itself"
        help_ = "write its value: a new value cannot be worked out from the one it replaces"
    also = tuple((waiting[name].place, "and this one") for name in circle[1:-1])
    told = Fault(
        code="E403", message=fact, place=waiting[circle[0]].place, also=also, helps=(help_,)
    )
    checker.faults.append(told)
