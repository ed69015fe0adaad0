"""Layer kinds for tensors of every form: linear, activation, learned table, dropout, concat."""

from __future__ import annotations

from math import prod
from typing import Literal, TypeVar, cast

from flopwise.blocks.graph import Parameter, Type
from flopwise.blocks.tensor import Map, Tensor
from flopwise.errors import BlockError

__all__ = [
    "Act",
    "act",
    "concat",
    "drop_path",
    "dropout",
    "fixed",
    "gamma_act",
    "like",
    "linear",
    "parameter",
    "times",
]

Act = Literal[
    "relu",
    "relu6",
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "silu",
    "hardswish",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "none",
]
Any_ = TypeVar("Any_", bound=Tensor)


def linear(x: Any_, dim: int, *, name: str, bias: bool = True, init: str = "") -> Any_:
    """Matrix product with the last axis. MACs = positions * channels * dim."""
    positions = prod(x.shape[:-1])
    parameters = [Parameter("weight", (dim, x.channels), decay=True)]
    if bias:
        parameters.append(Parameter("bias", (dim,)))
    (y,) = x.trace.append(
        "linear",
        [x],
        [like(x, (*x.shape[:-1], dim))],
        name=name,
        parameters=parameters,
        macs=positions * x.channels * dim,
        activations=positions * dim,
        init=init,
        channels=x.channels,
        dim=dim,
        bias=bias,
    )
    return cast(Any_, y)


def act(x: Any_, function: str, *, name: str = "") -> Any_:
    """An activation function; `none` is the identity. With a name it counts in a numbered chain."""
    if function == "none":
        return x
    kind = "activation" if name else "act"
    return cast(Any_, x.trace.append(kind, [x], [x.type], name=name, function=function)[0])


def gamma_act(x: Any_, function: str, *, gamma: float) -> Any_:
    """An activation function times a constant that brings its variance back to 1 (NFNet)."""
    return cast(Any_, x.trace.append("gamma_act", [x], [x.type], function=function, gamma=gamma)[0])


def times(x: Any_, value: float, *, name: str) -> Any_:
    """Multiplication by a constant, which the block keeps under a name."""
    return cast(Any_, x.trace.append("times", [x], [x.type], name=name, value=value)[0])


def parameter(
    near: Tensor, shape: tuple[int, ...], *, name: str, init: float | str, decay: bool = False
) -> Tensor:
    """A learned table in the graph of `near`: class token, position table, scale.

    `init` is a constant or the name of a rule; it enters neither cost nor hash.
    """
    (y,) = near.trace.append(
        "parameter",
        [],
        [Type("table", shape)],
        name=name,
        parameters=[Parameter(name, shape, decay=decay)],
        init=init,
        shape=shape,
    )
    return y


def fixed(near: Tensor, shape: tuple[int, ...], *, name: str, rule: str) -> Tensor:
    """A table that is not learned but part of the checkpoint; `rule` says what fills it."""
    (y,) = near.trace.append(
        "fixed",
        [],
        [Type("table", shape)],
        name=name,
        buffers=[Parameter(name, shape)],
        init=rule,
        shape=shape,
        rule=rule,
    )
    return y


def drop_path(x: Any_, *, name: str = "drop_path") -> Any_:
    """Stochastic depth; the rate is set on the built model by a rule over all of them."""
    return cast(Any_, x.trace.append("drop_path", [x], [x.type], name=name)[0])


def dropout(x: Any_, *, name: str, rate: float | None = None) -> Any_:
    """Dropout; without a rate of its own it is set on the built model."""
    init = "" if rate is None else rate
    return cast(Any_, x.trace.append("dropout", [x], [x.type], name=name, init=init)[0])


def concat(xs: tuple[Tensor, ...]) -> Tensor:
    """Concatenates maps or tokens along their channels."""
    first = xs[0]
    axis = 0 if isinstance(first, Map) else -1
    shapes = {tuple(s for i, s in enumerate(x.shape) if i != axis % len(x.shape)) for x in xs}
    if len(shapes) > 1:
        sizes = " with ".join("x".join(map(str, x.shape)) for x in xs)
        raise BlockError(
            "E302", f"cannot concatenate {sizes}", helps=("pool the larger ones down first",)
        )
    channels = sum(x.channels for x in xs)
    rest = first.shape[1:] if axis == 0 else first.shape[:-1]
    shape = (channels, *rest) if axis == 0 else (*rest, channels)
    return first.trace.append("concat", list(xs), [like(first, shape)], axis=axis)[0]


def like(x: Tensor, shape: tuple[int, ...]) -> Type:
    """The type of `x` with another shape."""
    return Type(x.type.kind, shape, x.type.extra, x.type.grid)
