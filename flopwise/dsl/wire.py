"""The graph of stages: who reads whom, in which order, without circles and dead ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flopwise.dsl.plan import StagePlan
from flopwise.errors import Fault, SpecError

__all__ = ["wire"]


def wire(stages: Sequence[StagePlan]) -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """Returns the inputs of every stage, and an order in which each comes after its inputs.

    Raises:
        SpecError: Stages feed each other in a circle (E305), or one is never used (E306).
    """
    inputs: dict[str, tuple[str, ...]] = {}
    before = "input"
    for stage in stages:
        named = tuple(name for name, _ in stage.inputs) if stage.inputs else (before,)
        inputs[stage.name] = named
        before = stage.name
    order = _order(stages, inputs)
    _refuse_dead_ends(stages, inputs)
    return inputs, order


def _order(stages: Sequence[StagePlan], inputs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    seen = {"input"}
    for stage in stages:
        if not seen.issuperset(inputs[stage.name]):
            return _sorted(stages, inputs)
        seen.add(stage.name)
    return tuple(stage.name for stage in stages)  # the order of the lines is one already


def _sorted(stages: Sequence[StagePlan], inputs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    import networkx as nx  # 0.3 s, and only specs that name a later stage need it

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(["input", *inputs])
    graph.add_edges_from((source, name) for name, named in inputs.items() for source in named)
    try:
        places = {stage.name: at for at, stage in enumerate(stages)}
        order = nx.lexicographical_topological_sort(graph, key=lambda n: places.get(n, -1))
        return tuple(name for name in order if name != "input")
    except nx.NetworkXUnfeasible:
        circle = [edge[0] for edge in nx.find_cycle(graph)]
        raise SpecError([_circle(stages, circle)]) from None


def _circle(stages: Sequence[StagePlan], circle: Sequence[str]) -> Fault:
    by_name = {stage.name: stage for stage in stages}
    path = " -> ".join([*circle, circle[0]])
    first, *others = (by_name[name] for name in circle)
    return Fault(
        code="E305",
        message=f"stages feed each other in a circle: {path}",
        place=next(
            (place for name, place in first.inputs or () if name == circle[-1]), first.place
        ),
        also=tuple(
            (stage.place, f"reads {before}") for stage, before in zip(others, circle, strict=False)
        ),
        helps=("change one 'from' so that it names a stage before it",),
    )


def _refuse_dead_ends(stages: Sequence[StagePlan], inputs: Mapping[str, tuple[str, ...]]) -> None:
    used = {name for named in inputs.values() for name in named}
    last = stages[-1].name
    faults = [
        Fault(
            code="E306",
            message=f"stage '{stage.name}' is never used",
            place=stage.place,
            helps=(
                f"read it in a later stage, as in  {{block: add, from: [{inputs[last][0]}, "
                f"{stage.name}]}}, or delete it",
            ),
            notes=(f"the last stage, '{last}', is the output of the network",),
        )
        for stage in stages[:-1]
        if stage.name not in used
    ]
    if faults:
        raise SpecError(faults)
