"""DenseNet: layers that add channels to what all layers before them found."""

from __future__ import annotations

from math import trunc

from flopwise.blocks import layers, parts
from flopwise.blocks.layers import Act, avg_pool, concat, conv
from flopwise.blocks.parts import Norm
from flopwise.blocks.signature import Odd, Positive, Share, block
from flopwise.blocks.tensor import Map

__all__ = ["dense", "transition"]


def transition(
    x: Map,
    *,
    dim: Positive | None = None,
    stride: Positive = 1,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Between dense stages: norm, activation, 1x1 convolution, average pooling by the stride.

    Source: Huang et al. 2017, arXiv:1608.06993, section 3 "Pooling layers" and "Compression".

    Settings:
        dim: Channels that are left before the first layer; half of the input's if not written.
        stride: Factor by which the map shrinks before the first layer; 1 keeps all as it is.
    """
    if stride == 1:
        return x
    y = layers.act(parts.norm(x, norm, name="norm"), act)
    y = conv(y, dim or max(1, x.channels // 2), name="conv", kernel=1, bias=norm == "none")
    return avg_pool(y, kernel=stride, stride=stride)


@block(entry=transition, init="densenet")
def dense(
    x: Map,
    *,
    growth: Positive = 32,
    expand: Share = 4.0,
    kernel: Odd = 3,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Dense layer: 1x1 to a few times the growth, a convolution to the growth, joined to its input.

    Each repetition reads the channels of all before it. Norm and activation stand before each
    convolution. `stride: 2` puts a transition before the first layer.
    Source: Huang et al. 2017, arXiv:1608.06993, eq. 2 and section 3 "Bottleneck layers"; timm
    `DenseLayer`.

    Settings:
        growth: Channels that a layer adds.
        expand: Inner channels over the growth.
        kernel: Size of the second convolution, odd.
        norm: What stands before each convolution.
        act: Activation function.
    """
    hidden, plain = max(1, trunc(expand * growth)), norm == "none"
    y = layers.act(parts.norm(x, norm, name="norm1"), act)
    y = conv(y, hidden, name="conv1", kernel=1, bias=plain)
    y = layers.act(parts.norm(y, norm, name="norm2"), act)
    y = conv(y, growth, name="conv2", kernel=kernel, bias=plain)
    joined: Map = concat((x, y))  # type: ignore[assignment]  # two maps give a map
    return joined
