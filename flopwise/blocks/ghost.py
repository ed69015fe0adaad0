"""GhostNet: half of the channels from a convolution, the other half from cheap filters on them."""

from __future__ import annotations

from flopwise.blocks import layers
from flopwise.blocks.layers import Act, batch_norm, concat, conv, first_channels
from flopwise.blocks.parts import depthwise, se_module
from flopwise.blocks.signature import First, Odd, Positive, Rate, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map

__all__ = ["ghost", "ghost_conv", "ghost_module"]


@block(init="ghost")
def ghost(
    x: Map,
    *,
    dim: Positive | None = None,
    hidden: Positive,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    ratio: Positive = 2,
    cheap: Odd = 3,
    se: Rate = 0.0,
    act: Act = "relu",
) -> Map:
    """Ghost bottleneck: a ghost module to the hidden width, one back, and a shortcut.

    A strided block has a depthwise convolution between the modules, and where the shape changes
    the shortcut is a depthwise and a 1x1 convolution.
    Source: Han et al. 2020, arXiv:1911.11907, fig. 3; timm `GhostBottleneck`.

    Settings:
        dim: Output channels; the input's if not written.
        hidden: Channels between the two modules.
        kernel: Size of the depthwise convolutions of a strided block and its shortcut, odd.
        stride: Step of the first repetition.
        ratio: Output channels over those that the modules' first convolution makes.
        cheap: Size of the modules' cheap filters, odd.
        se: Squeeze-and-excitation ratio between the modules; 0 is none.
        act: Activation function.
    """
    dim = dim or x.channels
    y = ghost_module(x, name="ghost1", dim=hidden, ratio=ratio, cheap=cheap, function=act)
    if stride > 1:
        y = depthwise(y, name="conv_dw", kernel=kernel, stride=stride, bias=False)
        y = batch_norm(y, name="bn_dw")
    if se:
        y = se_module(
            y,
            name="se",
            ratio=se,
            divisor=4,
            least=0.9,
            gate="hard_sigmoid",
            names=("conv_reduce", "conv_expand"),
        )
    y = ghost_module(y, name="ghost2", dim=dim, ratio=ratio, cheap=cheap, function="none")
    if stride > 1 or dim != x.channels:
        x = _shortcut(x, name="shortcut", dim=dim, kernel=kernel, stride=stride)
    return y + x


@block(name="ghost_conv", init="ghost")
def ghost_conv(
    x: Map,
    *,
    dim: Positive | None = None,
    kernel: Odd = 1,
    stride: First[Positive] = 1,
    ratio: Positive = 2,
    cheap: Odd = 3,
    act: Act = "relu",
) -> Map:
    """Ghost module: a convolution makes some channels, cheap filters on each make the others.

    Source: Han et al. 2020, arXiv:1911.11907, eq. 3 and 4; timm `GhostModule`.

    Settings:
        dim: Output channels; the input's if not written.
        kernel: Size of the first convolution, odd.
        stride: Step of the first convolution of the first repetition.
        ratio: Output channels over those that the first convolution makes.
        cheap: Size of the cheap filters, odd.
        act: Activation function after both.
    """
    return _ghosts(x, dim or x.channels, kernel, stride, ratio, cheap, act)


@piece
def ghost_module(
    x: Map,
    *,
    dim: int,
    function: str,
    kernel: int = 1,
    stride: int = 1,
    ratio: int = 2,
    cheap: int = 3,
) -> Map:
    """Ghost module: a convolution makes some channels, cheap filters make the others."""
    return _ghosts(x, dim, kernel, stride, ratio, cheap, function)


def _ghosts(
    x: Map, dim: int, kernel: int, stride: int, ratio: int, cheap: int, function: str
) -> Map:
    own = -(-dim // ratio)
    y = _conv_norm(x, name="primary_conv", dim=own, kernel=kernel, stride=stride, groups=1)
    y = layers.act(y, function)
    if ratio == 1:
        return y
    z = _conv_norm(
        y, name="cheap_operation", dim=own * (ratio - 1), kernel=cheap, stride=1, groups=own
    )
    both: Map = concat((y, layers.act(z, function)))  # type: ignore[assignment]  # maps
    return first_channels(both, dim) if both.channels > dim else both


@piece
def _conv_norm(x: Map, *, dim: int, kernel: int, stride: int, groups: int) -> Map:
    """Convolution and batch norm."""
    y = conv(x, dim, name="0", kernel=kernel, stride=stride, groups=groups, bias=False)
    return batch_norm(y, name="1")


@piece
def _shortcut(x: Map, *, dim: int, kernel: int, stride: int) -> Map:
    """The shortcut of a ghost bottleneck that changes shape: depthwise, then 1x1."""
    x = depthwise(x, name="0", kernel=kernel, stride=stride, bias=False)
    x = batch_norm(x, name="1")
    return batch_norm(conv(x, dim, name="2", kernel=1, bias=False), name="3")
