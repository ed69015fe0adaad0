"""The Swin Transformer block and the patch merging between its stages."""

from __future__ import annotations

from math import trunc

from flopwise.blocks.layers import (
    Act,
    channels_first,
    channels_last,
    drop_path,
    from_windows,
    layer_norm,
    linear,
    merge_patches,
    parameter,
    to_windows,
    window_attend,
)
from flopwise.blocks.parts import keep_width, mlp
from flopwise.blocks.signature import Positive, Share, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map, MapLast

__all__ = ["downsample", "swin"]

EPS = 1e-5
"""The layer norms of Swin are torch's own."""


def downsample(x: Map, *, dim: Positive | None = None, stride: Positive = 1) -> Map:
    """Patch merging: neighbours joined along the channels, layer norm, linear layer.

    Source: Liu et al. 2021, arXiv:2103.14030, section 3.1; timm `PatchMerging`.

    Settings:
        dim: Output channels; the input's if not written.
        stride: Factor by which the map shrinks before the first block; 1 keeps it.
    """
    if stride == 1:
        return x
    y = layer_norm(merge_patches(channels_last(x), stride=stride), name="norm", eps=EPS)
    return channels_first(linear(y, dim or x.channels, name="reduction", bias=False))


@block(entry=downsample, init="vit")
def swin(
    x: Map,
    *,
    dim: Positive | None = None,
    heads: Positive,
    window: Positive = 7,
    shift: bool = True,
    mlp: Share = 4.0,
    qkv_bias: bool = True,
    act: Act = "gelu",
    i: int = 0,
) -> Map:
    """Swin block: attention inside windows of a map, then an MLP on every position.

    Every second block of a stage shifts its windows by half a window. A window that is as large as
    the map is not shifted. A width change needs `stride: 2`, which puts patch merging before the
    first block.
    Source: Liu et al. 2021, arXiv:2103.14030, section 3.2; timm `SwinTransformerBlock`.

    Settings:
        dim: Channels; the input's if not written.
        heads: Attention heads; they divide the channels.
        window: Size of a window; the map's where that is smaller.
        shift: Whether every second block shifts its windows.
        mlp: Hidden channels of the MLP over its input channels.
        qkv_bias: Whether queries, keys and values have a bias.
        act: Activation function of the MLP.
    """
    keep_width(x, dim, "swin", "write stride: 2 to downsample")
    last = channels_last(x)
    y = _window_attention(
        layer_norm(last, name="norm1", eps=EPS),
        name="attn",
        heads=heads,
        window=window,
        shift=window // 2 if shift and i % 2 else 0,
        qkv_bias=qkv_bias,
    )
    last = last + drop_path(y, name="drop_path1")
    y = layer_norm(last, name="norm2", eps=EPS)
    y = _mlp(y, name="mlp", hidden=max(1, trunc(mlp * x.channels)), function=act)
    return channels_first(last + drop_path(y, name="drop_path2"))


@piece
def _window_attention(
    x: MapLast, *, heads: int, window: int, shift: int, qkv_bias: bool
) -> MapLast:
    """Multi-head self-attention inside the windows of a map, with a bias per offset."""
    height, width, channels = x.shape
    sizes = (min(window, height), min(window, width))
    steps = (shift if height > window else 0, shift if width > window else 0)
    bias = parameter(
        x,
        ((2 * sizes[0] - 1) * (2 * sizes[1] - 1), heads),
        name="relative_position_bias_table",
        init="trunc_normal",
    )
    y = to_windows(x, window=sizes, shift=steps)
    y = window_attend(
        linear(y, 3 * channels, name="qkv", bias=qkv_bias),
        bias,
        name="attend",
        heads=heads,
        window=sizes,
        shift=steps,
        size=(height, width),
    )
    return from_windows(linear(y, channels, name="proj"), x, window=sizes, shift=steps)


_mlp = mlp  # `swin` names a setting `mlp`
