"""A network one step at a time, so that each step is costed once for each of its inputs.

A step is a stage, or its entry, or one of its repetitions. What it gives depends on the types of
what it reads and on the targets that its settings need, and on nothing else: on these two a table
of costs is built. What flows between steps is held by `Edges`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from inspect import signature
from typing import Any, TypeAlias, TypeVar

from flopwise.blocks import Block, Trace, Type, call_stage
from flopwise.blocks.stage import chosen, repetition
from flopwise.blocks.tensor import Tensor
from flopwise.dsl.composite import Vocabulary
from flopwise.dsl.domains import Domain
from flopwise.dsl.evaluate import (
    Around,
    block_of,
    depth_of,
    evaluate_stage,
    left_out,
)
from flopwise.dsl.expr import Value
from flopwise.dsl.needed import Needed
from flopwise.dsl.network import Input, Stage
from flopwise.dsl.opened import opens, repeated
from flopwise.dsl.plan import Fixed, Plan, StagePlan
from flopwise.dsl.settled import Settled
from flopwise.dsl.spent import Edge, Edges, Spent, Unsteady, times, told
from flopwise.dsl.targets import depths
from flopwise.dsl.together import Together
from flopwise.dsl.tracing import check_ports, refuse_conversions
from flopwise.dsl.wire import Wiring, stage_of
from flopwise.errors import BlockError

__all__ = ["Step", "steps_of"]

T = TypeVar("T")
COMPOSITE = 20
"""How long a composite block takes, about, next to a block that is a function."""
OPENED = 4
"""The same, where only what it leads to differs: its stages are costed one by one."""
Picks: TypeAlias = Mapping[str, Value]


Result: TypeAlias = tuple[dict[str, Edge], Spent]
"""What a step gives, by who may read it, and what it costs."""
Run: TypeAlias = Callable[[Edges, Around], Result]
Own: TypeAlias = tuple[Block, tuple[tuple[str, Any], ...]]
"""A block and the settings that its function takes in one repetition."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The repetitions of a stage so far: what each gives and costs, and its settings."""

    made: list[tuple[Edge, Spent]] = field(default_factory=list)
    own: dict[int, Own] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: The stage, and the part of it.
        targets: The targets it depends on.
        reads: What it reads.
        start: Edges and the picks that count to what gives their result; that may have to be
            called again while blocks are gathered (see `together.py`).
        weight: How long a run takes, about, next to one of a single block.
        together: What is known of blocks; while it gathers, a run may end with `Later`.
    """

    name: str
    targets: frozenset[str]
    reads: tuple[str, ...]
    start: Callable[[Edges, Picks], Callable[[], Result]]
    weight: int = 1
    together: Together = field(default_factory=Together)


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
    found, together = [_images(plan, needed)], Together()
    for name in wiring.order:
        stage = plans[name]
        wanted = tuple(read for read in reads if stage_of(read) == name)
        may_go = stage.when is not None or f"net.{name}.when" in space
        if may_go and len(set(wiring.inputs[name])) > 1 and name not in ends:
            raise Unsteady(f"stage '{name}' may be left out and reads several others")
        walk = _Walk(plan, stage, wiring.inputs[name], wanted, vocabulary, needed, together)
        found += walk.steps(space)
    return found


def _images(plan: Plan, needed: Needed) -> Step:
    names = ("input.size", "input.channels")

    def run(picks: Picks) -> Result:
        scope = needed.typed(names, picks)
        size, channels = scope["input.size"], scope["input.channels"]
        height, width = size if isinstance(size, tuple) else (size, size)
        images = Input((int(height), int(width)), int(channels))  # type: ignore[arg-type]
        return {"input": Edge(Type("map", (images.channels, *images.size)), True)}, Spent()

    return Step("input", needed.of(names), (), lambda _, picks: partial(run, picks))


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
        together: Together,
    ) -> None:
        self.plan, self.stage, self.inputs, self.wanted = plan, stage, inputs, wanted
        self.vocabulary, self.needed, self.together = vocabulary, needed, together
        self.settled = Settled(stage)
        self.when = needed.of([f"net.{stage.name}.when"])

    def steps(self, space: Mapping[str, Domain]) -> Iterator[Step]:
        """Yields the entry and the repetitions where these can be told apart, else the stage."""
        name, block = self.stage.name, self.needed.block(self.stage)
        if block is None or block.once or len(self.inputs) > 1 or block.outputs:
            yield self._step("", self.needed.stage(self.stage), self._whole)
            return
        targets = self.needed.fields(self.stage, block, _entry_names(block))
        yield self._step("entry", targets, self._entry)
        own = [n for n in block.fields if n in block.own]
        if not any(target.startswith(f"net.{name}[") for target in space):
            yield self._body(block, self.needed.fields(self.stage, block, own))
            return
        span = depths(name, self.needed.settings, space)
        if span is None:
            raise Unsteady(f"how deep stage '{name}' may get cannot be listed")
        for at in range(span[1]):
            targets = self.needed.fields(self.stage, block, own, at)
            yield self._step(str(at), targets | self.needed.depth(self.stage), self._repetition(at))

    def _step(self, part: str, targets: frozenset[str], run: Run) -> Step:
        """Returns a step that does nothing where the stage is left out."""
        name, targets = self.stage.name, targets | self.when
        later = part not in ("", "entry")
        reads = (name,) if later else self.inputs
        weight = self._weight(self.needed.block(self.stage) if later else None)

        def applied(edges: Edges, around: Around) -> Result:
            if left_out([self.stage], around):
                return self._gone(edges[reads[0]])
            return run(edges, around)

        around = self._part(targets, lambda around: around)
        label = f"{name} {part}".strip()

        def start(edges: Edges, picks: Picks) -> Callable[[], Result]:
            return partial(applied, edges, around(picks))

        return Step(label, targets, reads, start, weight, self.together)

    def _weight(self, repeated: Block | None) -> int:
        """Returns how long a step takes, about; `repeated` is the block it is a repetition of."""
        if not self.needed.composite(self.stage):
            return 1
        definition = self.needed.definition(repeated.name) if repeated else None
        return OPENED if definition and opens(definition, self.plan.blocks) else COMPOSITE

    def _gone(self, edge: Edge) -> Result:
        return dict.fromkeys((*self.wanted, self.stage.name), edge), Spent()

    def _part(self, targets: frozenset[str], made: Callable[[Around], T]) -> Callable[[Picks], T]:
        """Returns a function of picks that is worked out once for each value of its targets."""
        order, names = sorted(targets), self.needed.names(self.stage, targets)
        known: dict[Any, T] = {}

        def part(picks: Picks) -> T:
            key = tuple([(value.__class__, value) for value in map(picks.get, order)])
            if key not in known:
                mine = {name: picks[name] for name in order if name in picks}
                scope = self.needed.typed(names, mine)
                settings = {path: self.needed.setting(value) for path, value in mine.items()}
                blocks = self._blocks(mine, scope)
                known[key] = made(Around(blocks, self.plan.places, settings, scope))
            return known[key]

        return part

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
        self.together.traces += 1
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
        types, alive, spent = told(graph)
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
        known = self.settled.values(block, _entry_names(block), around, 0, 1)
        settings = {name: known[name] for name in _entry_names(block)}
        edge = edges[self.inputs[0]]
        stage = Stage(name=self.stage.name, block=block, depth=1, settings=(), inputs=self.inputs)
        check_ports(stage)
        self._refuse(stage, _open([edge])[1])
        (type_,), (reads,), spent = self.together.entry(block, edge.type, settings)
        return {self.stage.name: Edge(type_, edge.alive and bool(reads))}, spent

    def _body(self, block: Block, targets: frozenset[str]) -> Step:
        """Returns the step of all repetitions.

        Where they have the same settings and leave the type as it is, one stands for all that
        follow; so what a depth adds is a product.
        """
        name, depths_ = self.stage.name, self.needed.depth(self.stage) | self.when
        depth = self._part(depths_, self._depth)
        alike = self.needed.alike(self.stage, block)
        whole = targets if alike else targets | depths_
        around = self._part(whole, lambda around: around)
        rows: dict[Any, _Row] = {}

        def run(edge: Edge, count: int, held: Around, row: _Row) -> Result:
            made = row.made
            while len(made) < count and not (alike and _steady(block, edge, made)):
                before = made[-1][0] if made else edge
                made.append(self._repeated(held, before, len(made), count, row.own))
            spent = sum((each for _, each in made[:count]), Spent(blocks=1))
            left = max(count - len(made), 0)
            return {name: made[:count][-1][0]}, spent + times(made[-1][1], left)

        def start(edges: Edges, picks: Picks) -> Callable[[], Result]:
            edge, count = edges[name], depth(picks)
            if count == 0:
                return partial(self._gone, edge)
            held = around(picks)
            row = rows.setdefault((edge, id(held), 0 if alike else count), _Row())
            return partial(run, edge, count, held, row)

        weight = self._weight(block)
        return Step(f"{name} body", targets | depths_, (name,), start, weight, self.together)

    def _depth(self, around: Around) -> int:
        """Returns how deep the stage is; 0 where it is left out."""
        if left_out([self.stage], around):
            return 0
        block = block_of(self.stage, around)
        written = self.settled.written(block, around)
        return depth_of(self.stage, block, written, around.scope)

    def _repetition(self, at: int) -> Run:
        """Returns what runs one repetition, which a stage that is not so deep lacks."""

        def run(edges: Edges, around: Around) -> Result:
            edge, depth = edges[self.stage.name], self._depth(around)
            if at >= depth:
                return {self.stage.name: edge}, Spent()
            edge, spent = self._repeated(around, edge, at, depth, {})
            return {self.stage.name: edge}, spent + Spent(blocks=int(at == 0))

        return run

    def _repeated(
        self, around: Around, edge: Edge, at: int, depth: int, known: dict[int, Own]
    ) -> tuple[Edge, Spent]:
        """Returns what one repetition gives and costs; `known` keeps the settings of each."""
        if at not in known:
            block = block_of(self.stage, around)
            names = [name for name in block.fields if name in block.own]
            settings = self.settled.values(block, names, around, at, depth)
            known[at] = block, chosen(block, repetition(block, {**settings, "i": at, "n": depth}))
        block, own = known[at]
        type_, reads, spent = repeated(block, edge.type, own, self.together)
        return Edge(type_, edge.alive and reads), spent + Spent(depth=1, blocks=1)


@lru_cache(maxsize=4096)
def _entry_names(block: Block) -> tuple[str, ...]:
    names = signature(block.entry).parameters if block.entry else ()
    return tuple(name for name in names if name in block.fields)


def _steady(block: Block, edge: Edge, row: Sequence[tuple[Edge, Spent]]) -> bool:
    """Whether all repetitions to come are the last of a row, where settings are the same."""
    if len(row) == 1:
        return row[0][0] == edge and not any(field.first for field in block.fields.values())
    return len(row) > 1 and row[-1][0] == row[-2][0]


@lru_cache(maxsize=4096)
def _vocabulary(
    vocabulary: Vocabulary, given: tuple[tuple[str, Fixed], ...]
) -> Mapping[str, Block]:
    return vocabulary.blocks(dict(given))


def _open(edges: Sequence[Edge]) -> tuple[Trace, list[Tensor]]:
    """Returns a trace and its inputs."""
    trace = Trace()
    return trace, [trace.input(edge.type) for edge in edges]
