"""The Vision Transformer block, plain and with what convolutional networks lend it."""

from __future__ import annotations

from math import trunc
from typing import Literal

from flopwise.blocks import layers
from flopwise.blocks.attention import attention, gated_mlp, ghost_attention, ghost_mlp, layer_scale
from flopwise.blocks.layers import Act, drop_path, linear
from flopwise.blocks.parts import keep_width, mlp, token_norm
from flopwise.blocks.relative import Relative
from flopwise.blocks.signature import Local, Positive, Share, block
from flopwise.blocks.tensor import Tokens

__all__ = ["dense_vit", "vit"]


@block(init="vit")
def vit(
    x: Tokens,
    *,
    dim: Positive | None = None,
    heads: Positive,
    mlp: Share = 4.0,
    gate: Literal["none", "packed", "split"] = "none",
    qkv_bias: bool = True,
    bias: bool = True,
    qk_norm: bool = False,
    scale: Literal["head", "width"] = "head",
    relative: Relative = "none",
    act: Act = "gelu",
    layer_scale: Share = 0.0,
    se: Local[bool] = False,
    ghost: bool = False,
    norm: Local[Literal["ln", "rms"]] = "ln",
    eps: Share = 1e-6,
) -> Tokens:
    """Pre-norm transformer encoder block: multi-head self-attention, then an MLP.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 2 and 3; timm `Block`. SE and Ghost are
    those of Yuan et al. 2021, arXiv:2101.11986, section 3.2.

    Settings:
        dim: Channels of a token; the input's if not written.
        heads: Attention heads; they divide the channels.
        mlp: Hidden channels of the MLP over the channels of a token.
        gate: Whether half of the MLP's hidden channels weigh the others, once they are activated:
            packed makes both in one matrix of the hidden width, split in two of it each.
        qkv_bias: Whether queries, keys and values have a bias.
        bias: Whether the other linear layers have one.
        qk_norm: Whether the queries and keys of each head are normalised.
        scale: q k^T is divided by the root of the channels of a head, or of a token (width, as in
            the released weights of T2T-ViT).
        relative: Relative positions, own ones in every block: bias adds a learned number for each
            head and every offset on the grid of patches (Swin); keys adds the product of the query
            and a learned key for every distance in the sequence (ViT, appendix D.4).
        act: Activation function of the MLP.
        layer_scale: Initial value of the learned scales of both branches; 0 leaves them out.
        se: Whether squeeze and excitation over all tokens gates the attention branch.
        ghost: Whether half of q, k, v and all but one width of the MLP are cheap copies.
        norm: ln is layer norm; rms leaves out its mean and bias.
        eps: Added to the variance in the norms.
    """
    keep_width(x, dim, "vit", f"put {{block: linear, dim: {dim}}} before it")
    attend = ghost_attention if ghost else attention
    y = attend(
        token_norm(x, norm, name="norm1", eps=eps),
        name="attn",
        heads=heads,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        norm=norm,
        bias=bias,
        eps=eps,
        scale=scale,
        relative=relative,
        se=se,
    )
    x = x + drop_path(_scaled(y, "ls1", layer_scale), name="drop_path1")
    y, hidden = token_norm(x, norm, name="norm2", eps=eps), max(1, trunc(mlp * x.channels))
    if ghost:
        y = ghost_mlp(y, name="mlp", ratio=mlp, function=act)
    elif gate != "none":
        split = gate == "split"
        y = gated_mlp(y, name="mlp", hidden=hidden, function=act, split=split, bias=bias)
    else:
        y = _mlp(y, name="mlp", hidden=hidden, function=act, bias=bias)
    return x + drop_path(_scaled(y, "ls2", layer_scale), name="drop_path2")


@block(init="vit")
def dense_vit(
    x: Tokens,
    *,
    growth: Positive,
    heads: Positive,
    mlp: Share = 4.0,
    qkv_bias: bool = True,
    act: Act = "gelu",
    eps: Share = 1e-6,
) -> Tokens:
    """A transformer block whose output is thinned and joined to its input, as in DenseNet.

    Source: Huang et al. 2017, arXiv:1608.06993, section 3; Yuan et al. 2021, arXiv:2101.11986,
    section 3.2 "Dense connection"; its released code.

    Settings:
        growth: Channels each block adds.
        heads: Attention heads; they divide the channels of the input.
        mlp: Hidden channels of the MLP over the channels of a token.
        qkv_bias: Whether queries, keys and values have a bias.
        act: Activation function of the MLP.
        eps: Added to the variance in the layer norms.
    """
    y = vit.function(x, heads=heads, mlp=mlp, qkv_bias=qkv_bias, act=act, eps=eps)
    assert isinstance(y, Tokens)
    joined = layers.concat((x, linear(y, growth, name="dense_linear")))
    assert isinstance(joined, Tokens)
    return joined


_mlp = mlp  # `vit` names settings as these pieces are called
_layer_scale = layer_scale


def _scaled(x: Tokens, name: str, init: float) -> Tokens:
    return _layer_scale(x, name=name, init=init) if init else x
