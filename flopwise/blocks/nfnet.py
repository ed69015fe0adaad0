"""NFNet: residual blocks without normalisation."""

from __future__ import annotations

from functools import partial
from typing import Literal

from flopwise.blocks import layers
from flopwise.blocks.layers import drop_path, gamma_act, parameter, shrink, times
from flopwise.blocks.parts import eca_module, one_gate, se_module
from flopwise.blocks.signature import First, Odd, Positive, Rate, Share, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map

__all__ = ["GAMMAS", "downsample", "nfnet", "nfnet_stem", "std_conv_block", "std_stem"]

Act = Literal[
    "relu", "relu6", "gelu", "gelu_tanh", "silu", "hardswish", "tanh", "sigmoid", "none"
]  # those with a constant below
Gamma = Literal["act", "conv"]
Pad = Literal["same", "even"]

# 1 / the standard deviation of act(z), z standard normal; source: DeepMind's nfnets/base.py,
# but hardswish, which was integrated. Theirs of gelu is that of its tanh approximation.
GAMMAS: dict[str, float] = {
    "none": 1.0,
    "gelu": 1.7015043497085571,
    "gelu_tanh": 1.7015043497085571,
    "hardswish": 1.8138714738,
    "relu": 1.7139588594436646,
    "relu6": 1.7131484746932983,
    "sigmoid": 4.803835391998291,
    "silu": 1.7881293296813965,
    "tanh": 1.5939117670059204,
}


@block(once=True, init="nfnet")
def nfnet_stem(
    x: Map,
    *,
    dim: Positive = 128,
    hidden: Positive | None = None,
    act: Act = "gelu",
    gamma: Gamma = "act",
    pad: Pad = "same",
) -> Map:
    """The stem of NFNet: four 3x3 convolutions, the first and the last with stride 2.

    No activation follows the last.
    Source: Brock et al. 2021, arXiv:2102.06171, section 4.1; timm `create_stem`, `deep_quad`.

    Settings:
        dim: Output channels.
        hidden: Channels of the third convolution, half of `dim` if not written; the second has
            half of them and the first a quarter.
        act: Activation function between the convolutions.
        gamma: Where the constant of the activation stands, on it or on the weights after it.
        pad: same pads as TensorFlow does; even pads both sides alike.
    """
    hidden = hidden or max(1, dim // 2)
    widths = (max(1, hidden // 4), max(1, hidden // 2), hidden, dim)
    conv = partial(layers.std_conv, kernel=3, same=pad == "same", gamma=_on_weights(act, gamma))
    for number, (width, stride) in enumerate(zip(widths, (2, 1, 1, 2), strict=True), start=1):
        x = conv(
            x if number == 1 else _act(x, act, gamma), width, name=f"conv{number}", stride=stride
        )
    return x


@block(once=True, init="nfnet")
def std_stem(
    x: Map,
    *,
    dim: Positive = 64,
    kernel: Odd = 7,
    stride: Positive = 2,
    pool: Literal["max", "none"] = "max",
    act: Act = "relu",
    gamma: Gamma = "act",
    pad: Pad = "same",
) -> Map:
    """One strided standardised convolution and 3x3/2 max pooling; no activation follows.

    Source: Brock et al. 2021, arXiv:2101.08692, section 4.1; timm `create_stem`, `7x7_pool`.

    Settings:
        dim: Output channels.
        kernel: Size of the convolution, odd.
        stride: Step of the convolution.
        pool: Whether 3x3 max pooling with stride 2 follows.
        act: The activation of the network, whose constant the weights may carry.
        gamma: Where the constant of the activation stands, on it or on the weights before it.
        pad: same pads as TensorFlow does; even pads both sides alike.
    """
    weights = _on_weights(act, gamma)
    conv = partial(layers.std_conv, kernel=kernel, same=pad == "same", gamma=weights)
    y = conv(x, dim, name="conv", stride=stride)
    return layers.max_pool(y, kernel=3, stride=2, pad=1) if pool == "max" else y


@block(init="nfnet")
def nfnet(
    x: Map,
    *,
    dim: Positive | None = None,
    hidden: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    group_width: Positive = 128,
    second: bool = True,
    se: Rate = 0.5,
    gate: Literal["end", "middle"] = "end",
    eca: bool = False,
    alpha: Share = 0.2,
    skipinit: bool = True,
    act: Act = "gelu",
    gamma: Gamma = "act",
    pad: Pad = "same",
) -> Map:
    """NFNet block: x + alpha * f(x * beta), a bottleneck of standardised convolutions.

    beta is 1 over the expected standard deviation of x, which grows by alpha^2 a block and starts
    anew where the shortcut projects. The constants keep the variance at the start.
    Source: Brock et al. 2021, arXiv:2102.06171, section 4.1 and fig. 3; timm `NormFreeBlock`.

    Settings:
        dim: Output channels; the input's if not written.
        hidden: Inner channels; half of the output's if not written.
        kernel: Size of the spatial convolutions, odd.
        stride: Step of the first spatial convolution of the first repetition.
        group_width: Channels of a group of the spatial convolutions.
        second: Whether a second spatial convolution follows the first.
        se: Squeeze-and-excitation ratio; 0 is none. Its output is doubled.
        gate: Where that stands: at the end of the branch, or before its last convolution.
        eca: Efficient channel attention at the end of the branch, doubled too.
        alpha: Weight of the branch.
        skipinit: Whether a learned number that starts at 0 weighs the branch too.
        act: Activation function.
        gamma: Where the constant of the activation stands, on it or on the weights after it.
        pad: same pads as TensorFlow does; even pads both sides alike.
    """
    one_gate(se, eca)
    dim = dim or x.channels
    hidden = hidden or max(1, dim // 2)
    on_weights, expected = _on_weights(act, gamma), x.type.variance
    conv = partial(layers.std_conv, same=pad == "same", gamma=on_weights)
    y = times(_act(x, act, gamma), 1 / expected**0.5, name="beta")
    if stride != 1 or x.channels != dim:
        x = downsample(y, name="downsample", dim=dim, stride=stride, gamma=on_weights)
        expected = 1.0
    y = conv(y, hidden, name="conv1", kernel=1)
    groups = max(1, hidden // group_width)
    for name, step in (("conv2", stride), ("conv2b", 1))[: 2 if second else 1]:
        y = conv(_act(y, act, gamma), hidden, name=name, kernel=kernel, stride=step, groups=groups)
    last = "" if skipinit else "zero_gain"
    if se and gate == "middle":
        y = times(se_module(y, name="attn", ratio=se), 2.0, name="attn_gain")
    y = conv(_act(y, act, gamma), dim, name="conv3", kernel=1, init=last)
    if eca or (se and gate == "end"):
        weigh = eca_module if eca else partial(se_module, ratio=se)
        y = times(weigh(y, name="attn_last"), 2.0, name="attn_gain")
    y = drop_path(y)
    if skipinit:
        y = y * parameter(y, (), name="skipinit_gain", init=0.0)
    y = times(y, alpha, name="alpha") + x
    return y.trace.note(y, variance=expected + alpha**2)


@block(name="std_conv", once=True, init="nfnet")
def std_conv_block(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 1,
    stride: Positive = 1,
    groups: Positive = 1,
    act: Act = "gelu",
    gamma: Gamma = "act",
    pad: Pad = "same",
) -> Map:
    """Convolution with scaled weight standardisation, then an activation that keeps its variance.

    Source: Brock et al. 2021, arXiv:2101.08692, section 4.1; timm `NormFreeNet.final_conv`.

    Settings:
        dim: Output channels; the input's if not written.
        kernel: Size of the window, odd.
        stride: Step of the convolution.
        groups: Channel groups.
        act: Activation function.
        gamma: Where the constant of the activation stands, on it or on the weights before it.
        pad: same pads as TensorFlow does; even pads both sides alike.
    """
    y = layers.std_conv(
        x,
        dim or x.channels,
        name="conv",
        kernel=kernel,
        stride=stride,
        groups=groups,
        same=pad == "same",
        gamma=_on_weights(act, gamma),
    )
    return _act(y, act, gamma)


@piece
def downsample(x: Map, *, dim: int, stride: int, gamma: float) -> Map:
    """The shortcut of a block that changes shape: average pooling, then a 1x1 convolution."""
    x = shrink(x, stride=stride) if stride > 1 else x
    return layers.std_conv(x, dim, name="conv", kernel=1, gamma=gamma)


def _act(x: Map, function: str, gamma: str) -> Map:
    if gamma == "conv" or function == "none":
        return layers.act(x, function)
    return gamma_act(x, function, gamma=GAMMAS[function])


def _on_weights(function: str, gamma: str) -> float:
    """The constant that a convolution's weights carry."""
    return GAMMAS[function] if gamma == "conv" else 1.0
