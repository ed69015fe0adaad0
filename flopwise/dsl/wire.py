"""The graph of stages: who reads whom, in which order, without circles and dead ends.

A read is a text: the id of a stage, `input`, or `id.output` for a stage with several outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flopwise.blocks import BLOCKS
from flopwise.dsl.plan import StagePlan
from flopwise.errors import Fault, Place, SpecError

if TYPE_CHECKING:  # importing networkx takes 0.3 s, and most specs need none of it
    import networkx as nx

__all__ = ["Wiring", "digraph", "stage_of", "wire"]

Reads = Mapping[str, tuple[str, ...]]


def stage_of(read: str) -> str:
    """Returns the stage that a read names.

    >>> stage_of("encoder.skip")
    'encoder'
    """
    return read.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Wiring:
    """How the stages are wired.

    Attributes:
        inputs: The reads of every stage.
        order: The stages, each after its inputs, the output last where nothing reads it.
        ends: The reads that are outputs (a network has one), then those that are features.
    """

    inputs: Reads
    order: tuple[str, ...]
    ends: tuple[str, ...]

    def without(self, removed: Collection[str]) -> Wiring:
        """Returns the wiring when some stages are left out.

        Who read one reads its first input instead. Stages that then lead to no end go as well.
        """
        instead: dict[str, str] = {}
        for name in self.order:
            if name in removed:
                first = self.inputs[name][0]
                instead[name] = instead.get(stage_of(first), first)

        def through(read: str) -> str:
            return instead.get(stage_of(read), read)

        inputs = {
            name: tuple(map(through, reads))
            for name, reads in self.inputs.items()
            if name not in instead
        }
        ends = tuple(map(through, self.ends))
        alive = _upstream(inputs, ends)
        kept = tuple(name for name in self.order if name in alive)
        return Wiring({name: inputs[name] for name in kept}, kept, ends)


def wire(
    stages: Sequence[StagePlan],
    *,
    sources: Sequence[str] = ("input",),
    outputs: Sequence[tuple[str, Place]] = (),
    features: Sequence[tuple[str, Place]] = (),
) -> Wiring:
    """Returns the wiring of stages.

    Args:
        stages: The stages, which read the one before them unless they say otherwise.
        sources: What they may read besides each other; the first stage reads the first of them.
        outputs: The outputs; by default the last stage that no other reads.
        features: Further ends.

    Raises:
        SpecError: Stages feed each other in a circle (E305), or one is never used (E306).
    """
    inputs: dict[str, tuple[str, ...]] = {}
    before = sources[0]
    for stage in stages:
        inputs[stage.name] = tuple(read for read, _ in stage.inputs or ()) or (before,)
        before = stage.name
    order = _order(stages, inputs, sources)
    extra = [read for read, _ in features]
    ends = [read for read, _ in outputs] or [_last(inputs, extra)]
    _refuse_dead_ends(stages, inputs, ends, extra)
    used = {stage_of(read) for reads in inputs.values() for read in reads}
    last = [name for name in order if name == stage_of(ends[0]) and name not in used]
    order = (*(name for name in order if name not in last), *last)
    return Wiring(inputs, order, (*ends, *extra))


def digraph(inputs: Reads, sources: Sequence[str] = ("input",)) -> nx.DiGraph[str]:
    """Returns the graph of stages as networkx knows graphs.

    An edge leads from a stage to who reads it; `ports` says as which of the reader's inputs.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from([*sources, *inputs])
    for name, reads in inputs.items():
        for read in dict.fromkeys(map(stage_of, reads)):
            ports = tuple(at for at, each in enumerate(reads) if stage_of(each) == read)
            graph.add_edge(read, name, ports=ports)
    return graph


def _order(stages: Sequence[StagePlan], inputs: Reads, sources: Sequence[str]) -> tuple[str, ...]:
    seen = set(sources)
    for stage in stages:
        if not seen.issuperset(map(stage_of, inputs[stage.name])):
            return _sorted(stages, inputs, sources)
        seen.add(stage.name)
    return tuple(stage.name for stage in stages)  # the order of the lines is one already


def _sorted(stages: Sequence[StagePlan], inputs: Reads, sources: Sequence[str]) -> tuple[str, ...]:
    import networkx as nx

    graph = digraph(inputs, sources)
    places = {stage.name: at for at, stage in enumerate(stages)}
    try:
        order = list(nx.lexicographical_topological_sort(graph, key=lambda n: places.get(n, -1)))
    except nx.NetworkXUnfeasible:
        circles = []
        for group in nx.strongly_connected_components(graph):
            part = graph.subgraph(group)
            if part.number_of_edges():
                first = min(group, key=lambda n: places[n])
                circles.append([edge[0] for edge in nx.find_cycle(part, first)])
        raise SpecError([_circle(stages, circle) for circle in circles]) from None
    return tuple(name for name in order if name not in sources)


def _circle(stages: Sequence[StagePlan], circle: Sequence[str]) -> Fault:
    """Tells of stages that feed each other, with the line of each hop."""
    by_name = {stage.name: stage for stage in stages}
    path = " -> ".join([*circle, circle[0]])
    first, *others = (by_name[name] for name in circle)
    return Fault(
        code="E305",
        message=f"stages feed each other in a circle: {path}",
        place=_place_of_read(first, circle[-1]),
        also=tuple(
            (_place_of_read(stage, before), f"'{stage.name}' reads '{before}'")
            for stage, before in zip(others, circle, strict=False)
        ),
        helps=("change one 'from' so that it names a stage before it",),
    )


def _place_of_read(stage: StagePlan, source: str) -> Place:
    """Returns where a stage names a source; the stage itself where it only follows it."""
    reads = stage.inputs or ()
    return next((place for read, place in reads if stage_of(read) == source), stage.place)


def _last(inputs: Reads, features: Collection[str]) -> str:
    """Returns the last stage that no other reads; a feature only where there is no other."""
    used = {stage_of(read) for named in inputs.values() for read in named}
    tails = [name for name in inputs if name not in used]
    mains = [name for name in tails if name not in features]
    return (mains or tails or list(inputs))[-1]


def _upstream(inputs: Reads, ends: Iterable[str]) -> set[str]:
    """Returns all stages that some ends need, and the sources."""
    alive: set[str] = set()
    waiting = list(map(stage_of, ends))
    while waiting:
        name = waiting.pop()
        if name not in alive:
            alive.add(name)
            waiting += map(stage_of, inputs.get(name, ()))
    return alive


def _refuse_dead_ends(
    stages: Sequence[StagePlan], inputs: Reads, outputs: Sequence[str], features: Sequence[str]
) -> None:
    """Refuses stages that nothing reads and that are no end themselves."""
    used = {stage_of(read) for named in inputs.values() for read in named}
    used |= {stage_of(read) for read in (*outputs, *features)}
    out = outputs[0]
    faults = [
        Fault(
            code="E306",
            message=f"stage '{stage.name}' is never used",
            place=stage.place,
            helps=(_use_of(stage.name, stages, inputs, stage_of(out)),),
            notes=(f"the output of the network is '{out}'",),
        )
        for stage in stages
        if stage.name not in used
    ]
    if faults:
        raise SpecError(faults)


def _use_of(name: str, stages: Sequence[StagePlan], inputs: Reads, out: str) -> str:
    """Says what may read a stage: a join that has one input only, else a new one."""
    for stage in stages:
        block, reads = BLOCKS.get(str(stage.block.value)), inputs[stage.name]
        if block and block.variadic and len(reads) == 1:
            return f"'{stage.name}' joins stages but reads one: write  from: [{reads[0]}, {name}]"
    before = inputs[out][0] if out in inputs else out
    use = f"{{block: add, from: [{before}, {name}]}}"
    return f"read it in another stage, as in  {use}, list it under 'features', or delete it"
