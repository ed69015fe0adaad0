"""The blocks of MobileNet: depthwise separable convolution and inverted residual."""

from __future__ import annotations

from typing import Literal

from flopwise.blocks import layers, parts
from flopwise.blocks.layers import Act, conv, drop_path
from flopwise.blocks.parts import Norm, depthwise, divisible, se_module
from flopwise.blocks.signature import First, Odd, Positive, Rate, Share, block
from flopwise.blocks.tensor import Map

__all__ = ["inverted", "separable"]


@block(init="mobile")
def separable(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    acts: Literal["all", "one"] = "all",
    skip: bool = False,
    se: Rate = 0.0,
    norm: Norm = "bn",
    act: Act = "relu6",
) -> Map:
    """Depthwise separable convolution: one filter per channel, then 1x1 across channels.

    Source: Howard et al. 2017, arXiv:1704.04861, fig. 3 right; timm `DepthwiseSeparableConv`.
    MobileNetV2's first stage is `acts: one, skip: true`, EfficientNet's also `se: 0.25`.

    Settings:
        dim: Output channels; the input's if not written.
        kernel: Size of the depthwise convolution, odd.
        stride: Step of the depthwise convolution of the first repetition.
        acts: all activates after both convolutions, one only after the depthwise one.
        skip: Adds the input to the output where the shape stays.
        se: Width of squeeze and excitation over the input's channels, between both; 0 is none.
        norm: What follows each convolution.
        act: Activation function.
    """
    dim, plain = dim or x.channels, norm == "none"
    y = depthwise(x, name="conv_dw", kernel=kernel, stride=stride, bias=plain)
    y = layers.act(parts.norm(y, norm, name="bn1"), act)
    y = _gate(y, x.channels, se, act)
    y = conv(y, dim, name="conv_pw", kernel=1, bias=plain)
    y = parts.norm(y, norm, name="bn2")
    y = layers.act(y, act) if acts == "all" else y
    return x + drop_path(y) if skip and stride == 1 and dim == x.channels else y


@block(init="mobile")
def inverted(
    x: Map,
    *,
    dim: Positive | None = None,
    expand: Share = 6.0,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    se: Rate = 0.0,
    norm: Norm = "bn",
    act: Act = "relu6",
) -> Map:
    """Inverted residual: 1x1 to more channels, depthwise convolution, 1x1 back, no activation.

    The input is added where the shape stays.
    Source: Sandler et al. 2018, arXiv:1801.04381, fig. 4d; timm `InvertedResidual`.

    Settings:
        dim: Output channels; the input's if not written.
        expand: Inner channels over the input's, rounded to a multiple of 8.
        kernel: Size of the depthwise convolution, odd.
        stride: Step of the depthwise convolution of the first repetition.
        se: Width of squeeze and excitation over the input's channels (EfficientNet); 0 is none.
        norm: What follows each convolution.
        act: Activation function.
    """
    dim, plain = dim or x.channels, norm == "none"
    y = conv(x, divisible(expand * x.channels, 8), name="conv_pw", kernel=1, bias=plain)
    y = layers.act(parts.norm(y, norm, name="bn1"), act)
    y = depthwise(y, name="conv_dw", kernel=kernel, stride=stride, bias=plain)
    y = layers.act(parts.norm(y, norm, name="bn2"), act)
    y = _gate(y, x.channels, se, act)
    y = parts.norm(conv(y, dim, name="conv_pwl", kernel=1, bias=plain), norm, name="bn3")
    return x + drop_path(y) if stride == 1 and dim == x.channels else y


def _gate(y: Map, channels: int, se: float, act: str) -> Map:
    """Squeeze and excitation whose width is a share of the block's input channels."""
    if not se:
        return y
    hidden, names = max(1, round(se * channels)), ("conv_reduce", "conv_expand")
    return se_module(y, name="se", ratio=se, hidden=hidden, function=act, names=names)
