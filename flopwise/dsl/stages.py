"""Stages and defaults as they are written: names of blocks and settings, literals, inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flopwise.blocks import Block
from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Expression
from flopwise.dsl.paths import single_of
from flopwise.dsl.plan import Ends, Setting, StagePlan
from flopwise.dsl.ports import by_port
from flopwise.dsl.shipped import presets
from flopwise.dsl.tables import NODE, RESERVED_STAGES, TOP, fields_of
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Rule
from flopwise.errors import Place, SpecError, nearest

__all__ = ["check_reads", "read_defaults", "read_ends", "read_stages"]

VALUE = Rule(name="", type="value")
ELSEWHERE = {
    "name": "the name of a stage is the key before its colon",
    "bias": "a convolution has a bias where no norm follows; delete it",
    "padding": "convolutions pad by half their kernel, so stride 1 keeps the size; delete it",
    "dilation": "no convolution is dilated: a larger kernel sees as far; delete it",
    "pretrained": "weights are no part of a spec; delete it",
    "drop_path": "write it under train:  train: {drop_path: 0.1}",
    "dropout": "write it under train:  train: {dropout: 0.1}",
    "in_channels": "a stage takes its input's channels by itself; delete it",
}
"""Settings of other frameworks, and where they are here."""


def read_stages(checker: Checker, net: Section, at: Place) -> Iterator[StagePlan]:
    """Yields the stages under `net`, checked as far as their text allows."""
    if not net.entries:
        checker.fault("E106", "'net' has no stages", at, "add  stem: {block: conv, dim: 64}")
    for name, node in net.entries.items():
        place = net.keys[name]
        if "." in name or name in RESERVED_STAGES:
            fact = f"a stage cannot be called '{name}'"
            why = "torch modules and Python use this word themselves"
            help_ = f"write  {name}_"
            if "." in name:
                why, help_ = "dots belong to paths", f"write  {name.replace('.', '_')}"
            checker.fault("E108", fact, place, help_, label=why)
        if not isinstance(node, Section):
            help_ = f"write  {name}: {{block: {_word(checker, node)}}}"
            fact = f"stage '{name}' must be a map of settings"
            checker.fault("E201", fact, node.place, help_)
        elif stage := _stage(checker, name, node, place):
            yield stage


def _word(checker: Checker, node: Node) -> str:
    value = node.value if isinstance(node, Scalar) else None
    word = value.partition("(")[0].strip() if isinstance(value, str) else ""  # conv(64, 3)
    return word if word in checker.blocks else "conv, dim: 64"


def _stage(checker: Checker, name: str, node: Section, place: Place) -> StagePlan | None:
    if "block" not in node.entries:
        near = next((key for key in node.entries if nearest(key, ["block"])), None)
        fact = f"stage '{name}' has no 'block'"
        help_ = f"write 'block' for '{near}'" if near else "add  block: NAME  to its settings"
        at = node.keys[near] if near else place
        twin = nearest(name, [each for each in checker.stages if each != name])
        also = [f"or did you mean stage '{twin}'?"] if twin and not near else []
        checker.fault("E103", fact, at, help_, *also, note=f"blocks: {', '.join(checker.blocks)}")
        return None
    kind = checker.setting(node.entries["block"], NODE["block"], f"'block' of stage '{name}'")
    if kind is None or not isinstance(kind.value, str | Expression):
        return None
    block = _block(checker, kind.value, kind.place) if isinstance(kind.value, str) else None
    if block is None and isinstance(kind.value, str):
        return None
    written = list(_settings(checker, node, block))
    settings = {key: setting for key, index, setting in written if index is None}
    single: dict[str, dict[int, Setting]] = {}
    for key, index, setting in written:
        if index is not None:
            single.setdefault(key, {})[index] = setting
    inputs, ports = _from(checker, node.entries["from"]) if "from" in node.entries else (None, None)
    plan = StagePlan(
        name=name,
        place=place,
        block=kind,
        depth=settings.pop("depth", None),
        when=settings.pop("when", None),
        inputs=inputs,
        settings=settings,
        single=single,
        ports=ports,
    )
    if block and ports and len(inputs or ()) == len(ports):
        try:
            by_port(plan, block, tuple(read for read, _ in inputs or ()))
        except SpecError as error:
            checker.faults += error.faults
    return plan


def _settings(
    checker: Checker, node: Section, block: Block | None
) -> Iterator[tuple[str, int | None, Setting]]:
    """Yields the settings of a stage by name, and by repetition if one is named."""
    rules = fields_of(block)
    for name, value in node.entries.items():
        key, index = single_of(name)
        if index is not None and not _may_differ(checker, block, key, index, node.keys[name]):
            continue
        if key in ("block", "from"):
            continue
        if block and key not in rules:
            _no_setting(checker, block, key, node.keys[name])
        else:
            what = f"'{key}' of block '{block.name}'" if block else f"'{key}'"
            if setting := checker.setting(value, rules.get(key, VALUE), what):
                yield key, index, setting


def _may_differ(checker: Checker, block: Block | None, key: str, index: int, place: Place) -> bool:
    """Checks that a setting can have a value of its own in one repetition."""
    field = block.fields.get(key) if block else None
    if key in NODE:
        why = "belongs to the whole stage, not to one of its repetitions"
    elif block and field and index and (field.first or key not in block.own):
        why = f"of block '{block.name}' counts in the first repetition only"
    else:
        return True
    help_ = "leave out the number in brackets" if key in NODE else "write [0], or leave it out"
    checker.fault("E111", f"'{key}' {why}", place, help_)
    return False


def _from(
    checker: Checker, node: Node
) -> tuple[tuple[tuple[str, Place], ...], tuple[tuple[str, Place], ...] | None]:
    """Returns the stages that `from` names, and the ports they are for if it is a map."""
    items = node.items if isinstance(node, Items) else (node,)
    ports = None
    if isinstance(node, Section):
        items = tuple(node.entries.values())
        ports = tuple(node.keys.items())
    found = []
    for item in items:
        if isinstance(item, Scalar) and isinstance(item.value, str):
            found.append((item.value, item.place))
        else:
            fact = "'from' names a stage, a list of stages, or a stage for each port"
            help_ = "write  from: stem,  from: [a, b]  or  from: {main: a, skip: b}"
            if isinstance(item, Scalar) and isinstance(item.value, int):
                fact = "'from' names stages by their id, not by a number"
                help_ = "write ids, as in  from: [a, b]; without 'from' a stage reads the one above"
            checker.fault("E201", fact, item.place, help_)
            break
    if not items:
        checker.fault("E201", "'from' names no stage", node.place, "delete it, or name a stage")
    return tuple(found), ports


def read_ends(checker: Checker, key: str, node: Node) -> Ends:
    """Returns the stages that `output` or `features` names."""
    items = node.items if isinstance(node, Items) else (node,)
    found = []
    for item in items:
        if isinstance(item, Scalar) and isinstance(item.value, str):
            found.append((item.value, item.place))
        else:
            help_ = f"write  {TOP[key].example}"
            checker.fault("E201", f"'{key}' names stages by their id", item.place, help_)
    return tuple(found)


def check_reads(
    checker: Checker,
    stages: Sequence[StagePlan],
    sources: Sequence[str],
    outputs: Sequence[tuple[str, Place]] = (),
) -> None:
    """Checks that whatever is read is there: `from` of every stage, and the outputs."""
    known = [*sources, *(stage.name for stage in stages)]
    reads = [(read, "to take input from") for stage in stages for read in stage.inputs or ()]
    for (name, place), why in [*reads, *((read, "to be an output") for read in outputs)]:
        if name.partition(".")[0] not in known:
            near = nearest(name.removeprefix("net."), known)
            helps = (f"did you mean '{near}'?",) if near else ()
            parts = [part.strip() for part in name.split(",")]
            if len(parts) > 1 and set(parts) <= set(known):
                helps = (f"write  from: [{', '.join(parts)}]",)
            if name.partition("[")[0] in known:
                helps = ("one repetition cannot be read: give it a stage of its own",)
            if name in checker.stages and name not in known:
                ports = f"ports: [{sources[-1]}, {name}]"
                helps = (f"a block sees its own stages only: add a port, as in  {ports}",)
            fact = f"there is no stage called '{name}' {why}"
            checker.fault("E104", fact, place, *helps, note=f"stages: {', '.join(known)}")


def read_defaults(checker: Checker, section: Section) -> Iterator[tuple[str, Setting]]:
    """Yields the settings under `defaults` by dotted path."""
    for name, node in section.entries.items():
        place, path = section.keys[name], f"defaults.{name}"
        if isinstance(node, Section):
            if block := _block(checker, name, place):
                yield from _block_defaults(checker, block, node, path)
        elif any(_shares(block, name) for block in checker.blocks.values()):
            if setting := checker.setting(node, VALUE, f"'{name}' of 'defaults'"):
                yield path, setting
        elif name in checker.blocks:
            fact = f"the defaults of block '{name}' are a map"
            checker.fault("E201", fact, node.place, f"write  {name}: {{setting: value}}")
        else:
            blocks = checker.blocks.values()
            shared = {key for block in blocks for key in block.fields if _shares(block, key)}
            near = nearest(name, {**dict.fromkeys(shared), **checker.blocks})
            helps = (f"did you mean '{near}'?",) if near else ()
            fact = f"no block has a setting '{name}' that all blocks may share"
            checker.fault("E102", fact, place, *helps, label="unknown setting")


def _shares(block: Block, name: str) -> bool:
    return name in block.fields and not block.fields[name].local


def _block_defaults(
    checker: Checker, block: Block, section: Section, path: str
) -> Iterator[tuple[str, Setting]]:
    for name, node in section.entries.items():
        field = block.fields.get(name)
        if field is None:
            _no_setting(checker, block, name, section.keys[name])
        elif setting := checker.setting(node, field, f"'{name}' of block '{block.name}'"):
            yield f"{path}.{name}", setting


def _block(checker: Checker, name: str, place: Place) -> Block | None:
    if name not in checker.blocks:
        near = nearest(name.rpartition(".")[2], checker.blocks)  # of nn.Conv2d its last part
        helps = (f"did you mean '{near}'?",) if near else ()
        if name in presets():
            helps = (f"it is a whole network: write  extends: std/{name}  at the top",)
        if name in checker.stages:
            helps = (f"'{name}' is a stage: defaults are for blocks, write it in net.{name}",)
        note = "" if near else f"blocks: {', '.join(checker.blocks)}"
        if checker.unread:
            return None  # it may be one of those
        if checker.unrun:
            note = f"the blocks of {', '.join(checker.unrun)} are unknown: no code was run"
        fact = f"there is no block called '{name}'"
        checker.fault("E101", fact, place, *helps, label="unknown block", note=note)
    return checker.blocks.get(name)


def _no_setting(checker: Checker, block: Block, name: str, place: Place) -> None:
    if (block.name, name) in checker.undeclared:
        return
    near = nearest(name, {**NODE, **block.fields})
    helps = (f"did you mean '{near}'?",) if near else ()
    if name.startswith("x_"):
        helps = ("write a comment, as in  # to remember, or x_notes at the top level",)
    elif not near and (place_of_it := ELSEWHERE.get(name)):
        helps = (place_of_it,)
    note = f"settings of {block.name}: {', '.join(block.fields) or 'none'}"
    fact = f"block '{block.name}' has no setting '{name}'"
    checker.fault("E102", fact, place, *helps, label="unknown setting", note=note)
