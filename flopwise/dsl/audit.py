"""What is checked of a spec that can be built: its expected costs, and what looks like a slip."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flopwise.blocks import Graph
from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Value
from flopwise.dsl.plan import Plan
from flopwise.dsl.scalars import read_quantity
from flopwise.dsl.space import Search
from flopwise.dsl.tables import EXPECT
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.errors import Fault, Place

__all__ = ["check_expect", "outside", "unused"]


def unused(plan: Plan, search: Search | None, tree: Section) -> list[Fault]:
    """Warns of variables that nothing uses: they are usually misspelt somewhere."""
    settings = [*plan.values.values(), *plan.places.values()]
    for stage in plan.stages:
        settings += [stage.block, *stage.repeated, *([stage.depth] if stage.depth else [])]
    used = {name for setting in settings for name in setting.names}
    used |= {name for each in (search.require if search else ()) for name in each.names}
    section = tree.entries.get("vars")
    return [
        Fault(
            code="W401",
            message=f"variable '{name}' is never used",
            place=place,
            helps=("write $" + name + " where it is meant, or delete it",),
        )
        for name, place in (section.keys.items() if isinstance(section, Section) else ())
        if name not in used
    ]


def outside(
    search: Search | None,
    value_of: Callable[[str], Value | None],
    places: Mapping[str, Place],
) -> list[Fault]:
    """Warns of written values outside their domain: the written network is then no candidate."""
    warnings = []
    for target, domain in (search.space if search else {}).items():
        value = value_of(target)
        if value is not None and not domain.contains(value):
            fact = f"the written value {value} of '{target}' is not in its domain {domain}"
            note = "so the written network is not the first trial"
            place = places[target]
            warnings.append(Fault(code="W502", message=fact, place=place, notes=(note,)))
    return warnings


def check_expect(checker: Checker, graph: Graph, node: Node | None) -> None:
    """Compares costs with what the spec expects, at the precision it is written with."""
    if not isinstance(node, Section):
        return
    checker.keys(node, EXPECT, "'expect'", node.place)
    for metric, written in node.entries.items():
        if metric not in EXPECT:
            continue
        value = checker.literal(written, EXPECT[metric], f"'{metric}' of 'expect'")
        if value is None:
            continue
        text = str(written.value) if isinstance(written, Scalar) else ""
        target, half = read_quantity(text) or (float(value), 0.5)  # type: ignore[arg-type]
        actual = getattr(graph, metric)
        if abs(actual - target) > half * (1 + 1e-9):
            fact = f"{metric} are {actual}, but {text} is expected"
            help_ = f"write  {metric}: {actual}, or mend the network"
            note = "costs are compared at the precision they are written with"
            checker.fault("E310", fact, written.place, help_, note=note)
