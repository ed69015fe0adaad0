"""Modules of the layer kinds that PyTorch lacks, or that timm has in a form fx cannot trace.

Like the runtime, this file imports torch and timm only and never flopwise.
"""

from __future__ import annotations

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StdConv2d", "WeightStdConv2d", "max_pool_same", "pad_same"]


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pads a map so that a convolution puts out ceil(size / stride) rows and columns."""
    height, width = x.shape[-2], x.shape[-1]
    rows = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    columns = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    sides = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    return F.pad(x, sides, value=value)


torch.fx.wrap("pad_same")  # what it pads depends on the size, which a trace does not know


def max_pool_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Maximum over windows of a map that is padded as TensorFlow does."""
    return F.max_pool2d(pad_same(x, kernel, stride, float("-inf")), kernel, stride)


class WeightStdConv2d(nn.Conv2d):
    """Convolution whose filters are brought to mean 0 and variance 1.

    `same` pads as TensorFlow does.
    Source: Qiao et al. 2019, arXiv:1903.10520, eq. 11; timm `StdConv2dSame` and `StdConv2d`.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        kernel: int,
        stride: int = 1,
        same: bool = True,
        eps: float = 1e-8,
    ) -> None:
        self.same_pad = same and stride > 1
        pad = 0 if self.same_pad else kernel // 2
        super().__init__(channels, dim, kernel, stride=stride, padding=pad, bias=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, dim, H', W')."""
        if self.same_pad:
            x = pad_same(x, self.kernel_size[0], self.stride[0])
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            training=True,
            momentum=0.0,
            eps=self.eps,
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StdConv2d(nn.Conv2d):
    """Convolution with scaled weight standardisation.

    Source: Brock et al. 2021, arXiv:2101.08692, section 4.1; timm `ScaledStdConv2dSame`.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        same: bool = True,
        gamma: float = 1.0,
    ) -> None:
        even = stride == 1 or not same  # the same padding on both sides
        pad = kernel // 2 if even else 0
        super().__init__(channels, dim, kernel, stride=stride, padding=pad, groups=groups)
        self.padded = not even
        self.scale = gamma * self.weight[0].numel() ** -0.5  # 1 / sqrt(fan_in)
        self.gain = nn.Parameter(self.weight.new_ones(dim, 1, 1, 1))

    def reset_parameters(self) -> None:
        """Starts the weights as a convolution does, and the gains at 1."""
        super().reset_parameters()
        if hasattr(self, "gain"):  # the parent's constructor comes here first
            nn.init.ones_(self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, dim, H', W')."""
        if self.padded:
            x = pad_same(x, self.kernel_size[0], self.stride[0])
        weight = F.batch_norm(  # over the fan-in of each filter
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            weight=(self.gain * self.scale).view(-1),
            training=True,
            momentum=0.0,
            eps=1e-5,
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
