"""From blocks to a network graph: pieces, stages, and the converters between them.

A stage is *entry, then depth x block*. Its blocks are named 0, 1, ... and its entry layers by the
name they are traced under, so a change of depth renames nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

from flopwise.blocks.graph import Graph, Type, describe
from flopwise.blocks.layers import to_map, to_tokens
from flopwise.blocks.signature import Block, Made
from flopwise.blocks.tensor import Tensor, Trace, symbol
from flopwise.errors import BlockError

__all__ = [
    "add_stage",
    "call_stage",
    "chosen",
    "conversions",
    "converted",
    "enter",
    "piece",
    "repetition",
    "trace_block",
    "trace_repetition",
]

R = TypeVar("R", bound=Tensor)
Settings = tuple[tuple[str, Any], ...]

MEMO = 4096
"""How many traced graphs are kept: repeats inside a net and across candidates are shared."""


def piece(function: Callable[..., R]) -> Callable[..., R]:
    """Lets a function over tensors be called with `name=`: it then becomes a sub-module.

    Without a name its layers are inlined into the caller's graph.
    """

    @wraps(function)
    def call(*inputs: Tensor, name: str = "", **settings: Any) -> R:
        if not name:
            return function(*inputs, **settings)
        graph = _trace(function, _types(inputs), tuple(settings.items()), "", False)
        return cast(R, _call(inputs[0].trace, name, "block", graph, inputs)[0])

    return call


def trace_block(block: Block, types: Sequence[Type], settings: Mapping[str, Any]) -> Graph:
    """Returns the graph of one block on inputs of the given types; `settings` may be partial."""
    own = chosen(block, settings)
    return _trace(block.function, tuple(types), own, block.init, block.head, block.name)


def chosen(block: Block, settings: Mapping[str, Any]) -> Settings:
    """Returns what of some settings the function of a block takes."""
    own = tuple((k, settings[k]) for k in block.fields if k in settings and k in block.own)
    around = {"i": 0, "n": 1, **settings}
    return own + tuple((key, around[key]) for key in block.scope)


def add_stage(
    trace: Trace,
    name: str,
    block: Block,
    inputs: Sequence[Tensor],
    settings: Sequence[Mapping[str, Any]],
) -> Tensor:
    """Appends a stage to a network's graph and returns its output, or the first of several."""
    return call_stage(trace, name, block, inputs, settings)[0]


def call_stage(
    trace: Trace,
    name: str,
    block: Block,
    inputs: Sequence[Tensor],
    settings: Sequence[Mapping[str, Any]],
) -> tuple[Tensor, ...]:
    """Appends a stage to a network's graph and returns all its outputs.

    Args:
        trace: The network under construction.
        name: The stage's id; it becomes the attribute of the model.
        block: What the stage repeats.
        inputs: One tensor per port, or any number for a variadic block.
        settings: One complete mapping per repetition; values of first-only settings and of the
            entry's settings count in the first one only.

    Raises:
        BlockError: if a port gets the wrong kind of tensor, or a layer does not fit.
    """
    fitted = converted(block, inputs, name)
    if block.once:
        graph = trace_block(block, _types(fitted), settings[0])
        return _call(trace, name, "block", graph, fitted)
    if len(settings) > 1 and (len(fitted) > 1 or block.outputs):
        raise BlockError(
            "E316",
            f"block '{block.name}' has several inputs or outputs, so it cannot be repeated",
            setting="depth",
            helps=("write one stage per repetition, each with its own 'from'",),
        )
    frozen = tuple(tuple(each.items()) for each in settings)
    graph = _trace_stage(block, _types(fitted), frozen)
    return _call(trace, name, "stage", graph, fitted)


@lru_cache(maxsize=MEMO)
def _trace_stage(block: Block, types: tuple[Type, ...], settings: tuple[Settings, ...]) -> Graph:
    trace = Trace()
    x: Sequence[Tensor] = [trace.input(kind) for kind in types]
    x = enter(block, x, dict(settings[0]))
    for repetition, frozen in enumerate(settings):
        values = {"i": repetition, "n": len(settings), **dict(frozen)}
        graph = trace_repetition(block, _types(x), values)
        x = _call(trace, str(repetition), "block", graph, x)
    return trace.close(*x, title=block.name, doc=block.doc, init=block.init)


def trace_repetition(block: Block, types: Sequence[Type], settings: Mapping[str, Any]) -> Graph:
    """Returns the graph of one repetition; `settings` has its number `i` and how many, `n`."""
    return trace_block(block, types, repetition(block, settings))


def repetition(block: Block, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the settings that count in a repetition: after the first, some are defaults."""
    values = dict(settings)
    if values["i"]:
        first = (key for key, field in block.fields.items() if field.first)
        values |= {key: block.fields[key].default for key in first}
    return values


def converted(block: Block, inputs: Sequence[Tensor], name: str) -> list[Tensor]:
    """Returns what a stage makes of its inputs before its block sees them.

    Raises:
        BlockError: A port gets the wrong kind of tensor (E307).
    """
    ways = conversions(block, _types(inputs), name)
    fitted = [_converted(x, way) for way, x in zip(ways, inputs, strict=True)]
    # others read an absent value as zeros
    return fitted if block.absent else [_marked(x, absent=False) for x in fitted]


def enter(block: Block, inputs: Sequence[Tensor], settings: Mapping[str, Any]) -> Sequence[Tensor]:
    """Traces the entry under its own name; an entry that does nothing leaves no layer."""
    if block.entry is None:
        return inputs
    wanted = inspect.signature(block.entry).parameters
    chosen = tuple((key, value) for key, value in settings.items() if key in wanted)
    graph = _trace(block.entry, _types(inputs), chosen, block.init, False)
    if not graph.layers:
        return inputs
    return _call(inputs[0].trace, block.entry.__name__, "block", graph, inputs)


@lru_cache(maxsize=MEMO)
def _trace(
    function: Callable[..., Made],
    types: tuple[Type, ...],
    settings: Settings,
    init: str,
    head: bool,
    title: str = "",
) -> Graph:
    trace = Trace()
    made = function(*(trace.input(kind) for kind in types), **dict(settings))
    outputs = made if isinstance(made, tuple) else (made,)
    if not all(isinstance(output, Tensor) for output in outputs):
        fact = f"block '{title or function.__name__}' returns {type(made).__name__}, not a tensor"
        raise BlockError("E116", fact, helps=("end the function with  return x",))
    doc = inspect.getdoc(function) or ""
    return trace.close(
        *outputs, title=title or function.__name__.strip("_"), doc=doc, init=init, head=head
    )


def _call(
    trace: Trace, name: str, kind: str, graph: Graph, inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    return trace.append(
        kind,
        inputs,
        [graph.types[index] for index in graph.outputs],
        name=name,
        macs=graph.macs,
        activations=graph.activations,
        graph=graph,
    )


def _types(tensors: Sequence[Tensor]) -> tuple[Type, ...]:
    return tuple(tensor.type for tensor in tensors)


def _converted(x: Tensor, way: str) -> Tensor:
    return CONVERTERS[way](x) if way else x


def _marked(x: Tensor, *, absent: bool) -> Tensor:
    """Returns the same value, absent or not."""
    same = x.type.absent is absent
    return x if same else symbol(replace(x.type, absent=absent), x.trace, x.index)


def conversions(block: Block, types: Sequence[Type], name: str) -> tuple[str, ...]:
    """Names the loss-free converter that each input of a stage needs, empty for none.

    A block that joins any number of inputs makes all of them what the first is.

    Raises:
        BlockError: An input is of a kind that no converter makes right (E307).
    """
    takes = [block.takes[min(port, len(block.takes) - 1)] for port in range(len(types))]
    if block.variadic:
        takes = [tuple(t for t in takes[0] if t.kind == types[0].kind) or takes[0]] * len(types)
    return tuple(
        _conversion(block, kinds, type, name) for kinds, type in zip(takes, types, strict=True)
    )


def _conversion(block: Block, takes: tuple[type[Tensor], ...], found: Type, name: str) -> str:
    kinds = [kind.kind for kind in takes]
    if found.kind in kinds:
        return ""
    if "tokens" in kinds and found.kind == "map":
        return "to_tokens"
    if "map" in kinds and found.kind == "tokens" and found.grid and not found.extra:
        return "to_map"
    wanted = " or ".join({"map": "a map", "vec": "a vector"}.get(kind, kind) for kind in kinds)
    helps = ["insert  {block: to_map}  before it"] if found.grid and "map" in kinds else []
    if found.kind == "vec":
        helps = [
            f"a vector has no positions left: put '{name}' above the stage that pools "
            "(where it is added to a parent, with  before: STAGE)"
        ]
    if found.extra and helps:
        helps = ["insert  {block: to_map, drop: cls}  to throw the class token away"]
    raise BlockError(
        "E307", f"'{name}' gets {describe(found)}, but '{block.name}' needs {wanted}", helps=helps
    )


CONVERTERS: dict[str, Callable[[Any], Tensor]] = {"to_tokens": to_tokens, "to_map": to_map}
