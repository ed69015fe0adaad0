"""What a spec says that cannot be meant: blocks, defaults and settings without effect.

Of blocks and defaults only what the file itself says is looked at: a parent may be made for several
children. A file with a table is left alone, since its rows may put in any stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING

from flopwise.blocks import Block, Field
from flopwise.blocks.graph import describe
from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.network import Network
from flopwise.dsl.plan import Plan, StagePlan
from flopwise.dsl.tree import Section
from flopwise.errors import Fault, Place, Source

if TYPE_CHECKING:
    from flopwise.dsl.space import Search

__all__ = ["idle", "unclassified"]


NOTHING: tuple[Value, ...] = ("none", 0, False)
"""Values of a setting by which a block leaves something out."""


def idle(plan: Plan, search: Search | None, tree: Section) -> Iterator[Fault]:
    """Yields a warning for every block, default and setting that changes nothing."""
    stages = [*plan.stages, *(stage for each in plan.definitions for stage in each.stages)]
    used = _used(plan, stages, search)
    if "table" in tree.entries or used is None:
        return
    source = tree.keys["name"].source
    for each in plan.definitions:
        if each.block.name not in used and each.place.source is source:
            fact = f"block '{each.block.name}' is never used"
            help_ = f"use it in a stage, as in  block: {each.block.name}, or delete it"
            yield Fault(code="W401", message=fact, place=each.place, helps=(help_,))
    for name, place, known in _defaults(plan, tree, used):
        if not known and place.source is source:
            fact = f"no stage takes the default '{name}'"
            kinds = ", ".join(dict.fromkeys(used)) or "none"
            help_ = "delete it, or use a block that has it"
            note = f"blocks of the stages: {kinds}"
            yield Fault(code="W402", message=fact, place=place, helps=(help_,), notes=(note,))
    targets = frozenset(search.space) if search else frozenset[str]()
    written = "inferred" not in tree.entries  # a resolved spec has every setting there is
    for stage in plan.stages if written else ():
        yield from _without_effect(plan, stage, targets, source)


def unclassified(network: Network, tree: Section) -> Iterator[Fault]:
    """Warns of a spec that has classes and an output that holds no number for each of them."""
    place = tree.keys.get("classes")
    result = network.graph.types[network.graph.outputs[0]]
    if place is None or place.source is not tree.keys["name"].source or result.kind == "vec":
        return
    if result.kind == "map" and result.shape[0] == network.classes:
        return  # a class for every pixel
    fact = f"the output is {describe(result)}, not one number for each of {network.classes} classes"
    helps = ("end with  head: {block: classifier}, or delete 'classes' if that is meant",)
    yield Fault(code="W403", message=fact, place=place, helps=helps)


def _without_effect(
    plan: Plan, stage: StagePlan, targets: Set[str], source: Source
) -> Iterator[Fault]:
    """Warns of written settings that count only with a value of another that it does not have."""
    fields = plan.blocks[str(stage.block.value)].fields
    for name, setting in stage.settings.items():
        if not fields[name].only or setting.place.source is not source:
            continue
        if setting.value == fields[name].default:
            continue  # as flopwise resolve writes it
        other, *wanted = fields[name].only
        value = _settled(plan, stage, fields[other], targets)
        if value is None or (str(value) in wanted if wanted else value not in NOTHING):
            continue
        from flopwise.dsl.domains import spell

        why = f"'{other}' is {spell(value)}" if wanted else f"there is no '{other}'"
        meant = f"  {other}: {' or '.join(wanted)}  " if wanted else f" a value for '{other}' "
        fact = f"'{name}' does nothing, because {why}"
        helps = (f"write{meant}too, or delete '{name}'",)
        yield Fault(code="W404", message=fact, place=setting.place, helps=helps)


def _settled(plan: Plan, stage: StagePlan, field: Field, targets: Set[str]) -> Value | None:
    """Returns the one value a setting of a stage has; None if it may have several."""
    path = f"net.{stage.name}.{field.name}"
    shared = () if field.local else (f"defaults.{field.name}",)
    places = (path, f"defaults.{stage.block.value}.{field.name}", *shared)
    if field.name in stage.single or not targets.isdisjoint((*places, f"net.{stage.name}.block")):
        return None
    written = (plan.places[place] for place in places if place in plan.places)
    setting = stage.settings.get(field.name) or next(written, None)
    if setting is None:
        return NOTHING[0] if field.default is None else field.default
    return None if isinstance(setting.value, Expression) else setting.value


def _used(plan: Plan, stages: list[StagePlan], search: Search | None) -> Mapping[str, Block] | None:
    """Returns the blocks that stages may have by name; None if an expression names one."""
    if any(isinstance(stage.block.value, Expression) for stage in stages):
        return None
    names = {str(stage.block.value) for stage in stages}
    for target, domain in search.space.items() if search else ():
        if target.endswith(".block"):
            from flopwise.dsl.domains import Choice

            names |= set(map(str, domain.options)) if isinstance(domain, Choice) else set()
    return {name: plan.blocks[name] for name in sorted(names) if name in plan.blocks}


def _defaults(
    plan: Plan, tree: Section, used: Mapping[str, Block]
) -> Iterator[tuple[str, Place, bool]]:
    """Yields every default with its place, and whether some stage has the setting."""
    section = tree.entries.get("defaults")
    for name, node in section.entries.items() if isinstance(section, Section) else ():
        place = section.keys[name] if isinstance(section, Section) else tree.place
        if isinstance(node, Section):
            yield name, place, name in used
        else:
            fields = [block.fields.get(name) for block in used.values()]
            yield name, place, any(field and not field.local for field in fields)
