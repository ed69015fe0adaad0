"""Blocks between blocks: joining branches, resizing, single norms and activations, no edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from flopwise.blocks import layers, parts
from flopwise.blocks.graph import describe
from flopwise.blocks.layers import Act, resize
from flopwise.blocks.parts import token_norm
from flopwise.blocks.signature import Natural, Positive, Share, block, only
from flopwise.blocks.tensor import Map, Tensor, Tokens, Vec
from flopwise.errors import BlockError

__all__ = [
    "act",
    "add",
    "avgpool",
    "cat_tokens",
    "concat",
    "dropout",
    "global_pool",
    "identity",
    "maxpool",
    "mul",
    "norm",
    "upsample",
    "zero",
]


@block(once=True, absent=True)
def add(*xs: Tensor) -> Tensor:
    """Adds inputs of equal shape; absent ones are left out."""
    total, *others = [x for x in xs if not x.type.absent] or xs[:1]
    _same_shape([total, *others], "add")
    for x in others:
        total = total + x
    return total


@block(once=True)
def mul(*xs: Tensor) -> Tensor:
    """Multiplies inputs of equal shape, element by element."""
    product, *others = xs
    _same_shape(xs, "multiply")
    for x in others:
        product = product * x
    return product


def _same_shape(xs: Sequence[Tensor], verb: str) -> None:
    for x in xs[1:]:
        if x.shape != xs[0].shape or x.kind != xs[0].kind:
            raise BlockError(
                "E301",
                f"cannot {verb} {describe(xs[0].type)} and {describe(x.type)}",
                notes=(f"{'add' if verb == 'add' else 'mul'} needs equal shapes",),
            )


@block(once=True)
def concat(*xs: Tensor) -> Tensor:
    """Joins inputs along their channels."""
    return layers.concat(xs)


@block(once=True)
def cat_tokens(*xs: Tokens) -> Tokens:
    """Joins sequences end to end; the grid of the patches is lost."""
    if len({x.channels for x in xs}) > 1:
        sizes = " with ".join("x".join(map(str, x.shape)) for x in xs)
        raise BlockError("E302", f"cannot join sequences of different channels: {sizes}")
    return resize.cat_tokens(xs)


@block(once=True)
def zero(x: Map | Tokens | Vec) -> Tensor:
    """An edge that is not there: `add` leaves it out, any other block reads zeros."""
    return resize.zero(x)


@block(once=True, absent=True)
def identity(x: Map | Tokens | Vec) -> Tensor:
    """Hands its input on."""
    return x


@block(once=True)
def upsample(
    x: Map, *, scale: Positive = 2, mode: Literal["nearest", "bilinear"] = "nearest"
) -> Map:
    """Enlarges a map.

    Settings:
        scale: Factor of height and width.
        mode: nearest repeats values, bilinear interpolates between them.
    """
    return resize.upsample(x, scale=scale, mode=mode) if scale > 1 else x


@block(once=True)
def maxpool(
    x: Map, *, kernel: Positive = 3, stride: Positive = 1, pad: Natural | None = None
) -> Map:
    """Maximum over windows.

    Settings:
        kernel: Size of the window.
        stride: Step of the window; 2 halves the map.
        pad: Padding on each side; half of kernel - 1 if not written.
    """
    pad = (kernel - 1) // 2 if pad is None else pad
    resize.pooled_size(x, kernel, stride, pad)
    return layers.max_pool(x, kernel=kernel, stride=stride, pad=pad)


@block(once=True)
def avgpool(
    x: Map,
    *,
    to: Positive | None = None,
    kernel: Positive | None = None,
    stride: Positive = 1,
    pad: Natural | None = None,
) -> Map:
    """Average pooling: `to` a square map of some size, or over windows of `kernel`.

    Settings:
        to: Height and width of the output; they divide the input's.
        kernel: Size of the window; padding does not count in the mean.
        stride: Step of the window; 2 halves the map.
        pad: Padding on each side; half of kernel - 1 if not written.
    """
    if (to is None) == (kernel is None):
        fact = "avgpool needs 'to' or 'kernel'" if to is None else "avgpool takes 'to' or 'kernel'"
        helps = ("write  to: 7  for a map of 7x7, or  kernel: 3, stride: 2  for windows",)
        raise BlockError("E320", fact, setting="" if to is None else "kernel", helps=helps)
    if to is not None:
        return _pool_to(x, to)
    assert kernel is not None
    pad = (kernel - 1) // 2 if pad is None else pad
    if pad:
        return resize.padded_avg_pool(x, kernel=kernel, stride=stride, pad=pad)
    return layers.avg_pool(x, kernel=kernel, stride=stride)


def _pool_to(x: Map, to: int) -> Map:
    stride = x.height // to
    if x.height != x.width or to * stride != x.height:
        raise BlockError(
            "E312",
            f"a map of {x.height}x{x.width} cannot be pooled to {to}x{to}",
            setting="to",
            helps=(f"sizes that work: {', '.join(map(str, _divisors(x.height)))}",),
        )
    return layers.avg_pool(x, kernel=stride, stride=stride)


def _divisors(size: int) -> list[int]:
    return [each for each in range(1, size + 1) if size % each == 0]


@block(once=True)
def global_pool(x: Map | Tokens) -> Vec:
    """Averages all positions to one vector; class tokens are left out."""
    y = layers.token_mean(x) if isinstance(x, Tokens) else layers.global_mean(x)
    assert isinstance(y, Vec)
    return y


@block(once=True)
def norm(
    x: Map | Tokens | Vec,
    *,
    norm: Literal["bn", "ln", "rms"] = "bn",
    eps: Annotated[Share, only("norm", "ln", "rms")] = 1e-6,
) -> Tensor:
    """One norm.

    Settings:
        norm: bn is batch norm, for maps only; ln is layer norm; rms leaves out its mean and bias.
        eps: Added to the variance in a norm of the channels.
    """
    if isinstance(x, Map) and norm != "rms":
        return _norm(x, norm, name="norm", eps=eps)
    if norm == "bn":
        raise BlockError(
            "E322",
            f"batch norm is for maps, and this is {describe(x.type)}",
            setting="norm",
            helps=("write  norm: ln",),
        )
    if isinstance(x, Map):
        raise BlockError(
            "E322",
            "rms is for tokens and vectors, and this is a map",
            setting="norm",
            helps=("write  norm: ln",),
        )
    return token_norm(x, norm, name="norm", eps=eps)


@block(once=True)
def act(x: Map | Tokens | Vec, *, act: Act = "relu") -> Tensor:
    """One activation function.

    Settings:
        act: Its name.
    """
    return _act(x, act)


@block(once=True)
def dropout(x: Map | Tokens | Vec) -> Tensor:
    """Dropout at the rate that `train: {dropout: ...}` says."""
    return layers.dropout(x, name="drop")


_norm, _act = parts.norm, layers.act  # the blocks above name settings so
