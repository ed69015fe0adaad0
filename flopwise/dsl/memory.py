"""All stages with their numbers; those that come out the same again are remembered.

A network is worked out anew for every row, pick and step of `fit`. What most stages depend on stays
the same from one to the next: a stage is evaluated again only if a pick addresses it, or its inputs
or the worth of a name that it reads have changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flopwise.blocks import Block
from flopwise.dsl.evaluate import Around, Written, evaluate_stage
from flopwise.dsl.expr import Value
from flopwise.dsl.network import Stage
from flopwise.dsl.plan import StagePlan
from flopwise.errors import Fault, SpecError

__all__ = ["Held", "evaluate_stages"]


@dataclass(frozen=True, slots=True)
class Held:
    """A stage that was evaluated, and all that its numbers depend on but its own picks."""

    block: Block
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    worth: str
    stage: Stage
    written: Written

    def holds(self, plan: StagePlan, inputs: tuple[str, ...], around: Around) -> bool:
        """Whether it would come out the same again."""
        same = around.blocks.get(str(plan.block.value)) is self.block and inputs == self.inputs
        return same and _worth(self.names, around.scope) == self.worth


def _worth(names: Sequence[str], scope: Mapping[str, Value]) -> str:
    """Spells values so that 1, 1.0 and true differ."""
    return repr([scope.get(name) for name in names])


def evaluate_stages(
    plans: Sequence[StagePlan],
    inputs: Mapping[str, tuple[str, ...]],
    around: Around,
    memory: dict[str, Held] | None = None,
) -> tuple[list[Stage], dict[str, Written]]:
    """Returns the stages with their numbers, and the settings these came from.

    Args:
        plans: The stages as they are written.
        inputs: What each reads.
        around: What they are evaluated with.
        memory: What came out for stages that no pick addresses; it is used and kept up to date.

    Raises:
        SpecError: Every fault of every stage.
    """
    written: dict[str, Written] = {}
    stages: list[Stage] = []
    faults: list[Fault] = []
    picked = {path.split(".")[1].partition("[")[0] for path in around.picks if "." in path}
    if any(path.startswith("defaults.") for path in around.picks):
        memory = None
    for plan in plans:
        reads, usable = inputs[plan.name], None if plan.name in picked else memory
        held = usable.get(plan.name) if usable else None
        if held and held.holds(plan, reads, around):
            stages.append(held.stage)
            written[plan.name] = held.written
            continue
        try:
            stage, written[plan.name] = evaluate_stage(plan, reads, around)
            stages.append(stage)
            if usable is not None and not plan.block.names:
                usable[plan.name] = _held(stage, reads, written[plan.name], around.scope)
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(dict.fromkeys(_without_echoes(faults)))
    return stages, written


def _without_echoes(faults: Sequence[Fault]) -> Iterator[Fault]:
    """Yields faults but not the sums that fail for a text which another fault tells already."""
    ends = [fault.notes[-1] for fault in faults if fault.code == "E202" and fault.notes]
    texts = [f"({end.rpartition(' = ')[2]})" for end in ends if end.endswith("'")]
    for fault in faults:
        if fault.code != "E407" or not any(text in fault.message for text in texts):
            yield fault


def _held(
    stage: Stage, inputs: tuple[str, ...], written: Written, scope: Mapping[str, Value]
) -> Held:
    single = (setting for each in written.single.values() for setting in each.values())
    settings = [*written.whole.values(), *single]
    names = tuple(sorted({"classes"}.union(*(setting.names for setting in settings))))
    return Held(stage.block, inputs, names, _worth(names, scope), stage, written)
