"""The residual blocks of ResNet, ResNeXt, Wide-ResNet, SE-ResNet, and the road to ConvNeXt."""

from __future__ import annotations

from typing import Annotated, Literal

from flopwise.blocks import layers, parts
from flopwise.blocks.ghost import ghost_module
from flopwise.blocks.layers import Act, avg_pool, conv, drop_path, parameter
from flopwise.blocks.parts import Norm, eca_module, keep_width, one_gate, projection, se_module
from flopwise.blocks.signature import First, Odd, Positive, Rate, Share, block, only
from flopwise.blocks.tensor import Map

__all__ = ["basic", "downsample", "residual"]


@block(init="resnet")
def basic(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    shortcut: Literal["conv", "pool"] = "conv",
    shrink: Literal["conv", "pool"] = "conv",
    se: Rate = 0.0,
    se_divisor: Annotated[Positive, only("se")] = 8,
    se_hidden: Annotated[Positive | None, only("se")] = None,
    eca: bool = False,
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
        shortcut: How the shortcut changes its shape: a 1x1 convolution with the stride, or average
            pooling before one without (ResNet-D).
        shrink: What makes the map smaller: the stride of the convolution, or 2x2 average pooling
            behind it.
        se: Squeeze-and-excitation ratio; 0 is none.
        se_divisor: What the hidden width of squeeze and excitation is a multiple of.
        se_hidden: That width itself; `se * dim`, rounded, if not written.
        eca: Efficient channel attention after the last norm.
        norm: What follows each convolution.
        act: Activation function.
    """
    one_gate(se, eca)
    dim, plain = dim or x.channels, norm == "none"
    step = 1 if shrink == "pool" else stride
    y = conv(x, dim, name="conv1", kernel=kernel, stride=step, bias=plain)
    y = _pooled(layers.act(parts.norm(y, norm, name="bn1"), act), stride, shrink)
    y = conv(y, dim, name="conv2", kernel=kernel, bias=plain)
    y = parts.norm(y, norm, name="bn2", init="zeros")
    y = _attended(y, se, se_divisor, se_hidden, eca)
    return _join(x, y, stride, norm, act, shortcut)


def downsample(
    x: Map,
    *,
    dim: Positive | None = None,
    stride: First[Positive] = 1,
    downsample: Literal["shortcut", "separate"] = "shortcut",
    norm: Norm = "bn",
) -> Map:
    """The separate layer between stages: norm, then a convolution whose kernel is its stride.

    Source: Liu et al. 2022, arXiv:2201.03545, section 2.6 "Separate downsampling layers".
    """
    if downsample == "shortcut" or stride == 1:
        return x
    x = parts.norm(x, norm, name="0")
    name = "0" if norm == "none" else "1"
    return conv(x, dim or x.channels, name=name, kernel=stride, stride=stride, pad=0)


@block(entry=downsample, init="resnet")
def residual(
    x: Map,
    *,
    dim: Positive | None = None,
    hidden: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    groups: Annotated[Positive, only("spatial", "dense")] = 1,
    spatial: Literal["dense", "depthwise", "ghost"] = "dense",
    order: Literal["middle", "first"] = "middle",
    acts: Literal["all", "one"] = "all",
    norms: Literal["all", "one"] = "all",
    downsample: Literal["shortcut", "separate"] = "shortcut",
    shortcut: Literal["conv", "pool"] = "conv",
    shrink: Literal["conv", "pool"] = "conv",
    layer_scale: Share = 0.0,
    se: Rate = 0.0,
    se_divisor: Annotated[Positive, only("se")] = 8,
    se_hidden: Annotated[Positive | None, only("se")] = None,
    gate: Annotated[Literal["end", "middle"], only("se")] = "end",
    eca: bool = False,
    norm: Norm = "bn",
    act: Act = "relu",
) -> Map:
    """Bottleneck: 1x1 to the hidden width, a spatial convolution, 1x1 to the output, shortcut.

    The stride sits on the spatial convolution (ResNet v1.5); the shortcut projects where the
    shape changes. Its settings lead step by step to the block of ConvNeXt, which is
    `spatial: depthwise, order: first, kernel: 7, act: gelu, acts: one, norms: one, norm: ln,
    downsample: separate` with a hidden width of four times the output's.
    Source: He et al. 2016, arXiv:1512.03385, fig. 5 right; timm `Bottleneck`. The steps: Liu et
    al. 2022, arXiv:2201.03545, sections 2.3 to 2.6 and tables 10 and 11.

    Settings:
        dim: Output channels; the input's if not written.
        hidden: Inner channels; a quarter of the output's if not written.
        kernel: Size of the spatial convolution, odd.
        stride: Step of the spatial convolution of the first repetition.
        groups: Channel groups of the spatial convolution, where it is dense.
        spatial: dense mixes the channels of a group; depthwise has one filter per channel; ghost is
            a ghost module, which brings its own batch norms.
        order: middle puts the spatial convolution between the 1x1 ones; first puts it on the
            block's input.
        acts: all activates after every convolution but the last and after the sum; one only
            before the last convolution.
        norms: all normalises after every convolution; one only after the spatial one.
        downsample: shortcut strides inside the first block; separate puts a norm and a
            convolution with the stride before it, so that no shortcut projects.
        shortcut: How the shortcut changes its shape: a 1x1 convolution with the stride, or average
            pooling before one without (ResNet-D).
        shrink: What makes the map smaller: the stride of the convolution, or 2x2 average pooling
            behind it.
        layer_scale: Initial value of a learned scale of the branch; 0 leaves it out.
        se: Squeeze-and-excitation ratio; 0 is none.
        se_divisor: What the hidden width of squeeze and excitation is a multiple of.
        se_hidden: That width itself; `se` times the channels of the output, or of the input for
            middle, rounded, if not written.
        gate: Where squeeze and excitation stands: behind the last norm, or before the last
            convolution (RegNetY).
        eca: Efficient channel attention after the last norm.
        norm: What follows each convolution.
        act: Activation function.
    """
    if downsample == "separate":
        keep_width(x, dim, "residual", "write stride: 2 to downsample before the first block")
        stride = 1
    one_gate(se, eca)
    dim = dim or x.channels
    hidden = hidden or max(1, dim // 4)
    middle, step = order == "middle", 1 if shrink == "pool" else stride
    y = x
    for number, width in enumerate((hidden if middle else x.channels, hidden, dim), start=1):
        name, mixes = f"conv{number}", number == (2 if middle else 1)
        if number == 3 and gate == "middle":
            y = _attended(y, se, se_divisor, se_hidden, False, of=x.channels)
        if mixes and spatial == "ghost":
            y = ghost_module(y, name=name, dim=width, kernel=kernel, stride=stride, function=act)
            continue
        bias = norm == "none" or (norms == "one" and (norm == "ln" or not mixes))
        if mixes:
            own = width if spatial == "depthwise" else groups
            y = conv(y, width, name=name, kernel=kernel, stride=step, groups=own, bias=bias)
        else:
            y = conv(y, width, name=name, kernel=1, bias=bias)
        if mixes or norms == "all":
            y = parts.norm(y, norm, name=f"bn{number}", init="zeros" if number == 3 else "")
        if number == 2 or (number == 1 and acts == "all"):
            y = layers.act(y, act)
        if mixes:
            y = _pooled(y, stride, shrink)
    if layer_scale:
        y = y * parameter(y, (dim, 1, 1), name="gamma", init=layer_scale)
    y = _attended(y, 0.0 if gate == "middle" else se, se_divisor, se_hidden, eca)
    last = ("none" if norms == "one" else norm, "none" if acts == "one" else act)
    return _join(x, y, stride, *last, shortcut)


def _attended(
    y: Map, se: float, divisor: int, hidden: int | None, eca: bool, *, of: int = 0
) -> Map:
    """Weighs the channels of a branch; timm calls either module `se`.

    The hidden width is a share of `of` channels, those of the branch if 0.
    """
    if eca:
        return eca_module(y, name="se")
    ratio = se * (of or y.channels) / y.channels
    return se_module(y, name="se", ratio=ratio, divisor=divisor, hidden=hidden) if se else y


def _pooled(x: Map, stride: int, shrink: str) -> Map:
    return avg_pool(x, kernel=stride, stride=stride) if shrink == "pool" and stride > 1 else x


def _join(x: Map, y: Map, stride: int, norm: str, act: str, shortcut: str) -> Map:
    """Adds the branch `y` to the shortcut from `x` and activates the sum."""
    y = drop_path(y)
    if stride != 1 or x.channels != y.channels:
        pooled = shortcut == "pool"
        x = projection(x, name="downsample", dim=y.channels, stride=stride, how=norm, pooled=pooled)
    return layers.act(y + x, act)
