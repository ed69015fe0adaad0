"""Stages to a graph, and the address of a block's bare fact: the setting, or the stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from flopwise.blocks import Graph, Tensor, Trace, Type, add_stage
from flopwise.blocks.graph import describe
from flopwise.dsl.evaluate import Written
from flopwise.dsl.expr import Expression
from flopwise.dsl.network import Input, Stage
from flopwise.dsl.plan import Setting, StagePlan
from flopwise.errors import BlockError, Fault, Place, SpecError

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
    ) -> None:
        """Takes stages, their plans, the settings of each, and where every name gets its value.

        `inside` names the composite block whose stages these are.
        """
        self.stages = {stage.name: stage for stage in stages}
        self.places = {plan.name: plan.place for plan in plans}
        self.written, self.origins = written, origins
        self.inside = f" of block '{inside}'" if inside else ""

    def graph(self, order: Sequence[str], images: Input, title: str) -> Graph:
        """Returns the graph; the last stage is the output.

        Raises:
            SpecError: A block cannot be applied.
        """
        trace = Trace()
        tensors = {"input": trace.input(Type("map", (images.channels, *images.size)))}
        self.add(trace, tensors, order)
        return trace.close(tensors[list(self.stages)[-1]], title=title)

    def add(self, trace: Trace, tensors: dict[str, Tensor], order: Sequence[str]) -> None:
        """Adds the stages to a trace, in this order, and what they give to the tensors.

        Raises:
            SpecError: A block cannot be applied.
        """
        for name in order:
            stage = self.stages[name]
            reads = [tensors[source] for source in stage.inputs]
            try:
                _check_ports(stage)
                tensors[name] = add_stage(trace, name, stage.block, reads, stage.settings)
            except BlockError as error:
                raise SpecError([self._told(error, stage, reads)]) from None
            except SpecError as error:  # told inside a composite block
                raise SpecError(self._passed_on(fault, stage) for fault in error.faults) from None
            if trace.blocks > MAX_BLOCKS:
                raise SpecError([self._too_large(stage)])

    def _passed_on(self, fault: Fault, stage: Stage) -> Fault:
        """Adds to a fault inside a composite block the stage that uses it, and its numbers."""
        via = (self.places[stage.name], f"used in stage '{stage.name}'{self.inside}")
        sums = (f"{text} (stage '{stage.name}')" for _, text in self._sums(stage))
        return replace(fault, also=(*fault.also, via), notes=(*fault.notes, *sums))

    def _too_large(self, stage: Stage) -> Fault:
        fact = f"the network has more than {MAX_BLOCKS} blocks; no more are allowed"
        return Fault(code="E005", message=fact, place=self.places[stage.name], label="reached here")

    def _told(self, error: BlockError, stage: Stage, reads: Sequence[Tensor]) -> Fault:
        """Gives a bare fact its address: the setting at fault, or the stage and what it reads."""
        setting = self.written[stage.name].at(error.repetition).get(error.setting or "")
        also = self._sources(setting) if setting else self._inputs(stage, reads)
        known = stage.name in error.message
        return Fault(
            code=error.code,
            message=error.message
            if known
            else f"{error.message} (stage '{stage.name}'{self.inside})",
            place=setting.place if setting else self.places[stage.name],
            also=tuple(also),
            helps=error.helps,
            notes=(*error.notes, *self._computations(stage)),
        )

    def _inputs(self, stage: Stage, reads: Sequence[Tensor]) -> Iterator[tuple[Place, str]]:
        """Yields the stages that a stage reads, with what they give."""
        for name, tensor in zip(stage.inputs, reads, strict=True):
            if name in self.places:
                yield self.places[name], describe(tensor.type)

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
            for name in stage.inputs:
                if name in self.stages:
                    sums = dict(self._sums(self.stages[name]))
                    yield from [f"{sums['dim']} (stage '{name}')"] if "dim" in sums else []

    def _sums(self, stage: Stage) -> Iterator[tuple[str, str]]:
        for name, setting in self.written[stage.name].whole.items():
            if isinstance(setting.value, Expression) and name in stage.settings[0]:
                yield name, setting.computation(name, stage.settings[0][name])


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
        raise BlockError(
            "E314",
            f"block '{block.name}' reads {words.get(wanted, wanted)}, "
            f"but stage '{stage.name}' names {count}",
            helps=("join them first with  block: add  or  block: concat",),
        )
