"""Tokens to tokens: the soft split of T2T-ViT and the small transformers between its splits."""

from __future__ import annotations

from math import trunc

from flopwise.blocks import layers
from flopwise.blocks.layers import (
    act,
    chunk,
    dropout,
    fixed,
    layer_norm,
    linear,
    merge_heads,
    random_features,
    split_heads,
)
from flopwise.blocks.parts import mlp
from flopwise.blocks.signature import Count, Positive, Rate, Share, block
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Map, Tokens

__all__ = ["performer", "soft_split", "token_transformer"]

EPS = 1e-5
"""The layer norms of T2T-ViT are torch's own."""


@block(once=True)
def soft_split(x: Map, *, kernel: Positive = 3, stride: Positive = 2, pad: Count = 1) -> Tokens:
    """Overlapping windows of a map, each laid out as one token.

    Tokens that still lie on a grid are laid out as a map first.
    Source: Yuan et al. 2021, arXiv:2101.11986, section 3.1, eq. 3.

    Settings:
        kernel: Size of a window.
        stride: Step between windows.
        pad: Zeros around the map.
    """
    return layers.unfold(x, kernel=kernel, stride=stride, pad=pad)


@block(init="vit")
def token_transformer(x: Tokens, *, dim: Positive, mlp: Share = 1.0) -> Tokens:
    """The transformer layer between two soft splits: one head that changes the width.

    The values are the shortcut, since the input has another width than the output. As in the
    released code q k^T is divided by the root of the input's channels.
    Source: Yuan et al. 2021, arXiv:2101.11986, section 3.1, eq. 1 and table 1 (T2T-ViT_t).

    Settings:
        dim: Channels of a token.
        mlp: Hidden channels of the MLP over `dim`.
    """
    y: Tokens = _value_attention(layer_norm(x, name="norm1", eps=EPS), name="attn", dim=dim)
    hidden = max(1, trunc(mlp * dim))
    z: Tokens = _mlp(
        layer_norm(y, name="norm2", eps=EPS), name="mlp", hidden=hidden, function="gelu"
    )
    return y + z


@block(init="vit")
def performer(
    x: Tokens,
    *,
    dim: Positive,
    mlp: Share = 1.0,
    features: Share = 0.5,
    dropout: Rate = 0.1,
) -> Tokens:
    """The performer layer between two soft splits: attention at a cost linear in the tokens.

    exp(q k) is estimated by products of random features whose directions are fixed at the start.
    Source: Choromanski et al. 2021, arXiv:2009.14794, section 2.3; Yuan et al. 2021,
    arXiv:2101.11986, section 3.3 and table 1.

    Settings:
        dim: Channels of a token.
        mlp: Hidden channels of the MLP over `dim`.
        features: Random features over `dim`.
        dropout: Rate of the dropout behind the attention and behind the MLP.
    """
    y = layer_norm(x, name="norm1", eps=EPS)
    k, q, v = chunk(linear(y, 3 * dim, name="kqv"))
    w = fixed(x, (max(1, trunc(features * dim)), dim), name="w", rule="orthogonal")
    y = layers.linear_attend(random_features(q, w), random_features(k, w), v)
    y = v + _dropout(linear(y, dim, name="proj"), name="dp", rate=dropout)
    z = _chain(layer_norm(y, name="norm2", eps=EPS), name="mlp", hidden=max(1, trunc(mlp * dim)))
    return y + _dropout(z, name="mlp_dp", rate=dropout)


@piece
def _value_attention(x: Tokens, *, dim: int) -> Tokens:
    """Self-attention of one head whose values are the shortcut."""
    q, k, v = split_heads(linear(x, 3 * dim, name="qkv", bias=False), heads=1)
    y = linear(layers.attend(q, k, v, over=x), dim, name="proj")
    return merge_heads(v) + y


@piece
def _chain(x: Tokens, *, hidden: int) -> Tokens:
    """An MLP under the names of nn.Sequential."""
    y = act(linear(x, hidden, name="0"), "gelu", name="1")
    return linear(y, x.channels, name="2")


_mlp = mlp  # the blocks above name settings `mlp` and `dropout`
_dropout = dropout
