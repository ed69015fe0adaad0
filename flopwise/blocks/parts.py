"""Pieces that several families share: norm by name, squeeze and excitation, the two-layer MLP."""

from __future__ import annotations

from math import log2, trunc
from typing import Literal, TypeVar

from flopwise.blocks.layers import (
    act,
    batch_norm,
    channel_conv,
    conv,
    global_mean,
    group_norm,
    layer_norm,
    linear,
    rms_norm,
    shrink,
)
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map, Tensor
from flopwise.errors import BlockError

__all__ = [
    "Norm",
    "depthwise",
    "divisible",
    "eca_module",
    "keep_width",
    "mlp",
    "norm",
    "one_gate",
    "positive_widths",
    "projection",
    "se_module",
    "token_norm",
]

Norm = Literal["bn", "ln", "gn", "none"]
T = TypeVar("T", bound=Tensor)


def norm(x: Map, how: str, *, name: str, init: str = "", eps: float = 1e-6) -> Map:
    """Batch norm, layer norm over the channels with its eps, group norm, or nothing."""
    if how == "bn":
        return batch_norm(x, name=name, init=init)
    if how == "gn":
        return group_norm(x, name=name, init=init)
    return layer_norm(x, name=name, eps=eps) if how == "ln" else x


def depthwise(x: Map, *, name: str, kernel: int, stride: int = 1, bias: bool = True) -> Map:
    """One filter per channel."""
    return conv(
        x, x.channels, name=name, kernel=kernel, stride=stride, groups=x.channels, bias=bias
    )


def positive_widths(deep: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the widths of a deep stem, none of which may be below 1 (E641)."""
    if min(deep, default=1) < 1:
        raise BlockError(
            "E641",
            f"a convolution has no {min(deep)} channels: deep is {list(deep)}",
            setting="deep",
            helps=("write the channels of each convolution, such as deep: [32, 32]",),
        )
    return deep


def keep_width(x: Tensor, dim: int | None, block: str, mend: str) -> None:
    """Refuses a width that a block without a projection cannot give; `mend` says what could.

    Raises:
        BlockError: if `dim` is not the number of channels the block gets.
    """
    if dim and dim != x.channels:
        raise BlockError(
            "E313",
            f"{block} keeps its width: it gets {x.channels} channels and dim says {dim}",
            setting="dim",
            helps=(f"{mend}, or dim: {x.channels}",),
        )


def token_norm(x: T, how: str, *, name: str, eps: float = 1e-6) -> T:
    """Layer norm, its form without mean and bias, or nothing."""
    if how == "rms":
        return rms_norm(x, name=name, eps=eps)
    return layer_norm(x, name=name, eps=eps) if how == "ln" else x


def one_gate(se: float, eca: bool) -> None:
    """Refuses two attentions over the channels of one branch (E340)."""
    if se and eca:
        raise BlockError(
            "E340",
            f"se: {se} and eca: true both weigh the channels of one branch",
            setting="eca",
            helps=("write se: 0, or eca: false",),
        )


@piece
def se_module(
    x: Map,
    *,
    ratio: float,
    divisor: int = 8,
    hidden: int | None = None,
    least: float = 0.0,
    function: str = "relu",
    gate: str = "sigmoid",
    names: tuple[str, str] = ("fc1", "fc2"),
) -> Map:
    """Squeeze and excitation: channels weighted by a two-layer gate on their means.

    The hidden width is `ratio * channels` rounded to a multiple of the divisor, if not given.
    Source: Hu et al. 2018, arXiv:1709.01507, fig. 2; timm `SEModule` and, with other names of the
    layers, `SqueezeExcite`.
    """
    hidden = hidden or divisible(x.channels * ratio, divisor, least=least)
    y: Map = global_mean(x, keep=True)  # type: ignore[assignment]  # keep=True leaves a map
    y = act(conv(y, hidden, name=names[0], kernel=1), function)
    y = act(conv(y, x.channels, name=names[1], kernel=1), gate)
    return x * y


@piece
def eca_module(x: Map) -> Map:
    """Efficient channel attention: each channel weighted by a gate on its neighbours' means.

    The kernel is (log2(channels) + 1) / 2 rounded down, made odd by adding 1, and at least 3.
    Source: Wang et al. 2020, arXiv:1910.03151, fig. 2 and eq. 12; timm `EcaModule`.
    """
    size = int(abs(log2(x.channels) + 1) / 2)
    kernel = max(size if size % 2 else size + 1, 3)
    y: Map = global_mean(x, keep=True)  # type: ignore[assignment]  # keep=True leaves a map
    return x * act(channel_conv(y, name="conv", kernel=kernel), "sigmoid")


def divisible(width: float, divisor: int, *, least: float = 0.9) -> int:
    """Rounds a width to the nearest multiple, but never below the share `least` of it.

    Source: timm `make_divisible`.

    >>> divisible(44.8, 8), divisible(19.2, 8), divisible(18, 4, least=0)
    (48, 24, 20)
    """
    rounded = max(divisor, trunc(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < least * width else rounded


@piece
def mlp(x: T, *, hidden: int, function: str, bias: bool = True) -> T:
    """Two linear layers with an activation between them."""
    y = act(linear(x, hidden, name="fc1", bias=bias), function)
    return linear(y, x.channels, name="fc2", bias=bias)


@piece
def projection(x: Map, *, dim: int, stride: int, how: str, pooled: bool = False) -> Map:
    """The shortcut of a residual block that changes shape: 1x1 convolution and norm.

    With `pooled` an average over the stride stands before a convolution without one.
    """
    if pooled:
        x = shrink(x, stride=stride, name="0")
        return norm(conv(x, dim, name="1", kernel=1, bias=how == "none"), how, name="2")
    x = conv(x, dim, name="0", kernel=1, stride=stride, bias=how == "none")
    return norm(x, how, name="1")
