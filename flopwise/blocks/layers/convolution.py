"""Layer kinds on maps: convolution and pooling."""

from __future__ import annotations

from math import gcd, prod
from typing import cast

from flopwise.blocks.graph import Parameter, Type
from flopwise.blocks.tensor import Map, Tensor
from flopwise.errors import BlockError

__all__ = ["avg_pool", "conv", "global_mean", "max_pool", "window"]


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
    height, width = window(x, kernel, stride, pad)
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


def max_pool(x: Map, *, kernel: int, stride: int, pad: int) -> Map:
    """Maximum over windows."""
    out = Type("map", (x.channels, *window(x, kernel, stride, pad)))
    return cast(
        Map, x.trace.append("max_pool", [x], [out], kernel=kernel, stride=stride, pad=pad)[0]
    )


def avg_pool(x: Map, *, kernel: int, stride: int) -> Map:
    """Mean over windows without padding."""
    out = Type("map", (x.channels, *window(x, kernel, stride, 0)))
    return cast(Map, x.trace.append("avg_pool", [x], [out], kernel=kernel, stride=stride)[0])


def global_mean(x: Map, *, keep: bool = False) -> Tensor:
    """Mean over all positions of a map; `keep` leaves a map of 1 x 1."""
    out = Type("map", (x.channels, 1, 1)) if keep else Type("vec", (x.channels,))
    return x.trace.append("global_mean", [x], [out], keep=keep)[0]


def window(x: Map, kernel: int, stride: int, pad: int) -> tuple[int, int]:
    """Rows and columns that a window leaves of a map."""
    sizes = [(size + 2 * pad - kernel) // stride + 1 for size in (x.height, x.width)]
    if min(sizes) < 1:
        raise BlockError(
            "E308",
            f"a {kernel}x{kernel} window with stride {stride} does not fit a map of "
            f"{x.height}x{x.width}",
            helps=("raise input.size, or remove a stride",),
        )
    return sizes[0], sizes[1]
