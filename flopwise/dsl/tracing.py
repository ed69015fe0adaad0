"""Stages to a graph, and the address of a block's bare fact: the setting, or the stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from flopwise.blocks import Graph, Tensor, Trace, Type, call_stage, conversions, depends, prune
from flopwise.blocks.graph import describe
from flopwise.dsl.evaluate import Written
from flopwise.dsl.expr import Expression
from flopwise.dsl.mending import smallest_size, ways_to_join
from flopwise.dsl.network import Input, Stage
from flopwise.dsl.plan import Ends, Setting, StagePlan
from flopwise.dsl.usercode import place_in_code
from flopwise.dsl.wire import Wiring, stage_of
from flopwise.errors import BlockError, Fault, Place, SpecError, nearest

__all__ = ["MAX_BLOCKS", "Tracing"]

MAX_BLOCKS = 20_000


class Tracing:
    """The evaluated stages beside what was written, to trace the ones and to point at the other."""

    def __init__(
        self,
        stages: Sequence[Stage],
        plans: Sequence[StagePlan],
        written: Mapping[str, Written],
        origins: Mapping[str, Setting],
        inside: str = "",
        strict: bool = False,
    ) -> None:
        """Takes stages, their plans, the settings of each, and where every name gets its value.

        `inside` names the composite block whose stages these are; `strict` refuses converters that
        are not written.
        """
        self.strict = strict
        self.widths: dict[str, int] = {}
        self.reads = {plan.name: plan.inputs or () for plan in plans}
        self.stages = {stage.name: stage for stage in stages}
        self.places = {plan.name: plan.place for plan in plans}
        self.written, self.origins = written, origins
        self.block, self.inside = inside, f" of block '{inside}'" if inside else ""

    def graph(
        self, wiring: Wiring, images: Input, title: str, ends: Ends, *, advise: bool = False
    ) -> tuple[Graph, dict[str, Type]]:
        """Returns the graph of a network, and the type of everything a stage can read.

        Args:
            wiring: How the stages are wired; its first end is the output.
            images: What the network takes.
            title: Its name.
            ends: Where the output and the features are written.
            advise: Whether a network that is too large for its input is told which one would do.

        Raises:
            SpecError: A block cannot be applied, or an end does not depend on the images (E315).
        """
        try:
            trace, tensors = self._traced(wiring, images)
        except SpecError as error:
            if advise and any(fault.code == "E308" for fault in error.faults):
                raise SpecError(self._advised(error.faults, wiring, images)) from None
            raise
        found = [(read, self.end(read, tensors, ends)) for read in wiring.ends]
        (_, output), *features = found
        graph = trace.close(output, title=title)
        graph = prune(replace(graph, features=tuple(tensor.index for _, tensor in features)))
        for (read, _), inputs in zip(found, depends(graph), strict=True):
            if not inputs:
                raise SpecError([self._constant(read)])
        return graph, {read: tensor.type for read, tensor in tensors.items()}

    def _traced(self, wiring: Wiring, images: Input) -> tuple[Trace, dict[str, Tensor]]:
        trace = Trace()
        tensors = {"input": trace.input(Type("map", (images.channels, *images.size)))}
        self.add(trace, tensors, wiring.order)
        return trace, tensors

    def add(self, trace: Trace, tensors: dict[str, Tensor], order: Sequence[str]) -> None:
        """Adds the stages to a trace, in this order, and what they give to the tensors.

        Raises:
            SpecError: A block cannot be applied.
        """
        for name in order:
            stage = self.stages[name]
            reads = [self._read(tensors, stage, read) for read in stage.inputs]
            try:
                _check_ports(stage)
                if self.strict:
                    _refuse_conversions(stage, reads)
                made = call_stage(trace, name, stage.block, reads, stage.settings)
            except BlockError as error:
                raise SpecError([self._told(error, stage, reads)]) from None
            except SpecError as error:  # told inside a composite block
                raise SpecError(self._passed_on(fault, stage) for fault in error.faults) from None
            except Exception as error:
                place = place_in_code(error)
                if place is None:
                    raise
                raise SpecError([self._failed(error, place, stage)]) from None
            tensors[name], self.widths[name] = made[0], made[0].channels
            named = zip(stage.block.outputs, made, strict=False)
            tensors |= {f"{name}.{output}": each for output, each in named}
            if trace.blocks > MAX_BLOCKS:
                raise SpecError([self._too_large(stage)])

    def _read(self, tensors: Mapping[str, Tensor], stage: Stage, read: str) -> Tensor:
        """Returns what a stage reads, or tells that the other stage has no such output."""
        if read in tensors:
            return tensors[read]
        places = [place for name, place in self.reads[stage.name] if name == read]
        raise SpecError([self._no_output(read, [*places, self.places[stage.name]][0])])

    def end(self, read: str, tensors: Mapping[str, Tensor], ends: Ends) -> Tensor:
        """Returns what an end gives; `ends` says where it is named."""
        if read in tensors:
            return tensors[read]
        places = [place for name, place in ends if name == read]
        raise SpecError([self._no_output(read, [*places, self.places[stage_of(read)]][0])])

    def _no_output(self, read: str, place: Place) -> Fault:
        name, _, output = read.partition(".")
        block = self.stages[name].block
        near = nearest(output, block.outputs)
        helps = (f"did you mean '{name}.{near}'?",) if near else ()
        known = ", ".join(f"{name}.{each}" for each in block.outputs)
        return Fault(
            code="E318",
            message=f"stage '{name}' has no output '{output}'",
            place=place,
            helps=helps or (() if known else (f"write  {name}  alone: it has one output",)),
            notes=(f"outputs of {block.name}: {known}",) if known else (),
        )

    def _constant(self, read: str) -> Fault:
        return Fault(
            code="E315",
            message=f"'{read}' does not depend on the image: every way to it leads through 'zero'",
            place=self.places[stage_of(read)],
            helps=("give one of these stages another block than zero",),
            notes=("in a search such a candidate counts as one that cannot be built",),
        )

    def _advised(self, faults: Sequence[Fault], wiring: Wiring, images: Input) -> Iterator[Fault]:
        """Yields faults whose help names the smallest input that is large enough."""

        def fits(size: tuple[int, int]) -> bool:
            try:
                self._traced(wiring, replace(images, size=size))
            except SpecError as error:
                return all(fault.code != "E308" for fault in error.faults)
            return True

        size = smallest_size(images.size, fits)
        for fault in faults:
            if fault.code == "E308" and size:
                least = size[0] if size[0] == size[1] else list(size)
                fault = replace(
                    fault, helps=(f"raise input.size to at least {least}, or remove a stride",)
                )
            yield fault

    def _passed_on(self, fault: Fault, stage: Stage) -> Fault:
        """Adds to a fault inside a composite block the stage that uses it, and its numbers."""
        via = (self.places[stage.name], f"used in stage '{stage.name}'{self.inside}")
        sums = (f"{text} (stage '{stage.name}')" for _, text in self._sums(stage))
        return replace(fault, also=(*fault.also, via), notes=(*fault.notes, *sums))

    def _failed(self, error: Exception, place: Place, stage: Stage) -> Fault:
        """Tells of an exception in the code of a user's block."""
        return Fault(
            code="E118",
            message=f"block '{stage.block.name}' fails: {type(error).__name__}: {error}",
            place=place,
            label="raised here",
            also=((self.places[stage.name], f"in stage '{stage.name}'{self.inside}"),),
            notes=tuple(self._computations(stage)),
        )

    def _too_large(self, stage: Stage) -> Fault:
        fact = f"the network has more than {MAX_BLOCKS} blocks; no more are allowed"
        return Fault(code="E005", message=fact, place=self.places[stage.name], label="reached here")

    def _told(self, error: BlockError, stage: Stage, reads: Sequence[Tensor]) -> Fault:
        """Gives a bare fact its address: the setting at fault, or the stage and what it reads."""
        setting = self.written[stage.name].at(error.repetition).get(error.setting or "")
        also = list(self._sources(setting) if setting else self._inputs(stage, reads))
        code = place_in_code(error)
        also += [(code, "told by this line")] if code else []
        known = f"'{stage.name}'" in error.message
        return Fault(
            code=error.code,
            message=error.message
            if known
            else f"{error.message} (stage '{stage.name}'{self.inside})",
            place=setting.place if setting else self.places[stage.name],
            also=tuple(also),
            helps=tuple(self._ways(error, stage, reads)) or error.helps,
            notes=(*error.notes, *self._computations(stage)),
        )

    def _ways(self, error: BlockError, stage: Stage, reads: Sequence[Tensor]) -> Iterator[str]:
        """Yields how inputs that do not go together can be made to."""
        if error.code in ("E301", "E302") and stage.block.variadic:
            named = [(read, x.type) for read, x in zip(stage.inputs, reads, strict=True)]
            ways = ways_to_join(stage.block.name, named, self.stages, self.widths)
            above = f"blocks.{self.block}.net." if self.block else "net."
            yield from (way.replace("set net.", f"set {above}") for way in ways)

    def _inputs(self, stage: Stage, reads: Sequence[Tensor]) -> Iterator[tuple[Place, str]]:
        """Yields the stages that a stage reads, with what they give."""
        for name, tensor in zip(stage.inputs, reads, strict=True):
            if stage_of(name) in self.places:
                yield self.places[stage_of(name)], describe(tensor.type)

    def _sources(self, setting: Setting) -> Iterator[tuple[Place, str]]:
        """Yields where the names of an expression get their values, if that is in another file."""
        for name in sorted(setting.names & self.origins.keys()):
            place = self.origins[name].place
            if place.source != setting.place.source:
                yield place, f"{name} comes from here"

    def _computations(self, stage: Stage) -> Iterator[str]:
        """Yields how the numbers came about; a width that is not written comes from the input."""
        yield from (text for _, text in self._sums(stage))
        if "dim" not in self.written[stage.name].whole:
            for name in map(stage_of, stage.inputs):
                if name in self.stages:
                    sums = dict(self._sums(self.stages[name]))
                    yield from [f"{sums['dim']} (stage '{name}')"] if "dim" in sums else []

    def _sums(self, stage: Stage) -> Iterator[tuple[str, str]]:
        for name, setting in self.written[stage.name].whole.items():
            if isinstance(setting.value, Expression) and name in stage.settings[0]:
                yield name, setting.computation(name, stage.settings[0][name])


def _refuse_conversions(stage: Stage, reads: Sequence[Tensor]) -> None:
    """Refuses inputs that only an inserted converter makes right, as `strict_kinds` asks."""
    ways = conversions(stage.block, [x.type for x in reads], stage.name)
    for way, read, x in zip(ways, stage.inputs, reads, strict=True):
        if way:
            raise BlockError(
                "E323",
                f"'{stage.name}' gets {describe(x.type)} from '{read}', and strict_kinds is true",
                helps=(f"put {{block: {way}, from: {read}}} before it, or delete strict_kinds",),
            )


def _check_ports(stage: Stage) -> None:
    """Compares the number of inputs with what the block takes."""
    block, count = stage.block, len(stage.inputs)
    wanted = len(block.ports)
    if block.variadic and count < 2:
        raise BlockError(
            "E314",
            f"block '{block.name}' joins two or more stages, but stage '{stage.name}' reads one",
            helps=("write  from: [a, b]",),
        )
    if not block.variadic and count != wanted:
        words = {1: "one stage", 2: "two stages"}
        ports = ", ".join(f"{port}: STAGE" for port in block.ports)
        join = "join them first with  block: add  or  block: concat"
        raise BlockError(
            "E314",
            f"block '{block.name}' reads {words.get(wanted, f'{wanted} stages')}, "
            f"but stage '{stage.name}' reads {count}",
            helps=(f"write  from: {{{ports}}}" if wanted > 1 else join,),
        )
