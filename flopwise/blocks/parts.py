"""Pieces that several families share: norm by name, squeeze and excitation, the two-layer MLP."""

from __future__ import annotations

from typing import Literal, TypeVar

from flopwise.blocks.layers import act, batch_norm, conv, global_mean, layer_norm, linear
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map, Tensor
from flopwise.errors import BlockError

__all__ = ["Norm", "keep_width", "mlp", "norm", "projection", "se_module"]

Norm = Literal["bn", "ln", "none"]
T = TypeVar("T", bound=Tensor)


def norm(x: Map, how: str, *, name: str, init: str = "") -> Map:
    """Batch norm, layer norm over the channels, or nothing."""
    if how == "bn":
        return batch_norm(x, name=name, init=init)
    return layer_norm(x, name=name) if how == "ln" else x


def keep_width(x: Tensor, dim: int | None, block: str, mend: str) -> None:
    """Refuses a width that a block without a projection cannot give; `mend` says what could.

    Raises:
        BlockError: if `dim` is not the number of channels the block gets.
    """
    if dim and dim != x.channels:
        raise BlockError(
            "E313",
            f"{block} keeps its width: it gets {x.channels} channels and dim says {dim}",
            setting="dim",
            helps=(f"{mend}, or dim: {x.channels}",),
        )


@piece
def se_module(x: Map, *, ratio: float) -> Map:
    """Squeeze and excitation: channels weighted by a two-layer gate on their means.

    The hidden width is `ratio * channels` rounded to a multiple of 8, as timm does.
    Source: Hu et al. 2018, arXiv:1709.01507, fig. 2; timm `SEModule`.
    """
    hidden = max(8, int(x.channels * ratio + 4) // 8 * 8)
    y: Map = global_mean(x, keep=True)  # type: ignore[assignment]  # keep=True leaves a map
    y = act(conv(y, hidden, name="fc1", kernel=1), "relu")
    y = act(conv(y, x.channels, name="fc2", kernel=1), "sigmoid")
    return x * y


@piece
def mlp(x: T, *, hidden: int, function: str) -> T:
    """Two linear layers with an activation between them."""
    y = act(linear(x, hidden, name="fc1"), function)
    return linear(y, x.channels, name="fc2")


@piece
def projection(x: Map, *, dim: int, stride: int, how: str) -> Map:
    """The shortcut of a residual block that changes shape: 1x1 convolution and norm."""
    x = conv(x, dim, name="0", kernel=1, stride=stride, bias=how == "none")
    return norm(x, how, name="1")
