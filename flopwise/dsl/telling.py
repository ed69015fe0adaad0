"""The address of a block's bare fact: the setting, or the stage, and how its numbers came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from flopwise.blocks import Tensor
from flopwise.blocks.graph import describe
from flopwise.dsl.evaluate import Written
from flopwise.dsl.expr import Expression
from flopwise.dsl.mending import ways_to_join
from flopwise.dsl.network import Stage
from flopwise.dsl.plan import Setting, StagePlan
from flopwise.dsl.usercode import place_in_code
from flopwise.dsl.wire import stage_of
from flopwise.errors import BlockError, Fault, Place, nearest

__all__ = ["MAX_BLOCKS", "Telling"]

MAX_BLOCKS = 20_000


def _import_help(error: Exception) -> Iterator[str]:
    """Yields where layers are, to who called the module of their name."""
    if "'module' object is not callable" in str(error):
        yield "layers are functions in flopwise.blocks.layers: import it from there"


class Telling:
    """The evaluated stages beside what was written, to point from the ones at the other."""

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

    def no_output(self, read: str, place: Place) -> Fault:
        """Tells that a stage has no output of the name that is read."""
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

    def constant(self, read: str) -> Fault:
        """Tells that a result does not depend on the images."""
        return Fault(
            code="E315",
            message=f"'{read}' does not depend on the image: every way to it leads through 'zero'",
            place=self.places[stage_of(read)],
            helps=("give one of these stages another block than zero",),
            notes=("in a search such a candidate counts as one that cannot be built",),
        )

    def passed_on(self, fault: Fault, stage: Stage) -> Fault:
        """Adds to a fault inside a composite block the stage that uses it, and its numbers."""
        via = (self.places[stage.name], f"used in stage '{stage.name}'{self.inside}")
        sums = (f"{text} (stage '{stage.name}')" for _, text in self._sums(stage))
        return replace(fault, also=(*fault.also, via), notes=(*fault.notes, *sums))

    def failed(self, error: Exception, place: Place, stage: Stage) -> Fault:
        """Tells of an exception in the code of a user's block."""
        return Fault(
            code="E118",
            message=f"block '{stage.block.name}' fails: {type(error).__name__}: {error}",
            place=place,
            label="raised here",
            also=((self.places[stage.name], f"in stage '{stage.name}'{self.inside}"),),
            helps=tuple(_import_help(error)),
            notes=tuple(self._computations(stage)),
        )

    def too_large(self, stage: Stage) -> Fault:
        """Tells at which stage a network has too many blocks."""
        fact = f"the network has more than {MAX_BLOCKS} blocks; no more are allowed"
        return Fault(code="E005", message=fact, place=self.places[stage.name], label="reached here")

    def told(self, error: BlockError, stage: Stage, reads: Sequence[Tensor]) -> Fault:
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
            helps=(
                *(tuple(self._ways(error, stage, reads)) or error.helps),
                *self._require(error, stage),
            ),
            notes=(*error.notes, *self._computations(stage)),
        )

    def _ways(self, error: BlockError, stage: Stage, reads: Sequence[Tensor]) -> Iterator[str]:
        """Yields how inputs that do not go together can be made to."""
        if error.code in ("E301", "E302") and stage.block.variadic:
            named = [(read, x.type) for read, x in zip(stage.inputs, reads, strict=True)]
            ways = ways_to_join(stage.block.name, named, self.stages, self.widths)
            above = f"blocks.{self.block}.net." if self.block else "net."
            yield from (way.replace("set net.", f"set {above}") for way in ways)

    def _require(self, error: BlockError, stage: Stage) -> Iterator[str]:
        """Yields what keeps a search from heads that do not divide a width."""
        written = self.written[stage.name].whole
        if error.code != "E303" or not {"dim", "heads"} <= written.keys():
            return
        terms = [written[name].value for name in ("dim", "heads")]
        if any(isinstance(term, Expression) for term in terms):
            dim, heads = (text if text.isalnum() else f"({text})" for text in map(str, terms))
            yield f"in a search add  require: [$({dim} % {heads} == 0)]"

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
