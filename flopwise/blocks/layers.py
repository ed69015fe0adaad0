"""The layer kinds: shape rule, MACs, parameters and activations of each, once.

This is the only place where a cost is defined. A kind is one function that appends one `Layer`.
MACs are those of convolutions, linears and the matrix products of attention and nothing else (what
`torch.utils.flop_counter.FlopCounterMode` counts, halved); activations are the elements those
layers put out. `nets/` knows one module or expression for each kind here.
"""

from __future__ import annotations

from math import gcd, prod
from typing import Literal, TypeVar, cast

from flopwise.blocks.graph import Parameter, Type
from flopwise.blocks.tensor import Heads, Map, MapLast, Tensor, Tokens, Vec
from flopwise.errors import BlockError

__all__ = [
    "Act",
    "act",
    "attend",
    "avg_pool",
    "batch_norm",
    "channels_first",
    "channels_last",
    "concat",
    "conv",
    "drop_path",
    "dropout",
    "global_mean",
    "layer_norm",
    "linear",
    "max_pool",
    "parameter",
    "prepend",
    "split_heads",
    "take_token",
    "to_map",
    "to_tokens",
    "token_mean",
]

Act = Literal["relu", "relu6", "gelu", "gelu_tanh", "silu", "hardswish", "tanh", "sigmoid", "none"]
Any_ = TypeVar("Any_", bound=Tensor)


def conv(
    x: Map,
    dim: int,
    *,
    name: str,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    pad: int | None = None,
    bias: bool = True,
    init: str = "",
) -> Map:
    """2-D convolution; `pad` defaults to half the kernel.

    MACs = dim * (channels / groups) * kernel^2 * H_out * W_out.
    """
    if x.channels % groups or dim % groups:
        raise BlockError(
            "E304",
            f"groups {groups} does not divide {x.channels} input and {dim} output channels",
            setting="groups",
            helps=(f"use a common divisor of both, such as {gcd(x.channels, dim)}",),
        )
    pad = kernel // 2 if pad is None else pad
    height, width = _window(x, kernel, stride, pad)
    weight = (dim, x.channels // groups, kernel, kernel)
    parameters = [Parameter("weight", weight, decay=True)]
    if bias:
        parameters.append(Parameter("bias", (dim,)))
    (y,) = x.trace.append(
        "conv",
        [x],
        [Type("map", (dim, height, width))],
        name=name,
        parameters=parameters,
        macs=prod(weight) * height * width,
        activations=dim * height * width,
        init=init,
        channels=x.channels,
        dim=dim,
        kernel=kernel,
        stride=stride,
        pad=pad,
        groups=groups,
        bias=bias,
    )
    return cast(Map, y)


def linear(x: Any_, dim: int, *, name: str, bias: bool = True, init: str = "") -> Any_:
    """Matrix product with the last axis. MACs = positions * channels * dim."""
    positions = prod(x.shape[:-1])
    parameters = [Parameter("weight", (dim, x.channels), decay=True)]
    if bias:
        parameters.append(Parameter("bias", (dim,)))
    (y,) = x.trace.append(
        "linear",
        [x],
        [_like(x, (*x.shape[:-1], dim))],
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


def batch_norm(x: Map, *, name: str, eps: float = 1e-5, init: str = "") -> Map:
    """Batch normalisation of each channel."""
    learned = [Parameter("weight", (x.channels,)), Parameter("bias", (x.channels,))]
    running = [Parameter("running_mean", (x.channels,)), Parameter("running_var", (x.channels,))]
    (y,) = x.trace.append(
        "batch_norm",
        [x],
        [x.type],
        name=name,
        parameters=learned,
        buffers=[*running, Parameter("num_batches_tracked", ())],
        init=init,
        channels=x.channels,
        eps=eps,
    )
    return cast(Map, y)


def layer_norm(x: Any_, *, name: str, eps: float = 1e-6) -> Any_:
    """Layer normalisation over the channels of each position, maps included."""
    learned = [Parameter("weight", (x.channels,)), Parameter("bias", (x.channels,))]
    kind = "layer_norm2d" if isinstance(x, Map) else "layer_norm"
    (y,) = x.trace.append(
        kind, [x], [x.type], name=name, parameters=learned, channels=x.channels, eps=eps
    )
    return cast(Any_, y)


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


def act(x: Any_, function: str) -> Any_:
    """An activation function by name; `none` is the identity."""
    if function == "none":
        return x
    return cast(Any_, x.trace.append("act", [x], [x.type], function=function)[0])


def max_pool(x: Map, *, kernel: int, stride: int, pad: int) -> Map:
    """Maximum over windows."""
    out = Type("map", (x.channels, *_window(x, kernel, stride, pad)))
    return cast(
        Map, x.trace.append("max_pool", [x], [out], kernel=kernel, stride=stride, pad=pad)[0]
    )


def avg_pool(x: Map, *, kernel: int, stride: int) -> Map:
    """Mean over windows without padding."""
    out = Type("map", (x.channels, *_window(x, kernel, stride, 0)))
    return cast(Map, x.trace.append("avg_pool", [x], [out], kernel=kernel, stride=stride)[0])


def global_mean(x: Map, *, keep: bool = False) -> Tensor:
    """Mean over all positions of a map; `keep` leaves a map of 1 x 1."""
    out = Type("map", (x.channels, 1, 1)) if keep else Type("vec", (x.channels,))
    return x.trace.append("global_mean", [x], [out], keep=keep)[0]


def channels_last(x: Map) -> MapLast:
    """(C, H, W) -> (H, W, C)."""
    out = Type("map_last", (x.height, x.width, x.channels))
    return cast(MapLast, x.trace.append("channels_last", [x], [out])[0])


def channels_first(x: MapLast) -> Map:
    """(H, W, C) -> (C, H, W)."""
    height, width, channels = x.shape
    out = Type("map", (channels, height, width))
    return cast(Map, x.trace.append("channels_first", [x], [out])[0])


def to_tokens(x: Map) -> Tokens:
    """(C, H, W) -> (H * W, C); the grid is remembered."""
    out = Type("tokens", (x.height * x.width, x.channels), grid=(x.height, x.width))
    return cast(Tokens, x.trace.append("to_tokens", [x], [out])[0])


def to_map(x: Tokens) -> Map:
    """(H * W, C) -> (C, H, W); leading tokens that are no patches are dropped."""
    if x.grid is None:
        raise BlockError("E307", "these tokens no longer lie on a grid, so they are no map")
    out = Type("map", (x.channels, *x.grid))
    return cast(Map, x.trace.append("to_map", [x], [out], extra=x.extra, grid=x.grid)[0])


def prepend(x: Tokens, token: Tensor) -> Tokens:
    """Puts learned tokens (n, C) before the sequence."""
    count = token.shape[-2]
    out = Type("tokens", (x.length + count, x.channels), x.extra + count, x.grid)
    return cast(Tokens, x.trace.append("prepend", [x, token], [out])[0])


def take_token(x: Tokens) -> Vec:
    """The first token, which is the class token."""
    if not x.extra:
        raise BlockError(
            "E309",
            "there is no class token to take",
            setting="pool",
            helps=("put {block: class_token} before the body, or write pool: avg",),
        )
    return cast(Vec, x.trace.append("take_token", [x], [Type("vec", (x.channels,))])[0])


def token_mean(x: Tokens) -> Vec:
    """Mean over the patch tokens."""
    out = Type("vec", (x.channels,))
    return cast(Vec, x.trace.append("token_mean", [x], [out], extra=x.extra)[0])


def split_heads(x: Tokens, *, heads: int) -> tuple[Heads, Heads, Heads]:
    """(L, 3 * C) -> queries, keys and values of (heads, L, C / heads)."""
    width = x.channels // 3
    if width % heads:
        raise BlockError(
            "E303",
            f"{heads} heads do not divide dim {width}",
            setting="heads",
            helps=(_nearest_heads(heads, width),),
        )
    out = Type("heads", (heads, x.length, width // heads))
    return cast(
        tuple[Heads, Heads, Heads], x.trace.append("split_heads", [x], [out] * 3, heads=heads)
    )


def attend(q: Heads, k: Heads, v: Heads) -> Tokens:
    """Scaled dot-product attention: softmax(q k^T / sqrt(d)) v, heads merged to (L, C).

    MACs = 2 * heads * L * L * d: the products q k^T and (.) v.
    """
    heads, length, depth = q.shape
    (y,) = q.trace.append(
        "attend",
        [q, k, v],
        [Type("tokens", (length, heads * depth))],
        macs=2 * heads * length * length * depth,
        activations=heads * length * length + length * heads * depth,
    )
    return cast(Tokens, y)


def drop_path(x: Any_, *, name: str = "drop_path") -> Any_:
    """Stochastic depth; the rate is set on the built model by a rule over all of them."""
    return cast(Any_, x.trace.append("drop_path", [x], [x.type], name=name)[0])


def dropout(x: Any_, *, name: str) -> Any_:
    """Dropout; the rate is set on the built model."""
    return cast(Any_, x.trace.append("dropout", [x], [x.type], name=name)[0])


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
    return first.trace.append("concat", list(xs), [_like(first, shape)], axis=axis)[0]


def _like(x: Tensor, shape: tuple[int, ...]) -> Type:
    return Type(x.type.kind, shape, x.type.extra, x.type.grid)


def _window(x: Map, kernel: int, stride: int, pad: int) -> tuple[int, int]:
    sizes = [(size + 2 * pad - kernel) // stride + 1 for size in (x.height, x.width)]
    if min(sizes) < 1:
        raise BlockError(
            "E308",
            f"a {kernel}x{kernel} window with stride {stride} does not fit a map of "
            f"{x.height}x{x.width}",
            helps=("raise input.size, or remove a stride",),
        )
    return sizes[0], sizes[1]


def _nearest_heads(heads: int, dim: int) -> str:
    below, above = dim // heads * heads, (dim // heads + 1) * heads
    dims = " or ".join(str(d) for d in (below, above) if d > 0)
    fits = sorted((h for h in range(1, dim + 1) if dim % h == 0), key=lambda h: abs(h - heads))[:2]
    return (
        f"nearest that work: dim {dims} with {heads} heads; "
        f"heads {' or '.join(map(str, sorted(fits)))} with dim {dim}"
    )
