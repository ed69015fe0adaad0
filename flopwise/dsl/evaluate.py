"""A stage as it is written to a stage with its numbers.

The stages of a network and those inside a composite block go the same way: find the block, find
the setting that holds for each of its fields, and evaluate it for each repetition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flopwise.blocks import Block
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.functions import show
from flopwise.dsl.network import Stage
from flopwise.dsl.paths import whole_of
from flopwise.dsl.plan import Setting, StagePlan
from flopwise.dsl.ports import by_port
from flopwise.dsl.tables import NODE
from flopwise.dsl.values import Misfit, RuleLike, fit
from flopwise.errors import Fault, SpecError, nearest

__all__ = [
    "Around",
    "Written",
    "block_of",
    "depth_of",
    "evaluate_stage",
    "evaluated",
    "fitted",
    "left_out",
    "written_of",
]

Single = Mapping[str, Mapping[int, Setting]]


@dataclass(frozen=True, slots=True)
class Around:
    """What stages are evaluated with.

    Attributes:
        blocks: The vocabulary.
        places: Settings under `defaults`, by path.
        picks: Settings that replace others, by path.
        scope: What every name is worth.
    """

    blocks: Mapping[str, Block]
    places: Mapping[str, Setting]
    picks: Mapping[str, Setting]
    scope: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Written:
    """The settings that hold for a stage: for every repetition, and for single ones."""

    whole: Mapping[str, Setting]
    single: Single

    def at(self, index: int) -> Mapping[str, Setting]:
        """Returns what holds for one repetition."""
        own = {name: each[index] for name, each in self.single.items() if index in each}
        return {**self.whole, **own} if own else self.whole


def left_out(plans: Sequence[StagePlan], around: Around) -> set[str]:
    """Returns the stages whose `when` is false.

    Raises:
        SpecError: A `when` is neither true nor false.
    """
    found: set[str] = set()
    faults: list[Fault] = []
    for plan in plans:
        setting = around.picks.get(f"net.{plan.name}.when", plan.when)
        if setting is None:
            continue
        try:
            value = setting.evaluate(around.scope)
            what = f"'when' of stage '{plan.name}'"
            if not fitted(value, NODE["when"], what, "when", setting):
                found.add(plan.name)
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(faults)
    return found


def evaluate_stage(
    plan: StagePlan, inputs: tuple[str, ...], around: Around
) -> tuple[Stage, Written]:
    """Returns one stage with its numbers, and the settings these came from."""
    block = block_of(plan, around)
    written = written_of(plan, block, around)
    _refuse_strangers(plan, block)
    depth = depth_of(plan, block, written, around.scope)
    stage = Stage(
        name=plan.name,
        block=block,
        depth=depth,
        settings=_settings(plan, block, written, around.scope, depth),
        inputs=by_port(plan, block, inputs) if plan.ports else inputs,
    )
    return stage, written


def fitted(value: Value, rule: RuleLike, what: str, name: str, setting: Setting) -> Value:
    """Returns a value in the type of its rule, or tells how it came about."""
    computed = isinstance(setting.value, Expression)
    try:
        return fit(value, rule, what, computed=computed)
    except Misfit as error:
        notes = (setting.computation(name, value),) if computed else ()
        told = Fault(
            code=error.code,
            message=error.message,
            place=setting.place,
            label=error.label,
            helps=error.helps,
            notes=notes,
        )
        raise SpecError([told]) from None


def block_of(plan: StagePlan, around: Around) -> Block:
    """Returns the block of a stage, or tells that there is none of its name (E101)."""
    setting = around.picks.get(f"net.{plan.name}.block", plan.block)
    name, blocks = setting.evaluate(around.scope), around.blocks
    if isinstance(name, str) and name in blocks:
        return blocks[name]
    near = nearest(name, blocks) if isinstance(name, str) else None
    told = Fault(
        code="E101",
        message=f"there is no block called {show(name)}",
        place=setting.place,
        helps=(f"did you mean '{near}'?",) if near else (),
        notes=() if near else (f"blocks: {', '.join(blocks)}",),
    )
    raise SpecError([told])


def written_of(plan: StagePlan, block: Block, around: Around) -> Written:
    """Returns the setting that holds for each field: the stage's, else a default."""
    places, picks = around.places, around.picks
    found: dict[str, Setting] = {}
    for name, stage, own, shared in _addresses(plan.name, block):
        setting = picks.get(stage) or plan.settings.get(name)
        setting = setting or picks.get(own) or places.get(own)
        if setting is None and shared:
            setting = picks.get(shared) or places.get(shared)
        if setting is not None:
            found[name] = setting
    depth = picks.get(f"net.{plan.name}.depth") or plan.depth
    if depth:
        found["depth"] = depth
    return Written(found, _single(plan, picks))


@lru_cache(maxsize=4096)
def _addresses(stage: str, block: Block) -> tuple[tuple[str, str, str, str], ...]:
    """Returns for each field its name and where it may be written, the nearest place first."""
    return tuple(
        (
            name,
            f"net.{stage}.{name}",
            f"defaults.{block.name}.{name}",
            "" if field.local else f"defaults.{name}",
        )
        for name, field in block.fields.items()
    )


def _single(plan: StagePlan, picks: Mapping[str, Setting]) -> Single:
    """Returns the settings of single repetitions; a pick for all of them leaves those written."""
    mine = [path for path in picks if path.startswith(f"net.{plan.name}[")]
    if not mine:
        return plan.single
    single = {name: dict(each) for name, each in plan.single.items()}
    for path in mine:
        whole, index = whole_of(path)
        if index is not None:
            single.setdefault(whole.rpartition(".")[2], {})[index] = picks[path]
    return single


def depth_of(plan: StagePlan, block: Block, written: Written, scope: Mapping[str, Value]) -> int:
    """Returns how often the block is repeated, after a look at the repetitions that are named."""
    depth = 1
    if setting := written.whole.get("depth"):
        value = setting.evaluate(scope)
        what = f"'depth' of stage '{plan.name}'"
        depth = int(fitted(value, NODE["depth"], what, "depth", setting))  # type: ignore[arg-type]
        if block.once and depth != 1:
            fact = f"block '{block.name}' stands alone and cannot be repeated"
            told = Fault(code="E203", message=fact, place=setting.place, helps=("delete 'depth'",))
            raise SpecError([told])
    faults = [
        _no_repetition(plan.name, name, index, depth, setting)
        for name, each in plan.single.items()
        for index, setting in each.items()
        if index >= depth
    ]
    if faults:
        raise SpecError(faults)
    return depth


def _no_repetition(stage: str, name: str, index: int, depth: int, setting: Setting) -> Fault:
    known = "[0]" if depth == 1 else f"[0] to [{depth - 1}]"
    return Fault(
        code="E208",
        message=f"stage '{stage}' has no repetition [{index}]: its depth is {depth}",
        place=setting.place,
        helps=(f"write  net.{stage}{known.split()[0]}.{name}, or raise net.{stage}.depth",),
        notes=(f"repetitions are counted from 0: here {known}",),
    )


def _settings(
    plan: StagePlan, block: Block, written: Written, scope: Mapping[str, Value], depth: int
) -> tuple[Mapping[str, Any], ...]:
    """Returns every field of the block with its value, one mapping per repetition."""
    names = {name for setting in written.whole.values() for name in setting.names}
    if not written.single and not {"i", "n"} & names.union(block.scope):
        return (dict(evaluated(plan, block, written.whole, scope)),) * depth
    if "depth" not in written.whole:  # inside a composite block the repetition is that of its stage
        inside = {"i": 0, "n": 1, **scope}
        return (dict(evaluated(plan, block, written.at(0), inside)),)
    return tuple(
        dict(evaluated(plan, block, written.at(i), {**scope, "i": i, "n": depth}))
        for i in range(depth)
    )


def evaluated(
    plan: StagePlan, block: Block, written: Mapping[str, Setting], scope: Mapping[str, Value]
) -> Iterator[tuple[str, Any]]:
    """Yields every field of the block with its value in one repetition."""
    for name, field in block.fields.items():
        if name in written:
            what = f"'{name}' of block '{block.name}'"
            value = written[name].evaluate(scope)
            yield name, fitted(value, field, what, name, written[name])
        elif field.required:
            help_ = f"add  {name}: ...  to stage '{plan.name}'"
            fact = f"block '{block.name}' needs '{name}'"
            notes = (field.doc,) if field.doc else ()
            told = Fault(code="E103", message=fact, place=plan.place, helps=(help_,), notes=notes)
            raise SpecError([told])
        else:
            yield name, scope["classes"] if name == "classes" else field.default
    for name in block.scope:
        yield name, scope[name]


def _refuse_strangers(plan: StagePlan, block: Block) -> None:
    """Refuses settings the block lacks; only a block that an expression chose can have any."""
    faults = [
        Fault(
            code="E102",
            message=f"block '{block.name}' has no setting '{name}'",
            place=setting.place,
            helps=(
                f"move it to  defaults: {{BLOCK: {{{name}: ...}}}}  of the blocks that have it",
            ),
        )
        for name, setting in plan.settings.items()
        if name not in block.fields
    ]
    if faults:
        raise SpecError(faults)
