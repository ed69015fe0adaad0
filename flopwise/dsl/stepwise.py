"""A network one step at a time, so that each step is costed once for each of its inputs.

A step is a stage, or its entry, or one of its repetitions. What it gives depends on the types of
what it reads and on the targets that its settings need, and on nothing else: on these two a table
of costs is built. What flows between steps is held by `Edges`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import signature
from typing import Any, TypeAlias

from flopwise.blocks import Block, Graph, Trace, Type, call_stage, depends, prune
from flopwise.blocks.stage import converted, enter, trace_repetition
from flopwise.blocks.tensor import Tensor
from flopwise.dsl.composite import Vocabulary
from flopwise.dsl.domains import Domain
from flopwise.dsl.evaluate import (
    Around,
    block_of,
    depth_of,
    evaluate_stage,
    evaluated,
    left_out,
    written_of,
)
from flopwise.dsl.expr import Value
from flopwise.dsl.needed import Needed
from flopwise.dsl.network import Input, Stage
from flopwise.dsl.plan import Fixed, Plan, StagePlan
from flopwise.dsl.targets import depths
from flopwise.dsl.tracing import check_ports, refuse_conversions
from flopwise.dsl.wire import Wiring, stage_of
from flopwise.errors import BlockError

__all__ = ["Edge", "Edges", "Spent", "Step", "Unsteady", "steps_of"]

Picks: TypeAlias = Mapping[str, Value]


class Unsteady(Exception):  # noqa: N818 - no error, but the reason why there are no steps
    """Why what a step costs cannot be told from its own inputs."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A value between steps: its type, and whether it depends on the images."""

    type: Type
    alive: bool


Edges: TypeAlias = Mapping[str, Edge]
"""What is read, by a stage's id or `id.output`, to what it is."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a step adds to a network.

    Attributes:
        macs: Multiply-adds.
        params: Learned numbers.
        activations: Elements put out by the layers that have MACs.
        depth: Repetitions, of blocks that can be repeated.
        blocks: Inner graphs.
    """

    macs: int = 0
    params: int = 0
    activations: int = 0
    depth: int = 0
    blocks: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.macs + other.macs,
            self.params + other.params,
            self.activations + other.activations,
            self.depth + other.depth,
            self.blocks + other.blocks,
        )


Result: TypeAlias = tuple[dict[str, Edge], Spent]
"""What a step gives, by who may read it, and what it costs."""
Run: TypeAlias = Callable[[Edges, Around], Result]


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: The stage, and the part of it.
        targets: The targets it depends on.
        reads: What it reads.
        run: Edges and the picks that count to what it gives and costs.
    """

    name: str
    targets: frozenset[str]
    reads: tuple[str, ...]
    run: Callable[[Edges, Picks], Result]


def steps_of(
    plan: Plan, wiring: Wiring, vocabulary: Vocabulary, space: Mapping[str, Domain], needed: Needed
) -> list[Step]:
    """Returns the steps of all networks of a space, in the order of the stages.

    Running a step raises `SpecError` or `BlockError` where the picks make no network.

    Raises:
        Unsteady: A stage that may be left out reads several.
    """
    plans = {stage.name: stage for stage in plan.stages}
    ends = {stage_of(end) for end in wiring.ends}
    reads = {read for inputs in wiring.inputs.values() for read in inputs} | {*wiring.ends}
    found = [_images(plan, needed)]
    for name in wiring.order:
        stage = plans[name]
        wanted = tuple(read for read in reads if stage_of(read) == name)
        may_go = stage.when is not None or f"net.{name}.when" in space
        if may_go and len(set(wiring.inputs[name])) > 1 and name not in ends:
            raise Unsteady(f"stage '{name}' may be left out and reads several others")
        walk = _Walk(plan, stage, wiring.inputs[name], wanted, vocabulary, needed)
        found += walk.steps(space)
    return found


def _images(plan: Plan, needed: Needed) -> Step:
    names = ("input.size", "input.channels")

    def run(edges: Edges, picks: Picks) -> Result:
        scope = needed.typed(names, picks)
        size, channels = scope["input.size"], scope["input.channels"]
        height, width = size if isinstance(size, tuple) else (size, size)
        images = Input((int(height), int(width)), int(channels))  # type: ignore[arg-type]
        return {"input": Edge(Type("map", (images.channels, *images.size)), True)}, Spent()

    return Step("input", needed.of(names), (), run)


class _Walk:
    """The steps of one stage."""

    def __init__(
        self,
        plan: Plan,
        stage: StagePlan,
        inputs: tuple[str, ...],
        wanted: tuple[str, ...],
        vocabulary: Vocabulary,
        needed: Needed,
    ) -> None:
        self.plan, self.stage, self.inputs, self.wanted = plan, stage, inputs, wanted
        self.vocabulary, self.needed = vocabulary, needed

    def steps(self, space: Mapping[str, Domain]) -> Iterator[Step]:
        """Yields the entry and the repetitions where these can be told apart, else the stage."""
        name, block = self.stage.name, self.needed.block(self.stage)
        if block is None or block.once or len(self.inputs) > 1 or block.outputs:
            yield self._step("", self.needed.stage(self.stage), self._whole)
            return
        entry = tuple(signature(block.entry).parameters) if block.entry else ()
        targets = self.needed.fields(self.stage, block, [n for n in entry if n in block.fields])
        yield self._step("entry", targets, self._entry)
        own = [n for n in block.fields if n in block.own]
        if not any(target.startswith(f"net.{name}[") for target in space):
            targets = self.needed.fields(self.stage, block, own) | self.needed.depth(self.stage)
            yield self._step("body", targets, self._body)
            return
        span = depths(name, self.needed.settings, space)
        if span is None:
            raise Unsteady(f"how deep stage '{name}' may get cannot be listed")
        for at in range(span[1]):
            targets = self.needed.fields(self.stage, block, own, at)
            yield self._step(str(at), targets | self.needed.depth(self.stage), self._repetition(at))

    def _step(self, part: str, targets: frozenset[str], run: Run) -> Step:
        """Returns a step that does nothing where the stage is left out."""
        stage, needed = self.stage, self.needed
        later = part not in ("", "entry")
        reads = (stage.name,) if later else self.inputs
        goes = f"net.{stage.name}.when"
        targets |= needed.of([goes])
        names = needed.names(stage, targets)

        def applied(edges: Edges, picks: Picks) -> Result:
            scope = needed.typed(names, picks)
            settings = {path: needed.setting(value) for path, value in picks.items()}
            around = Around(self._blocks(picks, scope), self.plan.places, settings, scope)
            if left_out([stage], around):
                gone = edges[stage.name if later else self.inputs[0]]
                return dict.fromkeys((*self.wanted, stage.name), gone), Spent()
            return run(edges, around)

        return Step(f"{stage.name} {part}".strip(), targets, reads, applied)

    def _blocks(self, picks: Picks, scope: Mapping[str, Value]) -> Mapping[str, Block]:
        if not self.needed.composite(self.stage):
            return self.plan.blocks
        paths = self.needed.inside(self.stage)
        held = {path: self.plan.places[path] for path in paths if path in self.plan.places}
        held |= {path: self.needed.setting(picks[path]) for path in paths if path in picks}
        given = {path: Fixed(s.value, s.place, s.evaluate(scope)) for path, s in held.items()}
        return _vocabulary(self.vocabulary, tuple(given.items()))

    def _whole(self, edges: Edges, around: Around) -> Result:
        stage, _ = evaluate_stage(self.stage, self.inputs, around)
        check_ports(stage)
        trace, tensors = _open([edges[read] for read in stage.inputs])
        self._refuse(stage, tensors)
        made = call_stage(trace, stage.name, stage.block, tensors, stage.settings)
        named = {stage.name: made[0]}
        more = zip(stage.block.outputs, made, strict=False)
        named |= {f"{stage.name}.{output}": each for output, each in more}
        missing = [read for read in self.wanted if read not in named]
        if missing:
            raise BlockError("E304", f"there is no '{missing[0]}'")
        kept = [read for read in named if read in self.wanted]
        if not kept:
            raise Unsteady(f"nothing reads stage '{stage.name}'")
        graph = trace.close(*(named[read] for read in kept))
        types, alive, spent = _told(graph)
        reads = [edges[read].alive for read in stage.inputs]
        found = {
            read: Edge(type, any(reads[at] for at in inputs))
            for read, type, inputs in zip(kept, types, alive, strict=True)
        }
        depth = 0 if stage.block.once else stage.depth
        return found, replace(spent, depth=depth)

    def _refuse(self, stage: Stage, tensors: Sequence[Tensor]) -> None:
        if self.plan.strict_kinds:
            refuse_conversions(stage, tensors)

    def _entry(self, edges: Edges, around: Around) -> Result:
        block = block_of(self.stage, around)
        names = signature(block.entry).parameters if block.entry else ()
        settings = self._settings(block, around, names, 0, 1)
        edge = edges[self.inputs[0]]
        trace, tensors = _open([edge])
        stage = Stage(name=self.stage.name, block=block, depth=1, settings=(), inputs=self.inputs)
        check_ports(stage)
        self._refuse(stage, tensors)
        made = enter(block, converted(block, tensors, self.stage.name), settings)
        (type_,), (reads,), spent = _told(trace.close(*made))
        return {self.stage.name: Edge(type_, edge.alive and bool(reads))}, spent

    def _body(self, edges: Edges, around: Around) -> Result:
        edge, spent = edges[self.stage.name], Spent(blocks=1)
        block = block_of(self.stage, around)
        written = written_of(self.stage, block, around)
        depth = depth_of(self.stage, block, written, around.scope)
        names = {name for setting in written.whole.values() for name in setting.names}
        same = not written.single and not {"i", "n"} & names.union(block.scope)
        settings: Mapping[str, Any] = {}
        for at in range(depth):
            if at == 0 or not same:
                settings = self._settings(block, around, block.own, at, depth)
            after, one = self._repeated(block, edge, settings, at, depth)
            if same and at and after == edge:  # so are all that follow
                left = depth - at
                return {self.stage.name: edge}, spent + _times(one, left)
            edge, spent = after, spent + one
        return {self.stage.name: edge}, spent

    def _repetition(self, at: int) -> Run:
        """Returns what runs one repetition, which a stage that is not so deep lacks."""

        def run(edges: Edges, around: Around) -> Result:
            edge = edges[self.stage.name]
            block = block_of(self.stage, around)
            written = written_of(self.stage, block, around)
            depth = depth_of(self.stage, block, written, around.scope)
            if at >= depth:
                return {self.stage.name: edge}, Spent()
            settings = self._settings(block, around, block.own, at, depth)
            edge, spent = self._repeated(block, edge, settings, at, depth)
            return {self.stage.name: edge}, spent + Spent(blocks=int(at == 0))

        return run

    def _settings(
        self, block: Block, around: Around, names: Any, at: int, depth: int
    ) -> Mapping[str, Any]:
        """Returns some settings of a repetition."""
        fields = {name: field for name, field in block.fields.items() if name in names}
        own = tuple(name for name in block.scope if name in around.scope or name in ("i", "n"))
        part = replace(block, fields=fields, scope=own)
        written = written_of(self.stage, block, around).at(at)
        scope = {**around.scope, "i": at, "n": depth}
        return dict(evaluated(self.stage, part, written, scope))

    def _repeated(
        self, block: Block, edge: Edge, settings: Mapping[str, Any], at: int, depth: int
    ) -> tuple[Edge, Spent]:
        graph = trace_repetition(block, [edge.type], {**settings, "i": at, "n": depth})
        (type_,), (reads,), spent = _told(graph)
        return Edge(type_, edge.alive and bool(reads)), spent + Spent(depth=1, blocks=1)


@lru_cache(maxsize=4096)
def _vocabulary(
    vocabulary: Vocabulary, given: tuple[tuple[str, Fixed], ...]
) -> Mapping[str, Block]:
    return vocabulary.blocks(dict(given))


def _times(one: Spent, count: int) -> Spent:
    """Returns what several of the same cost."""
    numbers = (one.macs, one.params, one.activations, one.depth, one.blocks)
    return Spent(*(count * number for number in numbers))


def _open(edges: Sequence[Edge]) -> tuple[Trace, list[Tensor]]:
    """Returns a trace and its inputs."""
    trace = Trace()
    return trace, [trace.input(edge.type) for edge in edges]


@lru_cache(maxsize=1 << 16)
def _told(graph: Graph) -> tuple[tuple[Type, ...], tuple[frozenset[int], ...], Spent]:
    """Returns the types a graph gives, which inputs each depends on, and what it costs.

    Facts that change no cost are forgotten.

    Raises:
        Unsteady: It does not need all it reads, so what is before it would cost less.
    """
    kept = prune(graph)
    read = {index for layer in kept.layers for index in layer.inputs} | {*kept.outputs}
    if not read.issuperset(range(len(kept.inputs))):
        raise Unsteady("at some picks a stage does not need all it reads")
    types = tuple(replace(kept.types[index], variance=1.0) for index in kept.outputs)
    spent = Spent(kept.macs, kept.params, kept.activations, 0, kept.blocks)
    return types, depends(kept), spent
