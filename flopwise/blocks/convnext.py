"""The ConvNeXt block and the downsampling between its stages."""

from __future__ import annotations

from math import trunc
from typing import Literal, TypeVar, cast

from flopwise.blocks.layers import (
    Act,
    act,
    channels_first,
    channels_last,
    conv,
    drop_path,
    grn,
    layer_norm,
    linear,
    parameter,
)
from flopwise.blocks.parts import depthwise, keep_width
from flopwise.blocks.signature import Odd, Positive, Share, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map, MapLast, Tensor

__all__ = ["convnext", "downsample"]

T = TypeVar("T", bound=Tensor)


def downsample(
    x: Map, *, dim: Positive | None = None, stride: Positive = 1, eps: Share = 1e-6
) -> Map:
    """Layer norm, then a convolution whose kernel is its stride.

    Source: Liu et al. 2022, arXiv:2201.03545, section 2.6 "Separate downsampling layers".

    Settings:
        dim: Output channels; the input's if not written.
        stride: Factor by which the map shrinks before the first block; 1 keeps it.
        eps: Added to the variance in the norm.
    """
    if stride == 1:
        return x
    x = layer_norm(x, name="0", eps=eps)
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
    grn: bool = False,
    pointwise: Literal["linear", "conv"] = "linear",
    eps: Share = 1e-6,
) -> Map:
    """ConvNeXt block: depthwise convolution, then a two-layer MLP on the channels.

    A width change needs `stride: 2`, which puts the downsampling layer before the first block.
    ConvNeXt V2 is `grn: true, layer_scale: 0`.
    Source: Liu et al. 2022, arXiv:2201.03545, fig. 4, and Woo et al. 2023, arXiv:2301.00808,
    fig. 5; timm `ConvNeXtBlock`.

    Settings:
        dim: Channels; the input's if not written.
        kernel: Size of the depthwise convolution, odd.
        expand: Hidden channels of the MLP over its input channels.
        act: Activation function of the MLP.
        layer_scale: Initial value of the learned scale of the branch; 0 leaves it out.
        grn: Global response normalisation inside the MLP.
        pointwise: The MLP's layers: linear puts channels last, conv keeps them first; the outputs
            are the same.
        eps: Added to the variance in the layer norms.
    """
    keep_width(x, dim, "convnext", "write stride: 2 to downsample")
    y = depthwise(x, name="conv_dw", kernel=kernel)
    hidden = max(1, trunc(expand * x.channels))
    if pointwise == "conv":
        y = _mlp(
            layer_norm(y, name="norm", eps=eps), name="mlp", hidden=hidden, function=act, energy=grn
        )
        y = channels_first(_scaled(channels_last(y), layer_scale)) if layer_scale else y
    else:
        z = layer_norm(channels_last(y), name="norm", eps=eps)
        z = _mlp(z, name="mlp", hidden=hidden, function=act, energy=grn)
        y = channels_first(_scaled(z, layer_scale) if layer_scale else z)
    return x + drop_path(y)


def _scaled(x: MapLast, init: float) -> MapLast:
    return x * parameter(x, (x.channels,), name="gamma", init=init)


@piece
def _mlp(x: T, *, hidden: int, function: str, energy: bool) -> T:
    """Two layers on the channels of each position with an activation between them."""
    y = act(_pointwise(x, hidden, name="fc1"), function)
    y = grn(y, name="grn") if energy else y
    return _pointwise(y, x.channels, name="fc2")


def _pointwise(x: T, dim: int, *, name: str) -> T:
    if isinstance(x, Map):
        return cast(T, conv(x, dim, name=name, kernel=1))
    return linear(x, dim, name=name)
