"""Layer kinds that change the form of a tensor: map, map with channels last, tokens, vector."""

from __future__ import annotations

from math import prod
from typing import cast

from flopwise.blocks.graph import Parameter, Type
from flopwise.blocks.layers.convolution import window
from flopwise.blocks.tensor import Map, MapLast, Tensor, Tokens, Vec
from flopwise.errors import BlockError

__all__ = [
    "channels_first",
    "channels_last",
    "grid_table",
    "prepend",
    "sequence_mean",
    "spread",
    "take_token",
    "to_map",
    "to_tokens",
    "token_conv",
    "token_mean",
    "unfold",
]


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
    """(C, H, W) -> (H * W, C); the grid is remembered, and what is absent stays absent."""
    shape, absent = (x.height * x.width, x.channels), x.type.absent
    out = Type("tokens", shape, grid=(x.height, x.width), absent=absent)
    return cast(Tokens, x.trace.append("to_tokens", [x], [out])[0])


def to_map(x: Tokens) -> Map:
    """(H * W, C) -> (C, H, W) without leading tokens that are no patches; absent stays absent."""
    if x.grid is None:
        raise BlockError("E307", "these tokens no longer lie on a grid, so they are no map")
    out = Type("map", (x.channels, *x.grid), absent=x.type.absent)
    return cast(Map, x.trace.append("to_map", [x], [out], extra=x.extra, grid=x.grid)[0])


def unfold(x: Map, *, kernel: int, stride: int, pad: int) -> Tokens:
    """Overlapping windows as tokens: (C, H, W) -> (H_out * W_out, C * kernel^2)."""
    height, width = window(x, kernel, stride, pad)
    shape = (height * width, x.channels * kernel * kernel)
    out = Type("tokens", shape, grid=(height, width))
    y = x.trace.append("unfold", [x], [out], kernel=kernel, stride=stride, pad=pad)[0]
    return cast(Tokens, y)


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


def grid_table(columns: Tensor, rows: Tensor) -> Tensor:
    """Tables (1, W, C / 2) and (1, H, C / 2) -> one vector (C) per position of a grid of H x W."""
    (_, width, half), height = columns.shape, rows.shape[1]
    out = Type("table", (1, height * width, 2 * half))
    return columns.trace.append("grid_table", [columns, rows], [out])[0]


def spread(token: Tensor, x: Tokens) -> Tokens:
    """Learned tokens (1, n, C) as a sequence for each image that `x` holds."""
    out = Type("tokens", token.shape[1:], extra=token.shape[1])
    return cast(Tokens, x.trace.append("spread", [token, x], [out])[0])


def token_conv(x: Tokens, *, name: str) -> Tokens:
    """Each channel times a learned number, as a depthwise 1x1 convolution. MACs = L * C."""
    (y,) = x.trace.append(
        "token_conv",
        [x],
        [x.type],
        name=name,
        parameters=[Parameter("weight", (x.channels, 1, 1), decay=True)],
        macs=prod(x.shape),
        activations=prod(x.shape),
        channels=x.channels,
    )
    return cast(Tokens, y)


def sequence_mean(x: Tokens) -> Tokens:
    """Mean over all tokens, as a sequence of one."""
    out = Type("tokens", (1, x.channels), extra=1)
    return cast(Tokens, x.trace.append("sequence_mean", [x], [out])[0])
