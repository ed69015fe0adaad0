"""The `blocks` section: composite blocks as they are written, checked as far as text allows.

A composite block is a small network with typed parameters. Everything wrong with any of them is
told at once; what only shows in numbers is told when a stage uses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from flopwise.blocks import Block, Map, Tensor, Tokens, Vec
from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Expression
from flopwise.dsl.params import read_params
from flopwise.dsl.plan import Definition, Setting, StagePlan
from flopwise.dsl.stages import check_reads, read_stages
from flopwise.dsl.tables import COMPOSITE, RESERVED_STAGES, RESERVED_VARIABLES
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.wire import Wiring, wire
from flopwise.errors import Fault, Place, SpecError

__all__ = ["read_definitions"]

FACTS = ("channels", "size", "height", "width", "tokens")
"""What expressions inside may ask of an input, as in `input.channels`."""
MAX_NESTING = 32
TYPES = {bool: "bool", float: "float", str: "text", tuple: '"list[int]"'}
"""The type of a parameter that takes a variable's value; int for all others."""
KINDS: Mapping[str, tuple[type[Tensor], ...]] = {
    "map": (Map,),
    "tokens": (Tokens,),
    "vec": (Vec,),
    "same": (Map, Tokens, Vec),
}


@dataclass(frozen=True, slots=True)
class _Head:
    """What a stage sees of a composite block, and the rest of it, still to be read."""

    block: Block
    place: Place
    node: Section


def read_definitions(
    checker: Checker, section: Section, variables: Mapping[str, Setting]
) -> tuple[Definition, ...]:
    """Returns the composite blocks of a spec, each after those it is made of.

    Their names join the checker's vocabulary.

    Args:
        checker: Where faults go.
        section: The `blocks` section.
        variables: The file's scope, which is closed inside.
    """
    heads: dict[str, _Head] = {}
    for name, node in section.entries.items():
        before = len(checker.faults)
        head = _head(checker, name, node, section.keys[name])
        if head and len(checker.faults) == before:
            heads[name] = head
        else:  # whoever uses it has nothing to answer for
            checker.unread = True
    checker.blocks = {**checker.blocks, **{name: head.block for name, head in heads.items()}}
    found = {name: _body(checker, head, variables) for name, head in heads.items()}
    whole = {name: each for name, each in found.items() if each}
    return tuple(_ordered(checker, whole)) if len(whole) == len(section.entries) else ()


def _no_function(*inputs: Tensor) -> Tensor:
    raise AssertionError("only a block that was put together is traced")


def _stage_outside(node: Section) -> Place | None:
    """Returns where the first stage of a block without `net` stands, if there is one."""
    for key, inner in node.entries.items() if "net" not in node.entries else ():
        if key not in COMPOSITE and isinstance(inner, Section) and "block" in inner.entries:
            return node.keys[key]
    return None


def _head(checker: Checker, name: str, node: Node, place: Place) -> _Head | None:
    what = f"block '{name}'"
    if "." in name or not name.isidentifier():
        fact = f"a block cannot be called '{name}'"
        checker.fault("E108", fact, place, "write a name without a dot")
        return None
    if name in checker.blocks:
        fact = f"there is a block called '{name}' already"
        help_ = f"choose another name, such as my_{name}"
        checker.fault("E112", fact, place, help_, label="would hide the other")
        checker.blocks = {key: each for key, each in checker.blocks.items() if key != name}
        return None
    if not isinstance(node, Section):
        checker.fault("E201", f"{what} must be a map", node.place, "write  net:  below it")
        return None
    if place_of_stage := _stage_outside(node):
        fact = f"the stages of {what} stand directly below its name"
        checker.fault("E106", fact, place_of_stage, f"put them below  net:  in '{name}'")
        return None
    checker.keys(node, COMPOSITE, what, place)
    for key in ("params", "net"):
        if key in node.entries:
            checker.shape(node.entries[key], COMPOSITE[key])
    takes = _kind(checker, node, "kind", what)
    ports = _ports(checker, node.entries.get("ports"), takes)
    params = node.entries.get("params")
    fields = dict(read_params(checker, params, name, ports) if isinstance(params, Section) else ())
    doc, outputs = node.entries.get("doc"), node.entries.get("output")
    block = Block(
        name=name,
        function=_no_function,
        entry=None,
        fields=fields,
        own=frozenset(fields),
        ports=tuple(ports),
        takes=tuple(ports.values()),
        once=False,
        init="torch",
        head=False,
        doc=str(doc.value) if isinstance(doc, Scalar) else "",
        outputs=tuple(outputs.entries) if isinstance(outputs, Section) else (),
        absent=True,
    )
    return _Head(block, place, node)


def _kind(checker: Checker, node: Section, key: str, what: str) -> tuple[type[Tensor], ...]:
    """Returns what a port takes, as a word says."""
    if key not in node.entries:
        return KINDS["same"]
    word = checker.literal(node.entries[key], COMPOSITE["kind"], f"'{key}' of {what}")
    return KINDS.get(str(word), KINDS["same"])


def _ports(
    checker: Checker, node: Node | None, takes: tuple[type[Tensor], ...]
) -> dict[str, tuple[type[Tensor], ...]]:
    """Returns the ports with what each takes."""
    help_ = "write  ports: [main, skip]  or  ports: {main: map, skip: tokens}"
    if node is None:
        return {"input": takes}
    if isinstance(node, Section) and node.entries:
        names = [(name, node.keys[name]) for name in node.entries]
        kinds = [_kind(checker, node, name, "'ports'") for name in node.entries]
    elif isinstance(node, Items) and node.items:
        texts = [each for each in node.items if isinstance(each, Scalar)]
        names = [(str(each.value), each.place) for each in texts]
        kinds = [takes] * len(names)
        if len(names) < len(node.items):
            names = []
    else:
        names = []
    if not names:
        checker.fault("E201", "'ports' is a list of names", node.place, help_)
        return {"input": takes}
    for at, (name, place) in enumerate(names):
        if name in [earlier for earlier, _ in names[:at]]:
            checker.fault("E003", f"port '{name}' is named twice", place, "rename one of them")
        elif not name.isidentifier() or (name in RESERVED_VARIABLES and name != "input"):
            fact = f"a port cannot be called '{name}'"
            checker.fault("E108", fact, place, "choose another name")
    return {name: kind for (name, _), kind in zip(names, kinds, strict=True)}


def _body(checker: Checker, head: _Head, variables: Mapping[str, Setting]) -> Definition | None:
    """Returns a definition once its stages, names and wiring are in order."""
    before = len(checker.faults)
    net = head.node.entries.get("net")
    if not isinstance(net, Section):
        return None
    stages = tuple(read_stages(checker, net, head.node.keys["net"]))
    stages = tuple(_with_first_port(stage, head.block) for stage in stages)
    outputs = tuple(_outputs(checker, head.node.entries.get("output")))
    _check_clashes(checker, head.block, stages)
    check_reads(checker, stages, head.block.ports, outputs)
    _check_scope(checker, head.block, stages, variables)
    if len(checker.faults) > before or len(stages) < len(net.entries):
        return None  # a stage is missing where its block is one that cannot be read
    try:
        wiring = wire(stages, sources=head.block.ports, outputs=outputs)
    except SpecError as error:
        checker.faults += [_of_block(fault, head.block.name) for fault in error.faults]
        return None
    _check_use(checker, head, stages, wiring)
    return Definition(
        block=head.block,
        place=head.place,
        stages=stages,
        outputs=outputs,
        text=json.dumps([head.block.name, _plain(head.node)]),
        uses=frozenset(_uses(checker, head.block, stages)),
    )


def _outputs(checker: Checker, node: Node | None) -> Iterator[tuple[str, Place]]:
    """Yields what the outputs read."""
    if node is None:
        return
    items = tuple(node.entries.values()) if isinstance(node, Section) else (node,)
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, Scalar) or not isinstance(item.value, str):
            help_ = "write  output: body  or  output: {map: body, mask: gate}"
            checker.fault("E201", "'output' names a stage", item.place, help_)
        elif item.value in seen:
            help_ = (
                f"give the second one a stage of its own, {{block: identity, from: {item.value}}}"
            )
            checker.fault("E201", f"'{item.value}' is an output twice", item.place, help_)
        else:
            seen.add(item.value)
            yield item.value, item.place
    if not items:
        checker.fault("E201", "'output' names no stage", node.place, "delete it")


def _with_first_port(stage: StagePlan, block: Block) -> StagePlan:
    """Returns a stage that reads the first port by its name where it says `input`."""
    first = block.ports[0]
    if "input" in block.ports or not stage.inputs:
        return stage
    reads = ((first if read == "input" else read, place) for read, place in stage.inputs)
    return replace(stage, inputs=tuple(reads))


def _check_clashes(checker: Checker, block: Block, stages: Sequence[StagePlan]) -> None:
    for stage in stages:
        if stage.name in block.ports and stage.name not in RESERVED_STAGES:
            fact = f"stage '{stage.name}' of block '{block.name}' has the name of a port"
            checker.fault("E108", fact, stage.place, "rename the stage or the port")


def _check_scope(
    checker: Checker, block: Block, stages: Sequence[StagePlan], variables: Mapping[str, Setting]
) -> None:
    """Checks that expressions inside name only what a composite block sees."""
    ports = dict.fromkeys(("input", *block.ports))
    known = [*block.fields, "i", "n", *(f"{port}.{fact}" for port in ports for fact in FACTS)]
    for stage in stages:
        for setting in stage.all:
            if not isinstance(setting.value, Expression):
                continue
            names = setting.value.names - set(known)
            checker.undeclared |= {(block.name, name) for name in names}
            for fault in setting.value.unknown(known):
                checker.faults.append(_closed(fault, block.name, variables))


def _closed(fault: Fault, block: str, variables: Mapping[str, Setting]) -> Fault:
    """Adds to an unknown name that a composite block does not see the file's variables."""
    note = f"block '{block}' sees its params, i, n and facts of its input, not the file's variables"
    name = fault.message.split("'")[1]
    if name not in variables:
        helps = fault.helps
        if len(helps) == 1 and name.isidentifier():
            helps = (f"add  {name}: int  to the params of '{block}'", *helps)
        return replace(fault, helps=helps, notes=(*fault.notes, note))
    kind = TYPES.get(type(variables[name].value), "int")
    help_ = f"add  {name}: {kind}  to the params of '{block}', and  {name}: ${name}  to its stages"
    return replace(fault, helps=(help_, *fault.helps[-1:]), notes=(*fault.notes, note))


def _check_use(checker: Checker, head: _Head, stages: Sequence[StagePlan], wiring: Wiring) -> None:
    """Warns of parameters, and refuses ports, that nothing inside uses."""
    named = {name for stage in stages for setting in stage.all for name in setting.names}
    params = head.node.entries.get("params")
    block = head.block
    for name in block.fields:
        if name not in named and isinstance(params, Section):
            fact = f"parameter '{name}' of block '{block.name}' is never used"
            help_ = f"write ${name} where it is meant, or delete it"
            checker.fault("W401", fact, params.keys[name], help_)
    read = {name for reads in wiring.inputs.values() for name in reads} | set(wiring.ends)
    for port in block.ports:
        if port not in read:
            fact = f"port '{port}' of block '{block.name}' is never used"
            help_ = f"read it in a stage, as in  from: {port}, or delete it"
            checker.fault("E306", fact, head.place, help_)


def _of_block(fault: Fault, name: str) -> Fault:
    """Returns what is told of a network's wiring as what it is of a block's."""
    notes = tuple(note.replace("of the network", f"of block '{name}'") for note in fault.notes)
    helps = tuple(
        help_.replace("list it under 'features'", "name it in 'output'") for help_ in fault.helps
    )
    return replace(fault, notes=notes, helps=helps)


def _uses(checker: Checker, block: Block, stages: Sequence[StagePlan]) -> Iterator[str]:
    """Yields the blocks that the stages may be; an expression may choose among words it knows."""
    for stage in stages:
        word = stage.block.value
        if not isinstance(word, Expression):
            yield str(word)
            continue
        choices = [block.fields[name].choices for name in word.names if name in block.fields]
        words = [each for few in choices for each in few if each in checker.blocks]
        yield from words or (name for name in checker.blocks if name != block.name)


def _ordered(checker: Checker, found: Mapping[str, Definition]) -> Iterator[Definition]:
    """Yields definitions so that each is made of earlier ones only."""
    waiting = dict(found)
    level = 0
    while waiting:
        ready = [name for name, each in waiting.items() if not each.uses & waiting.keys()]
        if not ready:
            _circle(checker, waiting)
            return
        level += 1
        if level > MAX_NESTING:
            fact = f"blocks are nested deeper than {MAX_NESTING} levels"
            checker.fault("E005", fact, waiting[ready[0]].place, label="reached here")
            return
        yield from (waiting.pop(name) for name in ready)


def _circle(checker: Checker, waiting: Mapping[str, Definition]) -> None:
    """Names one circle among blocks that all contain another."""
    walk = [next(iter(waiting))]
    while walk[-1] not in walk[:-1]:
        walk.append(min(waiting[walk[-1]].uses & waiting.keys()))
    circle = walk[walk.index(walk[-1]) :]
    first, *others = (waiting[name] for name in circle[:-1])
    fact = f"a block contains itself: {' -> '.join(circle)}"
    also = tuple((each.place, "and this one") for each in others)
    help_ = "repeat a block with  depth  instead; a block cannot grow out of itself"
    told = Fault(code="E113", message=fact, place=first.place, also=also, helps=(help_,))
    checker.faults.append(told)


def _plain(node: Node) -> object:
    """Returns a node as plain data, in the order it is written."""
    if isinstance(node, Section):
        return [[name, _plain(each)] for name, each in node.entries.items()]
    return (
        {"list": [_plain(each) for each in node.items]} if isinstance(node, Items) else node.value
    )
