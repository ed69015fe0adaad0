"""From blocks to a network graph: pieces, stages, and the converters between them.

A stage is *entry, then depth x block*. Its blocks are named 0, 1, ... and its entry layers by the
name they are traced under, so a change of depth renames nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

from flopwise.blocks.graph import Graph, Type, describe
from flopwise.blocks.layers import to_map, to_tokens
from flopwise.blocks.signature import REPETITION, Block
from flopwise.blocks.tensor import Map, Tensor, Tokens, Trace
from flopwise.errors import BlockError

__all__ = ["add_stage", "piece", "trace_block"]

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
        return cast(R, _call(inputs[0].trace, name, "block", graph, inputs))

    return call


def trace_block(
    block: Block, types: Sequence[Type], settings: Mapping[str, Any], repetition: int = 0
) -> Graph:
    """Returns the graph of one block on inputs of the given types; `settings` may be partial."""
    chosen = tuple((key, settings[key]) for key in block.fields if key in settings)
    own = tuple((key, value) for key, value in chosen if key in block.own)
    own += ((REPETITION, repetition),) if block.counted else ()
    return _trace(block.function, tuple(types), own, block.init, block.head, block.name)


def add_stage(
    trace: Trace,
    name: str,
    block: Block,
    inputs: Sequence[Tensor],
    settings: Sequence[Mapping[str, Any]],
) -> Tensor:
    """Appends a stage to a network's graph and returns its output.

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
    fitted = [_fit(x, block, port, name) for port, x in enumerate(inputs)]
    if block.once:
        graph = trace_block(block, _types(fitted), settings[0])
        return _call(trace, name, "block", graph, fitted)
    frozen = tuple(tuple(each.items()) for each in settings)
    graph = _trace_stage(block, _types(fitted), frozen)
    return _call(trace, name, "stage", graph, fitted)


@lru_cache(maxsize=MEMO)
def _trace_stage(block: Block, types: tuple[Type, ...], settings: tuple[Settings, ...]) -> Graph:
    trace = Trace()
    x = _enter(block, [trace.input(kind) for kind in types], dict(settings[0]))
    for repetition, frozen in enumerate(settings):
        values = dict(frozen)
        if repetition:
            first = (key for key, field in block.fields.items() if field.first)
            values |= {key: block.fields[key].default for key in first}
        graph = trace_block(block, _types(x), values, repetition)
        x = [_call(trace, str(repetition), "block", graph, x)]
    return trace.close(x[0], title=block.name, doc=block.doc, init=block.init)


def _enter(block: Block, inputs: list[Tensor], settings: Mapping[str, Any]) -> list[Tensor]:
    """Traces the entry under its own name; an entry that does nothing leaves no layer."""
    if block.entry is None:
        return inputs
    wanted = inspect.signature(block.entry).parameters
    chosen = tuple((key, value) for key, value in settings.items() if key in wanted)
    graph = _trace(block.entry, _types(inputs), chosen, block.init, False)
    if not graph.layers:
        return inputs
    return [_call(inputs[0].trace, block.entry.__name__, "block", graph, inputs)]


@lru_cache(maxsize=MEMO)
def _trace(
    function: Callable[..., Tensor],
    types: tuple[Type, ...],
    settings: Settings,
    init: str,
    head: bool,
    title: str = "",
) -> Graph:
    trace = Trace()
    output = function(*(trace.input(kind) for kind in types), **dict(settings))
    doc = inspect.getdoc(function) or ""
    return trace.close(
        output, title=title or function.__name__.strip("_"), doc=doc, init=init, head=head
    )


def _call(trace: Trace, name: str, kind: str, graph: Graph, inputs: Sequence[Tensor]) -> Tensor:
    (output,) = trace.append(
        kind,
        inputs,
        [graph.types[index] for index in graph.outputs],
        name=name,
        macs=graph.macs,
        activations=graph.activations,
        graph=graph,
    )
    return output


def _types(tensors: Sequence[Tensor]) -> tuple[Type, ...]:
    return tuple(tensor.type for tensor in tensors)


def _fit(x: Tensor, block: Block, port: int, name: str) -> Tensor:
    """Inserts the loss-free converter an input needs, or says why there is none."""
    takes = block.takes[min(port, len(block.takes) - 1)]
    if isinstance(x, takes):
        return x
    if Tokens in takes and isinstance(x, Map):
        return to_tokens(x)
    if Map in takes and isinstance(x, Tokens) and x.grid is not None and not x.extra:
        return to_map(x)
    wanted = " or ".join({"map": "a map", "vec": "a vector"}.get(t.kind, t.kind) for t in takes)
    helps = ["insert  {block: to_map}  before it"] if isinstance(x, Tokens) and Map in takes else []
    if isinstance(x, Tokens) and x.extra and helps:
        helps = ["insert  {block: to_map, drop: cls}  to throw the class token away"]
    raise BlockError(
        "E307", f"'{name}' gets {describe(x.type)}, but '{block.name}' needs {wanted}", helps=helps
    )
