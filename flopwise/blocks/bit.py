"""The convolutional stages of the hybrid ViT: ResNet with standardised weights and group norm."""

from __future__ import annotations

from flopwise.blocks.layers import Act, act, group_norm, max_pool_same, weight_std_conv
from flopwise.blocks.signature import First, Odd, Positive, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map

__all__ = ["bit", "bit_stem"]


@block(once=True, init="resnet")
def bit_stem(x: Map, *, dim: Positive = 64, kernel: Odd = 7, act: Act = "relu") -> Map:
    """A convolution with stride 2, group norm, activation, 3x3/2 max pooling, padded as TensorFlow.

    Source: Kolesnikov et al. 2020, arXiv:1912.11370, section 3.3; timm `create_resnetv2_stem`.

    Settings:
        dim: Output channels.
        kernel: Size of the convolution, odd.
        act: What follows the norm.
    """
    y = weight_std_conv(x, dim, name="conv", kernel=kernel, stride=2)
    return max_pool_same(_act(group_norm(y, name="norm"), act), kernel=3, stride=2)


@block(init="resnet")
def bit(
    x: Map,
    *,
    dim: Positive | None = None,
    hidden: Positive | None = None,
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    act: Act = "relu",
) -> Map:
    """The bottleneck of ResNet-50 with weight standardisation and group norm.

    The first repetition of a stage projects its shortcut where the shape changes. As in the hybrid
    ViT there is no stochastic depth.
    Source: Kolesnikov et al. 2020, arXiv:1912.11370, section 3.3; Dosovitskiy et al. 2021,
    arXiv:2010.11929, section 3.1 "Hybrid Architecture"; timm `resnetv2.Bottleneck`.

    Settings:
        dim: Output channels; the input's if not written.
        hidden: Inner channels; a quarter of the output's if not written.
        kernel: Size of the spatial convolution, odd.
        stride: Step of the spatial convolution of the first repetition.
        act: Activation function.
    """
    dim = dim or x.channels
    hidden = hidden or max(1, dim // 4)
    y = weight_std_conv(x, hidden, name="conv1", kernel=1)
    y = _act(group_norm(y, name="norm1"), act)
    y = weight_std_conv(y, hidden, name="conv2", kernel=kernel, stride=stride)
    y = _act(group_norm(y, name="norm2"), act)
    y = group_norm(weight_std_conv(y, dim, name="conv3", kernel=1), name="norm3", init="zeros")
    if stride != 1 or x.channels != dim:
        x = _projection(x, name="downsample", dim=dim, stride=stride)
    return _act(y + x, act)


@piece
def _projection(x: Map, *, dim: int, stride: int) -> Map:
    """The shortcut that changes shape: 1x1 convolution and norm."""
    return group_norm(weight_std_conv(x, dim, name="conv", kernel=1, stride=stride), name="norm")


_act = act  # the blocks above name a setting `act`
