"""Plain convolutional blocks and stems."""

from __future__ import annotations

from typing import Annotated, Literal

from flopwise.blocks.layers import Act, act, avg_pool, conv, max_pool
from flopwise.blocks.parts import Norm, norm, positive_widths
from flopwise.blocks.signature import First, Local, Odd, Positive, Share, block, only
from flopwise.blocks.stage import piece
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
    deep: tuple[int, ...] = (),
    pool: Literal["max", "avg", "conv", "none"] = "max",
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """The stem of ResNet: a large strided convolution, norm, activation, 3x3/2 max pooling.

    That of ResNet-D is `kernel: 3, deep: [32, 32]`.
    Source: He et al. 2016, arXiv:1512.03385, table 1; He et al. 2019, arXiv:1812.01187, fig. 2b;
    timm `ResNet.conv1`.

    Settings:
        dim: Output channels.
        kernel: Size of the convolution, odd.
        stride: Step of the convolution, the first one if there are several.
        deep: Output channels of further convolutions before it, each with norm and activation.
        pool: What halves the map at the end: 3x3 max pooling, 2x2 average pooling, a 3x3
            convolution with norm and activation, or nothing.
        norm: What follows each convolution.
        act: What follows the norm.
    """
    if deep:
        widths = (*positive_widths(deep), dim)
        y = _deep(x, name="conv1", widths=widths, window=(kernel, stride), how=norm, act=act)
    else:
        y = conv(x, dim, name="conv1", kernel=kernel, stride=stride, bias=norm == "none")
    y = _act(_norm(y, norm, name="bn1"), act)
    if pool == "conv":
        return _halved(y, name="maxpool", how=norm, act=act)
    if pool == "avg":
        return avg_pool(y, kernel=2, stride=2)
    return max_pool(y, kernel=3, stride=2, pad=1) if pool == "max" else y


@block(once=True, init="convnext")
def patchify(
    x: Map,
    *,
    patch: Positive = 4,
    dim: Positive,
    norm: Local[Norm] = "ln",
    eps: Annotated[Share, only("norm", "ln")] = 1e-6,
) -> Map:
    """Non-overlapping patches: a convolution whose stride is its kernel, then a norm.

    ConvNeXt's stem; without a norm it is the patch embedding of ViT.
    Source: Liu et al. 2022, arXiv:2201.03545, section 2.2; timm `ConvNeXt.stem`.

    Settings:
        patch: Size of a patch in pixels.
        dim: Output channels.
        norm: What follows the convolution.
        eps: Added to the variance in a layer norm.
    """
    x = conv(x, dim, name="0", kernel=patch, stride=patch, pad=0, bias=norm != "bn")
    return _norm(x, norm, name="1", eps=eps)


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


@piece
def _deep(x: Map, *, widths: tuple[int, ...], window: tuple[int, int], how: str, act: str) -> Map:
    """Convolutions with norm and activation between them; the first has the stride."""
    kernel, stride = window
    count = 0
    for number, width in enumerate(widths):
        if number:
            x, count = _closed(x, count, how, act)
        step = 1 if number else stride
        x = conv(x, width, name=str(count), kernel=kernel, stride=step, bias=how == "none")
        count += 1
    return x


@piece
def _halved(x: Map, *, how: str, act: str) -> Map:
    """A 3x3 convolution with stride 2, norm and activation, in the place of a pooling."""
    y = conv(x, x.channels, name="0", kernel=3, stride=2, bias=how == "none")
    return _closed(y, 1, how, act)[0]


def _closed(x: Map, count: int, how: str, act: str) -> tuple[Map, int]:
    """Norm and activation in a numbered chain that has `count` layers, and how many it has then."""
    x = _norm(x, how, name=str(count))
    count += how != "none"
    return _act(x, act, name=str(count)), count + (act != "none")
