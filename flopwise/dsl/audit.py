"""What is checked of a spec that can be built: its expected costs, and what looks like a slip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from flopwise.blocks import Graph
from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Value
from flopwise.dsl.functions import show
from flopwise.dsl.network import Network
from flopwise.dsl.plan import Plan
from flopwise.dsl.tables import EXPECT, METRICS
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.errors import Fault, SpecError

if TYPE_CHECKING:
    from flopwise.dsl.recipe import Recipe
    from flopwise.dsl.rows import Row, Table
    from flopwise.dsl.space import Search

__all__ = ["check_expect", "check_rows", "outside", "unused"]


class _Designed(Protocol):
    """What a row and the spec it starts from are compared by."""

    @property
    def recipe(self) -> Recipe: ...

    def network(self) -> Network: ...


Each = TypeVar("Each", bound=_Designed)


def unused(plan: Plan, search: Search | None, tree: Section) -> list[Fault]:
    """Warns of variables that nothing uses: they are usually misspelt somewhere.

    Those of a parent are its own matter: it may be made for several children.
    """
    settings = [*plan.values.values(), *plan.places.values()]
    for stage in plan.stages:
        settings += [*stage.single_valued, *stage.repeated]
    used = {name for setting in settings for name in setting.names}
    if search:
        conditions = [each for several in search.when.values() for each in several]
        used |= {name for each in (*search.require, *conditions) for name in each.names}
    section = tree.entries.get("vars")
    return [
        Fault(
            code="W401",
            message=f"variable '{name}' is never used",
            place=place,
            helps=("write $" + name + " where it is meant, or delete it",),
        )
        for name, place in (section.keys.items() if isinstance(section, Section) else ())
        if name not in used and place.source is tree.keys["name"].source
    ]


def outside(search: Search | None, written: Mapping[str, Value]) -> list[Fault]:
    """Warns of written values outside their domain: the written network is then no candidate."""
    if not search:
        return []
    from flopwise.dsl.domains import spell

    warnings = []
    for target, value in written.items():
        if not search.space[target].contains(value):
            domain = search.space[target]
            fact = f"the written value {spell(value)} of '{target}' is not in its domain {domain}"
            note = "so the written network is not the first trial"
            place = search.places[target]
            warnings.append(Fault(code="W502", message=fact, place=place, notes=(note,)))
    return warnings


def check_expect(checker: Checker, graph: Graph, node: Node | None) -> None:
    """Compares costs with what the spec expects, at the precision it is written with."""
    if not isinstance(node, Section):
        return
    checker.keys(node, EXPECT, "'expect'", node.place)
    slack = _tolerance(checker, node)
    for metric, written in node.entries.items():
        if metric not in METRICS:
            continue
        value = checker.literal(written, EXPECT[metric], f"'{metric}' of 'expect'")
        if value is None:
            continue
        from flopwise.dsl.figures import read_figure

        figure = read_figure(written) if isinstance(written, Scalar) else None
        actual = getattr(graph, metric)
        if figure and not figure.agrees(actual, share=slack):
            fact = f"{metric} are {actual}, but {figure.text} is expected"
            help_ = f"write  {metric}: {actual}, or mend the network"
            note = "costs are compared at the precision they are written with"
            note = f"the tolerance is {slack:.3%} of the figure" if slack else note
            checker.fault("E310", fact, written.place, help_, note=note)
    if "out" in node.entries:
        _check_out(checker, graph, node.entries["out"])


def _tolerance(checker: Checker, node: Section) -> float:
    if "tolerance" not in node.entries:
        return 0.0
    rule, what = EXPECT["tolerance"], "'tolerance' of 'expect'"
    value = checker.literal(node.entries["tolerance"], rule, what)
    return float(value) if isinstance(value, int | float) else 0.0


def _check_out(checker: Checker, graph: Graph, node: Node) -> None:
    """Compares the shape of the output with the expected one."""
    value = checker.literal(node, EXPECT["out"], "'out' of 'expect'")
    shape = graph.types[graph.outputs[0]].shape
    if value is not None and (value if isinstance(value, tuple) else (value,)) != shape:
        fact = f"the output has the shape {show(shape)}, but {show(value)} is expected"
        checker.fault("E310", fact, node.place, f"write  out: {show(shape)}, or mend the network")


def check_rows(checker: Checker, table: Table, base: Each, spec_of: Callable[[str], Each]) -> None:
    """Checks every row, but none that starts from a row with faults: they would only come again.

    Args:
        checker: Collects what is found.
        table: The table.
        base: The spec that holds it.
        spec_of: What makes the spec of a row.
    """
    made: dict[str | None, Each] = {None: base}
    broken: set[str | None] = set()
    for name, row in table.rows.items():
        if not row.has_network:
            continue
        if row.parent in broken:
            broken.add(name)
            continue
        try:
            made[name] = spec_of(name)
        except SpecError as error:
            checker.faults += error.faults
            if any(fault.code != "E310" for fault in error.faults):  # costs are a row's own
                broken.add(name)
            continue
        parent = made.get(row.parent)
        if parent and row.changes and not row.start and _same(made[name], parent, row):
            fact = f"row '{name}' resolves to the same network as its parent"
            starts = f"row '{row.parent}'" if row.parent else "the spec that holds the table"
            help_ = "change something that counts, or delete the row"
            checker.fault("W301", fact, row.place, help_, note=f"its parent is {starts}")


def _same(one: _Designed, other: _Designed, row: Row) -> bool:
    """Whether a row trains exactly what its parent trains, in the same search."""
    if any(change.path.startswith(("search.", "export.", "train.")) for change in row.changes):
        return False
    a, b = one.network(), other.network()
    if any(getattr(a.graph, each) != getattr(b.graph, each) for each in METRICS):
        return False  # as most rows; the hash takes longer
    return a.hash == b.hash and one.recipe == other.recipe and list(_inits(a)) == list(_inits(b))


def _inits(network: Network) -> Iterator[object]:
    """Yields what the hash leaves out of a layer: how it begins, and what is dropped."""
    for _, layer in network.graph.walk():
        yield layer.init
