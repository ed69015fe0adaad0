"""The Vision Transformer block and what stands before it: tokens, class token, positions."""

from __future__ import annotations

from typing import Literal

from flopwise.blocks import layers
from flopwise.blocks.layers import (
    Act,
    attend,
    drop_path,
    layer_norm,
    linear,
    parameter,
    prepend,
    split_heads,
)
from flopwise.blocks.parts import keep_width, mlp
from flopwise.blocks.signature import Local, Positive, Share, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map, Tokens
from flopwise.errors import BlockError

__all__ = [
    "attention",
    "class_token",
    "layer_scale",
    "linear_block",
    "patch_embed",
    "position",
    "to_map",
    "to_tokens",
    "vit",
]


@block(once=True, init="vit")
def patch_embed(
    x: Map, *, patch: Positive = 16, dim: Positive, norm: Local[Literal["ln", "none"]] = "none"
) -> Tokens:
    """Patch embedding: non-overlapping patches, each projected to one token.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1; timm `PatchEmbed`.

    Settings:
        patch: Size of a patch in pixels.
        dim: Channels of a token.
        norm: What follows the projection.
    """
    y = layers.conv(x, dim, name="proj", kernel=patch, stride=patch, pad=0, init="linear")
    tokens = layers.to_tokens(y)
    return layer_norm(tokens, name="norm") if norm == "ln" else tokens


@block(once=True, init="vit")
def class_token(x: Tokens) -> Tokens:
    """Puts one learned token before the sequence; the classifier may read its final state.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1.
    """
    token = parameter(x, (1, 1, x.channels), name="cls_token", init="normal_1e-6")
    return prepend(x, token)


@block(once=True, init="vit")
def position(x: Tokens, *, kind: Literal["learned"] = "learned") -> Tokens:
    """Adds a position embedding to every token, class token included.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1 and appendix D.4.

    Settings:
        kind: learned is a table of one vector per position.
    """
    return x + parameter(x, (1, *x.shape), name="pos_embed", init="trunc_normal")


@block(init="vit")
def vit(
    x: Tokens,
    *,
    dim: Positive | None = None,
    heads: Positive,
    mlp: Share = 4.0,
    qkv_bias: bool = True,
    act: Act = "gelu",
    layer_scale: Share = 0.0,
) -> Tokens:
    """Pre-norm transformer encoder block: multi-head self-attention, then an MLP.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 2 and 3; timm `Block`.

    Settings:
        dim: Channels of a token; the input's if not written.
        heads: Attention heads; they divide the channels.
        mlp: Hidden channels of the MLP over the channels of a token.
        qkv_bias: Whether queries, keys and values have a bias.
        act: Activation function of the MLP.
        layer_scale: Initial value of the learned scales of both branches; 0 leaves them out.
    """
    keep_width(x, dim, "vit", f"put {{block: linear, dim: {dim}}} before it")
    y = attention(layer_norm(x, name="norm1"), name="attn", heads=heads, qkv_bias=qkv_bias)
    x = x + drop_path(_scaled(y, "ls1", layer_scale), name="drop_path1")
    y = _mlp(
        layer_norm(x, name="norm2"), name="mlp", hidden=max(1, int(mlp * x.channels)), function=act
    )
    return x + drop_path(_scaled(y, "ls2", layer_scale), name="drop_path2")


@piece
def attention(x: Tokens, *, heads: int, qkv_bias: bool) -> Tokens:
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."""
    q, k, v = split_heads(linear(x, 3 * x.channels, name="qkv", bias=qkv_bias), heads=heads)
    return linear(attend(q, k, v), x.channels, name="proj")


@piece
def layer_scale(x: Tokens, *, init: float) -> Tokens:
    """A learned scale per channel (Touvron et al. 2021, arXiv:2103.17239, section 2)."""
    return x * parameter(x, (x.channels,), name="gamma", init=init)


@block(once=True)
def to_tokens(x: Map) -> Tokens:
    """Lays the positions of a map out as a sequence; the grid is remembered."""
    return layers.to_tokens(x)


@block(once=True)
def to_map(x: Tokens, *, drop: Literal["cls", "none"] = "none") -> Map:
    """Lays tokens back out on their grid.

    Settings:
        drop: cls throws the class token away; none refuses sequences that have one.
    """
    if x.extra and drop == "none":
        raise BlockError(
            "E307",
            "these tokens have a class token, which has no place on the grid",
            helps=("write drop: cls to throw it away",),
        )
    return layers.to_map(x)


@block(name="linear", once=True, init="vit")
def linear_block(x: Tokens, *, dim: Positive, bias: bool = True) -> Tokens:
    """One linear layer on every token.

    Settings:
        dim: Output channels.
        bias: Whether it has a bias.
    """
    return linear(x, dim, name="proj", bias=bias)


_mlp = mlp  # `vit` names a setting `mlp`
_layer_scale = layer_scale


def _scaled(x: Tokens, name: str, init: float) -> Tokens:
    return _layer_scale(x, name=name, init=init) if init else x
