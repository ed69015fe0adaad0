"""Stages to a graph: each is applied to what it reads, and what nothing needs is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from flopwise.blocks import Graph, Tensor, Trace, Type, call_stage, conversions, depends, prune
from flopwise.blocks.graph import describe
from flopwise.blocks.tensor import symbol
from flopwise.dsl.mending import smallest_size
from flopwise.dsl.network import Input, Stage
from flopwise.dsl.plan import Ends
from flopwise.dsl.telling import MAX_BLOCKS, Telling
from flopwise.dsl.usercode import place_in_code
from flopwise.dsl.wire import Wiring, stage_of
from flopwise.errors import BlockError, Fault, SpecError

__all__ = ["Tracing", "check_ports", "refuse_conversions"]


DIVIDERS = ("heads", "groups")
"""Settings that a width must be a multiple of, and that change no shape."""


class Tracing(Telling):
    """Stages as they are applied one after the other."""

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
                raise SpecError([self.constant(read)])
        return graph, {read: tensor.type for read, tensor in tensors.items()}

    def _traced(self, wiring: Wiring, images: Input) -> tuple[Trace, dict[str, Tensor]]:
        trace = Trace()
        tensors = {"input": trace.input(Type("map", (images.channels, *images.size)))}
        self.add(trace, tensors, wiring.order)
        return trace, tensors

    def add(self, trace: Trace, tensors: dict[str, Tensor], order: Sequence[str]) -> None:
        """Adds the stages to a trace, in this order, and what they give to the tensors.

        Where a block cannot be applied, the stages after it are looked at all the same, as far as
        it is clear what they read.

        Raises:
            SpecError: Blocks cannot be applied.
        """
        faults: list[Fault] = []
        unclear: set[str] = set()
        for name in order:
            stage = self.stages[name]
            if not unclear.isdisjoint(map(stage_of, stage.inputs)):
                unclear.add(name)
                continue
            try:
                made = self._applied(trace, tensors, stage)
            except SpecError as error:
                faults += error.faults
                made = self._likely(trace, tensors, stage, error.faults)
            if not made:
                unclear.add(name)
                continue
            tensors[name], self.widths[name] = made[0], made[0].channels
            named = zip(stage.block.outputs, made, strict=False)
            tensors |= {f"{name}.{output}": each for output, each in named}
            if trace.blocks > MAX_BLOCKS:
                raise SpecError([*faults, self.too_large(stage)])
        if faults:
            raise SpecError(faults)

    def _applied(
        self, trace: Trace, tensors: Mapping[str, Tensor], stage: Stage
    ) -> tuple[Tensor, ...]:
        """Adds one stage to a trace and returns what it gives."""
        reads = [self._read(tensors, stage, read) for read in stage.inputs]
        try:
            check_ports(stage)
            if self.strict:
                refuse_conversions(stage, reads)
            return call_stage(trace, stage.name, stage.block, reads, stage.settings)
        except BlockError as error:
            raise SpecError([self.told(error, stage, reads)]) from None
        except SpecError as error:  # told inside a composite block
            raise SpecError(self.passed_on(fault, stage) for fault in error.faults) from None
        except Exception as error:
            place = place_in_code(error)
            if place is None:
                raise
            raise SpecError([self.failed(error, place, stage)]) from None

    def _likely(
        self, trace: Trace, tensors: Mapping[str, Tensor], stage: Stage, faults: Sequence[Fault]
    ) -> tuple[Tensor, ...]:
        """Returns what a stage at fault would give, if only what divides its width is wrong.

        One that cannot give the width it names would give that width. Nothing where it is unclear.
        """
        width = self.written[stage.name].whole.get("dim")
        if width and [(each.code, each.place) for each in faults] == [("E313", width.place)]:
            x = tensors[stage.inputs[0]]
            type_ = replace(x.type, shape=(stage.settings[0]["dim"], *x.type.shape[1:]))
            return (symbol(type_, trace, x.index),) if x.kind == "map" else ()
        ones = {name for each in stage.settings for name in DIVIDERS if each.get(name)}
        plain = tuple({**each, **dict.fromkeys(ones, 1)} for each in stage.settings)
        with suppress(SpecError):
            return self._applied(trace, tensors, replace(stage, settings=plain)) if ones else ()
        return ()

    def _read(self, tensors: Mapping[str, Tensor], stage: Stage, read: str) -> Tensor:
        """Returns what a stage reads, or tells that the other stage has no such output."""
        if read in tensors:
            return tensors[read]
        places = [place for name, place in self.reads[stage.name] if name == read]
        raise SpecError([self.no_output(read, [*places, self.places[stage.name]][0])])

    def end(self, read: str, tensors: Mapping[str, Tensor], ends: Ends) -> Tensor:
        """Returns what an end gives; `ends` says where it is named."""
        if read in tensors:
            return tensors[read]
        places = [place for name, place in ends if name == read]
        raise SpecError([self.no_output(read, [*places, self.places[stage_of(read)]][0])])

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


def refuse_conversions(stage: Stage, reads: Sequence[Tensor]) -> None:
    """Refuses inputs that only an inserted converter makes right, as `strict_kinds` asks."""
    ways = conversions(stage.block, [x.type for x in reads], stage.name)
    for way, read, x in zip(ways, stage.inputs, reads, strict=True):
        if way:
            raise BlockError(
                "E323",
                f"'{stage.name}' gets {describe(x.type)} from '{read}', and strict_kinds is true",
                helps=(f"put {{block: {way}, from: {read}}} before it, or delete strict_kinds",),
            )


def check_ports(stage: Stage) -> None:
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
