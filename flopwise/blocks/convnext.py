"""The ConvNeXt block and the downsampling between its stages."""

from __future__ import annotations

from flopwise.blocks.layers import (
    Act,
    channels_first,
    channels_last,
    conv,
    drop_path,
    layer_norm,
    parameter,
)
from flopwise.blocks.parts import keep_width, mlp
from flopwise.blocks.signature import Odd, Positive, Share, block
from flopwise.blocks.tensor import Map

__all__ = ["convnext", "downsample"]


def downsample(x: Map, *, dim: Positive | None = None, stride: Positive = 1) -> Map:
    """Layer norm, then a convolution whose kernel is its stride.

    Source: Liu et al. 2022, arXiv:2201.03545, section 2.6 "Separate downsampling layers".

    Settings:
        dim: Output channels; the input's if not written.
        stride: Factor by which the map shrinks before the first block; 1 keeps it.
    """
    if stride == 1:
        return x
    x = layer_norm(x, name="0")
    return conv(x, dim or x.channels, name="1", kernel=stride, stride=stride, pad=0)


@block(entry=downsample, init="convnext")
def convnext(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 7,
    expand: Share = 4.0,
    act: Act = "gelu",
    layer_scale: Share = 1e-6,
) -> Map:
    """ConvNeXt block: depthwise convolution, then a two-layer MLP on the channels.

    A width change needs `stride: 2`, which puts the downsampling layer before the first block.
    Source: Liu et al. 2022, arXiv:2201.03545, fig. 4; timm `ConvNeXtBlock`.

    Settings:
        dim: Channels; the input's if not written.
        kernel: Size of the depthwise convolution, odd.
        expand: Hidden channels of the MLP over its input channels.
        act: Activation function of the MLP.
        layer_scale: Initial value of the learned scale of the branch; 0 leaves it out.
    """
    keep_width(x, dim, "convnext", "write stride: 2 to downsample")
    y = conv(x, x.channels, name="conv_dw", kernel=kernel, groups=x.channels)
    z = layer_norm(channels_last(y), name="norm")
    z = mlp(z, name="mlp", hidden=max(1, int(expand * x.channels)), function=act)
    if layer_scale:
        z = z * parameter(z, (x.channels,), name="gamma", init=layer_scale)
    return x + drop_path(channels_first(z))
