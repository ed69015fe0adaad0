"""The residual blocks of ResNet and SE-ResNet."""

from __future__ import annotations

from flopwise.blocks import layers, parts
from flopwise.blocks.layers import Act, conv, drop_path
from flopwise.blocks.parts import Norm, projection, se_module
from flopwise.blocks.signature import First, Odd, Positive, Rate, block
from flopwise.blocks.tensor import Map

__all__ = ["basic", "residual"]


@block(init="resnet")
def basic(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    se: Rate = 0.0,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Two convolutions with a shortcut around them.

    The shortcut projects where the shape changes.
    Source: He et al. 2016, arXiv:1512.03385, fig. 5 left; timm `BasicBlock`.

    Settings:
        dim: Output channels; the input's if not written.
        kernel: Size of both convolutions, odd.
        stride: Step of the first convolution of the first repetition.
        se: Squeeze-and-excitation ratio; 0 is none.
        norm: What follows each convolution.
        act: Activation function.
    """
    dim, plain = dim or x.channels, norm == "none"
    y = conv(x, dim, name="conv1", kernel=kernel, stride=stride, bias=plain)
    y = layers.act(parts.norm(y, norm, name="bn1"), act)
    y = conv(y, dim, name="conv2", kernel=kernel, bias=plain)
    y = parts.norm(y, norm, name="bn2", init="zeros")
    return _join(x, y, stride, se, norm, act)


@block(init="resnet")
def residual(
    x: Map,
    *,
    dim: Positive | None = None,
    hidden: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    groups: Positive = 1,
    se: Rate = 0.0,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Bottleneck: 1x1 to the hidden width, a spatial convolution, 1x1 to the output, shortcut.

    The stride sits on the spatial convolution (ResNet v1.5); the shortcut projects where the
    shape changes.
    Source: He et al. 2016, arXiv:1512.03385, fig. 5 right; timm `Bottleneck`.

    Settings:
        dim: Output channels; the input's if not written.
        hidden: Inner channels; a quarter of the output's if not written.
        kernel: Size of the spatial convolution, odd.
        stride: Step of the spatial convolution of the first repetition.
        groups: Channel groups of the spatial convolution.
        se: Squeeze-and-excitation ratio; 0 is none.
        norm: What follows each convolution.
        act: Activation function.
    """
    dim, plain = dim or x.channels, norm == "none"
    hidden = hidden or max(1, dim // 4)
    y = conv(x, hidden, name="conv1", kernel=1, bias=plain)
    y = layers.act(parts.norm(y, norm, name="bn1"), act)
    y = conv(y, hidden, name="conv2", kernel=kernel, stride=stride, groups=groups, bias=plain)
    y = layers.act(parts.norm(y, norm, name="bn2"), act)
    y = conv(y, dim, name="conv3", kernel=1, bias=plain)
    y = parts.norm(y, norm, name="bn3", init="zeros")
    return _join(x, y, stride, se, norm, act)


def _join(x: Map, y: Map, stride: int, se: float, norm: str, act: str) -> Map:
    """Adds the branch `y` to the shortcut from `x` and activates the sum."""
    if se:
        y = se_module(y, name="se", ratio=se)
    y = drop_path(y)
    if stride != 1 or x.channels != y.channels:
        x = projection(x, name="downsample", dim=y.channels, stride=stride, how=norm)
    return layers.act(y + x, act)
