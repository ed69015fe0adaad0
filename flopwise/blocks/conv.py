"""Plain convolutional blocks and stems."""

from __future__ import annotations

from typing import Literal

from flopwise.blocks.layers import Act, act, conv, max_pool
from flopwise.blocks.parts import Norm, norm
from flopwise.blocks.signature import First, Local, Odd, Positive, block
from flopwise.blocks.tensor import Map

__all__ = ["conv_block", "conv_stem", "norm_act", "patchify"]


@block(name="conv", init="conv")
def conv_block(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    groups: Positive = 1,
    bias: bool | None = None,
    norm: Norm = "none",
    act: Act = "none",
) -> Map:
    """Convolution, then norm and activation if asked for.

    Settings:
        dim: Output channels; the input's if not written.
        kernel: Size of the window, odd.
        stride: Step of the first repetition.
        groups: Channel groups.
        bias: Whether a bias is added; without a norm it is, if not written.
        norm: What follows the convolution.
        act: What follows the norm.
    """
    bias = norm == "none" if bias is None else bias
    y = conv(
        x, dim or x.channels, name="conv", kernel=kernel, stride=stride, groups=groups, bias=bias
    )
    return _act(_norm(y, norm, name="norm"), act)


@block(once=True, init="conv")
def conv_stem(
    x: Map,
    *,
    dim: Positive = 64,
    kernel: Odd = 7,
    stride: Positive = 2,
    pool: Literal["max", "none"] = "max",
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """The stem of ResNet: a large strided convolution, norm, activation, 3x3/2 max pooling.

    Source: He et al. 2016, arXiv:1512.03385, table 1; timm `ResNet.conv1`.

    Settings:
        dim: Output channels.
        kernel: Size of the convolution, odd.
        stride: Step of the convolution.
        pool: Whether 3x3 max pooling with stride 2 follows.
        norm: What follows the convolution.
        act: What follows the norm.
    """
    x = conv(x, dim, name="conv1", kernel=kernel, stride=stride, bias=norm == "none")
    x = _act(_norm(x, norm, name="bn1"), act)
    return max_pool(x, kernel=3, stride=2, pad=1) if pool == "max" else x


@block(once=True, init="convnext")
def patchify(x: Map, *, patch: Positive = 4, dim: Positive, norm: Local[Norm] = "ln") -> Map:
    """Non-overlapping patches: a convolution whose stride is its kernel, then a norm.

    ConvNeXt's stem; without a norm it is the patch embedding of ViT.
    Source: Liu et al. 2022, arXiv:2201.03545, section 2.2; timm `ConvNeXt.stem`.

    Settings:
        patch: Size of a patch in pixels.
        dim: Output channels.
        norm: What follows the convolution.
    """
    x = conv(x, dim, name="0", kernel=patch, stride=patch, pad=0, bias=norm != "bn")
    return _norm(x, norm, name="1")


@block(once=True)
def norm_act(x: Map, *, norm: Norm = "bn", act: Act = "relu") -> Map:
    """Norm and activation, as they close the body of a pre-activation network such as DenseNet.

    Settings:
        norm: The norm.
        act: What follows it.
    """
    return _act(_norm(x, norm, name="norm"), act)


_norm = norm  # the blocks above name a setting `norm`
_act = act
