"""The blocks of CoAtNet on maps: an inverted residual behind its norm, and a transformer block."""

from __future__ import annotations

from math import trunc
from typing import Annotated, Literal

from flopwise.blocks import layers
from flopwise.blocks.attention import layer_scale
from flopwise.blocks.layers import (
    Act,
    attend,
    avg_pool,
    batch_norm,
    channels_first,
    channels_last,
    conv,
    drop_path,
    layer_norm,
    map_heads,
    max_pool,
    near_map,
)
from flopwise.blocks.parts import depthwise, divisible, keep_width, se_module
from flopwise.blocks.relative import Relative, relative_position
from flopwise.blocks.signature import First, Odd, Positive, Rate, Share, block, only
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map
from flopwise.errors import BlockError

__all__ = ["map_vit", "mbconv"]

Pool = Literal["avg", "max"]


@block(init="mbconv")
def mbconv(
    x: Map,
    *,
    dim: Positive | None = None,
    expand: Share = 4.0,
    expand_from: Literal["output", "input"] = "output",
    kernel: Odd = 3,
    stride: First[Positive] = 1,
    shrink: First[Literal["spatial", "expand", "pool"]] = "spatial",
    pool: First[Pool] = "avg",
    bias: bool = True,
    pre_act: bool = False,
    se: Rate = 0.25,
    se_act: Annotated[Act, only("se")] = "silu",
    se_first: Annotated[bool, only("se")] = False,
    act: Act = "gelu",
) -> Map:
    """Pre-norm inverted residual: norm, 1x1 to more channels, depthwise convolution, gate, 1x1.

    The shortcut is pooled where the stage has a stride, and projected where the width changes.
    Source: Dai et al. 2021, arXiv:2106.04803, appendix A.1; timm `MbConvBlock` of MaxxViT.

    Settings:
        dim: Output channels; the input's if not written.
        expand: Inner channels over the output's, rounded to a multiple of 8.
        expand_from: Whether `expand` and `se` count from the output, or `expand` from the input and
            `se` from the inner channels.
        kernel: Size of the depthwise convolution, odd.
        stride: Factor by which the first repetition shrinks the map.
        shrink: What has the stride in the branch: the depthwise convolution, the first 1x1
            convolution, or average pooling before it.
        pool: Pooling of the shortcut: windows as large as the stride, or the largest of 3x3.
        bias: Whether the last convolution and that of the shortcut have a bias.
        pre_act: Whether an activation follows the norm before the branch.
        se: Width of squeeze and excitation over the channels it counts from; 0 is none.
        se_act: Activation function inside squeeze and excitation.
        se_first: Whether it stands before the norm of the depthwise convolution, not behind it.
        act: Activation function.
    """
    dim = dim or x.channels
    _check_step(x, dim, stride, "mbconv")
    inner = divisible(expand * (dim if expand_from == "output" else x.channels), 8)
    steps = {how: stride if how == shrink else 1 for how in ("spatial", "expand", "pool")}
    y = layers.act(batch_norm(x, name="pre_norm"), act if pre_act else "none")
    y = _pooled(y, steps["pool"], "avg")
    y = conv(y, inner, name="conv1_1x1", kernel=1, stride=steps["expand"], bias=False)
    y = layers.act(batch_norm(y, name="norm1"), act)
    y = depthwise(y, name="conv2_kxk", kernel=kernel, stride=steps["spatial"], bias=False)
    hidden = max(1, trunc(se * (dim if expand_from == "output" else inner)))
    gate = {"ratio": se, "hidden": hidden, "function": se_act}
    y = se_module(y, name="se_early", **gate) if se and se_first else y
    y = layers.act(batch_norm(y, name="norm2"), act)
    y = se_module(y, name="se", **gate) if se and not se_first else y
    y = conv(y, dim, name="conv3_1x1", kernel=1, bias=bias)
    return _shortcut(x, dim, stride, pool, bias) + drop_path(y)


@block(init="map_vit")
def map_vit(
    x: Map,
    *,
    dim: Positive | None = None,
    head_dim: Positive = 32,
    mlp: Share = 4.0,
    stride: First[Positive] = 1,
    pool: First[Pool] = "avg",
    widen: First[Literal["first", "last"]] = "first",
    shortcut_bias: First[bool] = True,
    bias: bool = True,
    relative: Relative = "bias",
    layer_scale: Share = 0.0,
    act: Act = "gelu",
    eps: Share = 1e-6,
) -> Map:
    """Transformer block on a map: attention between all positions, then an MLP on each.

    Where the stage has a stride, the map is pooled between the norm and the attention.
    Source: Dai et al. 2021, arXiv:2106.04803, eq. 3 and appendix A.1; timm `TransformerBlock2d`.

    Settings:
        dim: Output channels; the input's if not written.
        head_dim: Channels of a head; they divide those of the attention.
        mlp: Hidden channels of the MLP over its input channels.
        stride: Factor by which the first repetition shrinks the map.
        pool: Pooling: windows as large as the stride, or the largest of 3x3.
        widen: Where the attention takes the new width: first in queries, keys and values, last in
            what projects their result.
        shortcut_bias: Whether the convolution of the shortcut has a bias.
        bias: Whether the convolutions of the attention have one.
        relative: Relative positions, own ones in every block, as in `vit`.
        layer_scale: Initial value of the learned scales of both branches; 0 leaves them out.
        act: Activation function of the MLP.
        eps: Added to the variance in the layer norms.
    """
    dim = dim or x.channels
    _check_step(x, dim, stride, "map_vit")
    heads = {"head_dim": head_dim, "widen": widen, "relative": relative, "bias": bias}
    if stride > 1:
        y = _norm_down(x, name="norm1", stride=stride, pool=pool, eps=eps)
    else:
        y = layer_norm(x, name="norm1", eps=eps)
    y = _scaled(_attention(y, name="attn", dim=dim, **heads), "ls1", layer_scale)
    x = _shortcut(x, dim, stride, pool, shortcut_bias) + drop_path(y, name="drop_path1")
    y = layer_norm(x, name="norm2", eps=eps)
    y = _mlp(y, name="mlp", hidden=max(1, trunc(mlp * dim)), function=act)
    return x + drop_path(_scaled(y, "ls2", layer_scale), name="drop_path2")


@piece
def _attention(x: Map, *, dim: int, head_dim: int, widen: str, relative: str, bias: bool) -> Map:
    """Multi-head self-attention between all positions of a map, whose layers are convolutions."""
    width = dim if widen == "first" else x.channels
    if width % head_dim:
        fits = [d for d in range(1, width + 1) if width % d == 0]
        near = " or ".join(map(str, sorted(sorted(fits, key=lambda d: abs(d - head_dim))[:2])))
        raise BlockError(
            "E648",
            f"heads of {head_dim} channels do not divide the {width} channels of the attention",
            setting="head_dim",
            helps=(f"write head_dim: {near}, or a dim that is a multiple of {head_dim}",),
        )
    qkv = conv(x, 3 * width, name="qkv", kernel=1, bias=bias)
    q, k, v = map_heads(qkv, heads=width // head_dim)
    y = near_map(attend(q, k, v, bias=relative_position(q, relative)), x)
    return conv(y, dim, name="proj", kernel=1, bias=bias)


@piece
def _mlp(x: Map, *, hidden: int, function: str) -> Map:
    """Two layers on the channels of each position with an activation between them."""
    y = layers.act(conv(x, hidden, name="fc1", kernel=1, init="small_bias"), function)
    return conv(y, x.channels, name="fc2", kernel=1, init="small_bias")


@piece
def _norm_down(x: Map, *, stride: int, pool: str, eps: float) -> Map:
    """Layer norm, then pooling."""
    return _pooled(layer_norm(x, name="norm", eps=eps), stride, pool)


@piece
def _down(x: Map, *, dim: int, stride: int, pool: str, bias: bool) -> Map:
    """Pooling, and a 1x1 convolution where the width changes."""
    y = _pooled(x, stride, pool)
    return y if dim == x.channels else conv(y, dim, name="expand", kernel=1, bias=bias)


def _shortcut(x: Map, dim: int, stride: int, pool: str, bias: bool) -> Map:
    return (
        _down(x, name="shortcut", dim=dim, stride=stride, pool=pool, bias=bias) if stride > 1 else x
    )


def _pooled(x: Map, stride: int, pool: str) -> Map:
    if stride == 1:
        return x
    if pool == "max":
        return max_pool(x, kernel=3, stride=stride, pad=1)
    return avg_pool(x, kernel=stride, stride=stride)


def _check_step(x: Map, dim: int, stride: int, block: str) -> None:
    """Refuses a new width without a stride (E313) and a stride that cuts positions off (E647)."""
    if stride == 1:
        keep_width(x, dim, block, "write stride: 2 to change it")
    if x.height % stride or x.width % stride:
        raise BlockError(
            "E647",
            f"stride {stride} does not divide a map of {x.height}x{x.width}",
            setting="stride",
            helps=(f"take an input.size whose map here is a multiple of {stride}",),
        )


def _scaled(x: Map, name: str, init: float) -> Map:
    """A learned scale per channel, if there is one."""
    if not init:
        return x
    return channels_first(_layer_scale(channels_last(x), name=name, init=init))


_layer_scale = layer_scale  # `map_vit` names a setting `layer_scale`
