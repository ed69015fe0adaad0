"""ResNetV2: norm and activation before each convolution, as in pre-activation ResNet and BiT."""

from __future__ import annotations

from typing import Annotated, Literal

from flopwise.blocks import layers, parts
from flopwise.blocks.layers import Act, drop_path, max_pool, shrink, zero_pad
from flopwise.blocks.signature import First, Odd, Positive, block, only
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map

__all__ = ["preact", "preact_basic", "preact_stem"]

Norm = Literal["bn", "gn"]
Shortcut = Literal["conv", "pool"]


@block(once=True, init="resnetv2")
def preact_stem(
    x: Map,
    *,
    dim: Positive = 64,
    kernel: Odd = 7,
    stride: Positive = 2,
    deep: tuple[int, ...] = (),
    pool: Literal["max", "zeros", "none"] = "max",
    standard: bool = False,
    norm: Annotated[Norm, only("deep")] = "bn",
    act: Annotated[Act, only("deep")] = "relu",
) -> Map:
    """A strided convolution and 3x3/2 max pooling; norm and activation are left to the first block.

    That of the variants with a deep stem is `kernel: 3, deep: [32, 32]`.
    Source: He et al. 2016, arXiv:1603.05027, section 4; Kolesnikov et al. 2020, arXiv:1912.11370,
    section 3.3; timm `create_resnetv2_stem`.

    Settings:
        dim: Output channels.
        kernel: Size of the convolution, odd.
        stride: Step of the convolution, the first one if there are several.
        deep: Output channels of further convolutions before it, each with norm and activation.
        pool: What halves the map at the end: max pooling, max pooling of a map with a rim of zeros
            (BiT), or nothing.
        standard: Whether filters are brought to mean 0 and variance 1 (BiT).
        norm: What follows each convolution but the last.
        act: What follows the norm.
    """
    widths = (*parts.positive_widths(deep), dim)
    for number, width in enumerate(widths, start=1):
        name = f"conv{number}" if deep else "conv"
        x = _conv(x, width, name, (kernel, stride if number == 1 else 1), standard)
        if number < len(widths):
            x = _normed(x, f"norm{number}", norm, act)
    if pool == "zeros":
        return max_pool(zero_pad(x, 1), kernel=3, stride=2, pad=0)
    return max_pool(x, kernel=3, stride=2, pad=1) if pool == "max" else x


@block(init="resnetv2")
def preact(
    x: Map,
    *,
    dim: Positive | None = None,
    hidden: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    project: First[bool] = False,
    shortcut: Shortcut = "conv",
    standard: bool = False,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Pre-activation bottleneck: norm and activation before each of its convolutions, then the sum.

    The shortcut projects where the shape changes, from what the first norm and activation leave;
    elsewhere it is untouched. A `norm_act` closes the body.
    Source: He et al. 2016, arXiv:1603.05027, fig. 1b and table 2 "full pre-activation"; Kolesnikov
    et al. 2020, arXiv:1912.11370, section 3.3; timm `PreActBottleneck`, whose stride sits on the
    spatial convolution.

    Settings:
        dim: Output channels; the input's if not written.
        hidden: Inner channels; a quarter of the output's if not written.
        kernel: Size of the spatial convolution, odd.
        stride: Step of the spatial convolution of the first repetition.
        project: Whether the first repetition projects its shortcut even if the shape stays.
        shortcut: How the shortcut changes its shape: a 1x1 convolution with the stride, or average
            pooling before one without (ResNet-D).
        standard: Whether filters are brought to mean 0 and variance 1 (BiT).
        norm: The norm.
        act: Activation function.
    """
    dim = dim or x.channels
    hidden = hidden or max(1, dim // 4)
    y = _normed(x, "norm1", norm, act)
    if project or stride != 1 or x.channels != dim:
        x = _shortcut(y, name="downsample", dim=dim, stride=stride, how=shortcut, standard=standard)
    y = _conv(y, hidden, "conv1", (1, 1), standard)
    y = _conv(_normed(y, "norm2", norm, act), hidden, "conv2", (kernel, stride), standard)
    y = _conv(_normed(y, "norm3", norm, act), dim, "conv3", (1, 1), standard)
    return drop_path(y) + x


@block(init="resnetv2")
def preact_basic(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    shortcut: Shortcut = "conv",
    standard: bool = False,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Two convolutions, norm and activation before each, with a shortcut around them.

    Source: He et al. 2016, arXiv:1603.05027, fig. 1b; timm `PreActBasic`.

    Settings:
        dim: Output channels; the input's if not written.
        kernel: Size of both convolutions, odd.
        stride: Step of the first convolution of the first repetition.
        shortcut: How the shortcut changes its shape: a 1x1 convolution with the stride, or average
            pooling before one without (ResNet-D).
        standard: Whether filters are brought to mean 0 and variance 1 (BiT).
        norm: The norm.
        act: Activation function.
    """
    dim = dim or x.channels
    y = _normed(x, "norm1", norm, act)
    if stride != 1 or x.channels != dim:
        x = _shortcut(y, name="downsample", dim=dim, stride=stride, how=shortcut, standard=standard)
    y = _conv(y, dim, "conv1", (kernel, stride), standard)
    y = _conv(_normed(y, "norm2", norm, act), dim, "conv2", (kernel, 1), standard)
    return drop_path(y) + x


@piece
def _shortcut(x: Map, *, dim: int, stride: int, how: str, standard: bool) -> Map:
    """The shortcut that changes shape: a 1x1 convolution, perhaps behind average pooling."""
    if how == "pool":
        x = shrink(x, stride=stride) if stride > 1 else x
        stride = 1
    return _conv(x, dim, "conv", (1, stride), standard)


def _conv(x: Map, dim: int, name: str, window: tuple[int, int], standard: bool) -> Map:
    """A convolution without bias, padded alike on both sides."""
    kernel, stride = window
    if standard:
        return layers.weight_std_conv(x, dim, name=name, kernel=kernel, stride=stride, same=False)
    return layers.conv(x, dim, name=name, kernel=kernel, stride=stride, bias=False)


def _normed(x: Map, name: str, how: str, function: str) -> Map:
    return layers.act(parts.norm(x, how, name=name), function)
