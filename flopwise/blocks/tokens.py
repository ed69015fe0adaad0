"""What stands around transformer blocks: patches, class token, positions, and the way back."""

from __future__ import annotations

from math import trunc
from typing import Annotated, Literal

from flopwise.blocks import layers
from flopwise.blocks.attention import latent_attention
from flopwise.blocks.graph import describe
from flopwise.blocks.layers import Act, act, fixed, linear, parameter, prepend
from flopwise.blocks.parts import token_norm
from flopwise.blocks.signature import Count, Local, Positive, Share, block, only
from flopwise.blocks.tensor import Map, Tokens, Vec
from flopwise.errors import BlockError

__all__ = [
    "attention_pool",
    "class_token",
    "linear_block",
    "patch_embed",
    "position",
    "registers",
    "to_map",
    "to_tokens",
]


@block(once=True, init="vit")
def patch_embed(
    x: Map,
    *,
    patch: Positive = 16,
    dim: Positive,
    bias: Local[bool] = True,
    norm: Local[Literal["ln", "rms", "none"]] = "none",
    eps: Annotated[Share, only("norm")] = 1e-6,
) -> Tokens:
    """Patch embedding: non-overlapping patches, each projected to one token.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1; timm `PatchEmbed`.

    Settings:
        patch: Size of a patch in pixels.
        dim: Channels of a token.
        bias: Whether the projection has a bias.
        norm: What follows the projection.
        eps: Added to the variance in the norm.
    """
    window = {"kernel": patch, "stride": patch, "pad": 0}
    y = layers.conv(x, dim, name="proj", bias=bias, init="linear", **window)
    return token_norm(layers.to_tokens(y), norm, name="norm", eps=eps)


@block(once=True, init="vit")
def class_token(x: Tokens, *, registers: Count = 0, std: Share = 1e-6) -> Tokens:
    """Puts one learned token before the sequence; the classifier may read its final state.

    Register tokens follow it; nobody reads them.
    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1; Darcet et al. 2024,
    arXiv:2309.16588, section 2.2.

    Settings:
        registers: How many register tokens follow the class token.
        std: Standard deviation of the initial values.
    """
    init = f"normal_{std:g}"
    token = parameter(x, (1, 1, x.channels), name="cls_token", init=init)
    if registers:
        extra = parameter(x, (1, registers, x.channels), name="reg_token", init=init)
        x = prepend(x, extra)
    return prepend(x, token)


@block(once=True, init="vit")
def registers(x: Tokens, *, count: Positive, std: Share = 1e-6) -> Tokens:
    """Puts learned tokens before the sequence that nobody reads, without a class token.

    Source: Darcet et al. 2024, arXiv:2309.16588, section 2.2.

    Settings:
        count: How many.
        std: Standard deviation of the initial values.
    """
    extra = parameter(x, (1, count, x.channels), name="reg_token", init=f"normal_{std:g}")
    return prepend(x, extra)


@block(once=True, init="vit")
def attention_pool(
    x: Tokens,
    *,
    heads: Positive,
    mlp: Share = 4.0,
    act: Act = "gelu",
    norm: Local[Literal["ln", "rms", "none"]] = "ln",
    eps: Annotated[Share, only("norm")] = 1e-6,
) -> Vec:
    """Norm, then one learned token that attends to all others, and an MLP on what it finds.

    Source: Zhai et al. 2022, arXiv:2106.04560, section 3.2, and Zhai et al. 2023,
    arXiv:2303.15343; timm `AttentionPoolLatent`.

    Settings:
        heads: Attention heads; they divide the channels.
        mlp: Hidden channels of the MLP over the channels of a token.
        act: Activation function of the MLP.
        norm: What stands before the pooling; before the MLP there is one of the same kind.
        eps: Added to the variance in the norms.
    """
    y = latent_attention(
        token_norm(x, norm, name="norm", eps=eps),
        name="attn_pool",
        heads=heads,
        hidden=max(1, trunc(mlp * x.channels)),
        function=act,
        norm=norm,
        eps=eps,
    )
    return layers.take_token(y)


@block(once=True, init="vit")
def position(
    x: Tokens, *, kind: Literal["learned", "learned_2d", "sinusoid"] = "learned"
) -> Tokens:
    """Adds a position embedding to every token, class token included.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1 and appendix D.4; sinusoid: Vaswani et
    al. 2017, arXiv:1706.03762, section 3.5, as in T2T-ViT.

    Settings:
        kind: learned is a table of one vector per position; learned_2d has one of half the width
            per row and one per column; sinusoid is a fixed table of one vector per position.
    """
    if kind == "learned_2d":
        return _add_rows_and_columns(x)
    if kind == "sinusoid":
        return x + fixed(x, (1, *x.shape), name="pos_embed", rule="sinusoid")
    return x + parameter(x, (1, *x.shape), name="pos_embed", init="trunc_normal")


def _add_rows_and_columns(x: Tokens) -> Tokens:
    """Adds half a vector per row and half a vector per column."""
    if x.grid is None or x.extra or x.channels % 2:
        raise BlockError(
            "E327",
            f"positions in two dimensions need patches on a grid and an even width, and this is "
            f"{describe(x.type)}",
            setting="kind",
            helps=("put {block: position} before {block: class_token}", "or write kind: learned"),
        )
    (height, width), half = x.grid, x.channels // 2
    rows = parameter(x, (1, height, half), name="pos_embed_y", init="trunc_normal")
    columns = parameter(x, (1, width, half), name="pos_embed_x", init="trunc_normal")
    return x + layers.grid_table(columns, rows)


@block(once=True, absent=True)
def to_tokens(x: Map) -> Tokens:
    """Lays the positions of a map out as a sequence; the grid is remembered."""
    return layers.to_tokens(x)


@block(once=True, absent=True)
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
def linear_block(
    x: Tokens, *, dim: Positive, bias: bool = True, act: Local[Act] = "none"
) -> Tokens:
    """One linear layer on every token, and an activation if asked for.

    Settings:
        dim: Output channels.
        bias: Whether it has a bias.
        act: What follows it.
    """
    return _act(linear(x, dim, name="proj", bias=bias), act)


_act = act  # `linear` names a setting `act`
