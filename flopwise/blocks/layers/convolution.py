"""Layer kinds on maps: convolution and pooling."""

from __future__ import annotations

from math import gcd, prod
from typing import Any, cast

from flopwise.blocks.graph import Parameter, Type
from flopwise.blocks.tensor import Map, Tensor, Vec
from flopwise.errors import BlockError

__all__ = [
    "avg_pool",
    "channel_conv",
    "conv",
    "first_channels",
    "flatten",
    "global_mean",
    "max_pool",
    "max_pool_same",
    "shrink",
    "std_conv",
    "unflatten",
    "weight_std_conv",
    "window",
    "zero_pad",
]


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
    pad = kernel // 2 if pad is None else pad
    size = window(x, kernel, stride, pad)
    return _convolution(
        "conv",
        x,
        dim,
        kernel,
        groups,
        size,
        name=name,
        bias=bias,
        init=init,
        stride=stride,
        pad=pad,
    )


def std_conv(
    x: Map,
    dim: int,
    *,
    name: str,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    same: bool = True,
    gamma: float = 1.0,
    init: str = "",
) -> Map:
    """Convolution whose weights are standardised and scaled to keep the variance of its input.

    Each filter is brought to mean 0 and variance `gamma^2 / fan_in`, times a learned gain.
    `same` pads as TensorFlow does: the output has ceil(size / stride) rows, and the odd row of
    padding lies below. MACs are those of the convolution alone.
    Source: Brock et al. 2021, arXiv:2101.08692, section 4.1; timm `ScaledStdConv2dSame`.
    """
    _check_filter(x.channels // groups * kernel * kernel)
    even = window(x, kernel, stride, kernel // 2)
    size = (-(-x.height // stride), -(-x.width // stride)) if same else even
    gain = Parameter("gain", (dim, 1, 1, 1))
    return _convolution(
        "std_conv",
        x,
        dim,
        kernel,
        groups,
        size,
        gain,
        name=name,
        bias=True,
        init=init,
        stride=stride,
        same=same,
        gamma=gamma,
    )


def weight_std_conv(
    x: Map, dim: int, *, name: str, kernel: int, stride: int = 1, same: bool = True
) -> Map:
    """Convolution whose filters are brought to mean 0 and variance 1, without gain or bias.

    `same` pads as TensorFlow does: the output has ceil(size / stride) rows.
    Source: Qiao et al. 2019, arXiv:1903.10520, eq. 11; timm `StdConv2dSame` and `StdConv2d`.
    """
    _check_filter(x.channels * kernel * kernel)
    if same:
        size = (-(-x.height // stride), -(-x.width // stride))
    else:
        size = window(x, kernel, stride, kernel // 2)
    return _convolution(
        "weight_std_conv", x, dim, kernel, 1, size, name=name, bias=False, stride=stride, same=same
    )


def _check_filter(weights: int) -> None:
    if weights == 1:
        raise BlockError(
            "E328",
            "a filter of one weight has no variance to bring to 1",
            setting="hidden",
            helps=("give it more input channels: a larger hidden, or a wider stage before it",),
        )


def _convolution(
    kind: str,
    x: Map,
    dim: int,
    kernel: int,
    groups: int,
    size: tuple[int, int],
    *more: Parameter,
    bias: bool,
    **settings: Any,
) -> Map:
    """Appends a convolution of either kind with what they share: groups, parameters, cost."""
    if x.channels % groups or dim % groups:
        raise BlockError(
            "E304",
            f"groups {groups} does not divide {x.channels} input and {dim} output channels",
            setting="groups",
            helps=(f"use a common divisor of both, such as {gcd(x.channels, dim)}",),
        )
    weight = (dim, x.channels // groups, kernel, kernel)
    biases = [Parameter("bias", (dim,))] if bias else []
    (y,) = x.trace.append(
        kind,
        [x],
        [Type("map", (dim, *size))],
        parameters=[Parameter("weight", weight, decay=True), *biases, *more],
        macs=prod(weight) * prod(size),
        activations=dim * prod(size),
        channels=x.channels,
        dim=dim,
        kernel=kernel,
        groups=groups,
        bias=bias,
        **settings,
    )
    return cast(Map, y)


def channel_conv(x: Map, *, name: str, kernel: int) -> Map:
    """1-D convolution along the channels of a map of 1 x 1, without bias. MACs = kernel * channels.

    Source: Wang et al. 2020, arXiv:1910.03151, eq. 6; timm `EcaModule.conv`.
    """
    (y,) = x.trace.append(
        "channel_conv",
        [x],
        [x.type],
        name=name,
        parameters=[Parameter("weight", (1, 1, kernel), decay=True)],
        macs=kernel * x.channels,
        activations=x.channels,
        kernel=kernel,
        pad=kernel // 2,
        bias=False,
    )
    return cast(Map, y)


def first_channels(x: Map, count: int) -> Map:
    """The first channels of a map."""
    out = Type("map", (count, x.height, x.width))
    return cast(Map, x.trace.append("first_channels", [x], [out], count=count)[0])


def flatten(x: Map) -> Vec:
    """(C, 1, 1) -> (C,)."""
    return cast(Vec, x.trace.append("flatten", [x], [Type("vec", (x.channels,))])[0])


def unflatten(x: Vec) -> Map:
    """(C,) -> (C, 1, 1)."""
    return cast(Map, x.trace.append("unflatten", [x], [Type("map", (x.channels, 1, 1))])[0])


def max_pool(x: Map, *, kernel: int, stride: int, pad: int) -> Map:
    """Maximum over windows."""
    out = Type("map", (x.channels, *window(x, kernel, stride, pad)))
    return cast(
        Map, x.trace.append("max_pool", [x], [out], kernel=kernel, stride=stride, pad=pad)[0]
    )


def max_pool_same(x: Map, *, kernel: int, stride: int) -> Map:
    """Maximum over windows of a map that is padded as TensorFlow does."""
    out = Type("map", (x.channels, -(-x.height // stride), -(-x.width // stride)))
    return cast(Map, x.trace.append("max_pool_same", [x], [out], kernel=kernel, stride=stride)[0])


def zero_pad(x: Map, rim: int) -> Map:
    """A map with zeros around it."""
    out = Type("map", (x.channels, x.height + 2 * rim, x.width + 2 * rim))
    return cast(Map, x.trace.append("zero_pad", [x], [out], rim=rim)[0])


def avg_pool(x: Map, *, kernel: int, stride: int) -> Map:
    """Mean over windows without padding."""
    out = Type("map", (x.channels, *window(x, kernel, stride, 0)))
    return cast(Map, x.trace.append("avg_pool", [x], [out], kernel=kernel, stride=stride)[0])


def shrink(x: Map, *, stride: int, name: str = "") -> Map:
    """Mean over windows as large as the stride; what hangs over the edge does not count.

    With a name it counts in a numbered chain.
    """
    out = Type("map", (x.channels, -(-x.height // stride), -(-x.width // stride)))
    kind = "shrinking" if name else "shrink"
    return cast(Map, x.trace.append(kind, [x], [out], name=name, stride=stride)[0])


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
