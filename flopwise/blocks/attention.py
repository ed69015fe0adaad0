"""The branches of transformer blocks: self-attention, its Ghost form, the Ghost MLP, a gate."""

from __future__ import annotations

from math import lcm, trunc
from typing import TypeVar

from flopwise.blocks import layers
from flopwise.blocks.layers import (
    act,
    attend,
    halves,
    keys_values,
    linear,
    parameter,
    sequence_mean,
    split_heads,
    spread,
    to_heads,
    token_conv,
)
from flopwise.blocks.parts import mlp, token_norm
from flopwise.blocks.relative import relative_position
from flopwise.blocks.stage import piece
from flopwise.blocks.tensor import Heads, Tensor, Tokens
from flopwise.errors import BlockError

__all__ = [
    "attention",
    "gated_mlp",
    "ghost_attention",
    "ghost_mlp",
    "latent_attention",
    "layer_scale",
    "token_gate",
]

T = TypeVar("T", bound=Tensor)


@piece
def attention(
    x: Tokens,
    *,
    heads: int,
    qkv_bias: bool = True,
    qk_norm: bool = False,
    norm: str = "ln",
    eps: float = 1e-6,
    scale: str = "head",
    relative: str = "none",
    se: bool = False,
    bias: bool = True,
) -> Tokens:
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."""
    q, k, v = split_heads(linear(x, 3 * x.channels, name="qkv", bias=qkv_bias), heads=heads)
    if qk_norm:  # Dehghani et al. 2023, arXiv:2302.05442, section 2
        q = token_norm(q, norm, name="q_norm", eps=eps)
        k = token_norm(k, norm, name="k_norm", eps=eps)
    y = _attend(q, k, v, x, scale=scale, relative=relative)
    y = linear(y, x.channels, name="proj", bias=bias)
    return token_gate(y, name="se_layer") if se else y


@piece
def ghost_attention(
    x: Tokens,
    *,
    heads: int,
    qkv_bias: bool = True,
    qk_norm: bool = False,
    norm: str = "ln",
    eps: float = 1e-6,
    scale: str = "head",
    relative: str = "none",
    se: bool = False,
    bias: bool = True,
) -> Tokens:
    """Self-attention whose queries, keys and values are half linear and half a cheap copy.

    Source: Yuan et al. 2021, arXiv:2101.11986, section 3.2 "Ghost operation"; its released code.
    """
    step = lcm(2, heads)
    if x.channels % 2:
        raise BlockError(
            "E341",
            f"ghost attention copies half of the channels, and {x.channels} have no half",
            setting="ghost",
            helps=(f"make the tokens {-(-x.channels // step) * step} wide, or write ghost: false",),
        )
    halves = [linear(x, x.channels // 2, name=name, bias=qkv_bias) for name in "qkv"]
    q, k, v = (
        to_heads(_with_copy(half, name), heads=heads)
        for half, name in zip(halves, "qkv", strict=True)
    )
    if qk_norm:
        q = token_norm(q, norm, name="q_norm", eps=eps)
        k = token_norm(k, norm, name="k_norm", eps=eps)
    y = _attend(q, k, v, x, scale=scale, relative=relative)
    y = linear(y, x.channels, name="proj", bias=bias)
    return token_gate(y, name="se_layer") if se else y


def _attend(q: Heads, k: Heads, v: Heads, x: Tokens, *, scale: str, relative: str) -> Tokens:
    """Attention with what the way between two positions adds to it."""
    over = x if scale == "width" else None
    return attend(q, k, v, over=over, bias=relative_position(q, relative, over=over))


@piece
def gated_mlp(x: Tokens, *, hidden: int, function: str, split: bool, bias: bool) -> Tokens:
    """An MLP whose hidden channels are weighed by as many activated ones; one matrix, or two.

    Source: Shazeer 2020, arXiv:2002.05202, eq. 6; timm `GluMlp` and `SwiGLU`.
    """
    if split:
        gate = linear(x, hidden, name="fc1_g", bias=bias)
        y = linear(x, hidden, name="fc1_x", bias=bias)
    else:
        gate, y = halves(linear(x, hidden, name="fc1", bias=bias))
    return linear(act(gate, function) * y, x.channels, name="fc2", bias=bias)


@piece
def latent_attention(
    x: Tokens, *, heads: int, hidden: int, function: str, norm: str, eps: float
) -> Tokens:
    """A learned token that attends to the sequence, and an MLP on what it finds.

    Source: Zhai et al. 2022, arXiv:2106.04560, section 3.2; timm `AttentionPoolLatent`.
    """
    token = parameter(x, (1, 1, x.channels), name="latent", init="trunc_normal")
    q = to_heads(linear(spread(token, x), x.channels, name="q"), heads=heads)
    k, v = keys_values(linear(x, 2 * x.channels, name="kv"), heads=heads)
    y = linear(attend(q, k, v), x.channels, name="proj")
    z = token_norm(y, norm, name="norm", eps=eps)
    made: Tokens = y + mlp(z, name="mlp", hidden=hidden, function=function)
    return made


@piece
def ghost_mlp(x: Tokens, *, ratio: float, function: str) -> Tokens:
    """An MLP whose hidden channels are one linear layer and cheap copies of it.

    Source: Yuan et al. 2021, arXiv:2101.11986, section 3.2 "Ghost operation"; its released code.
    """
    if ratio != int(ratio) or ratio < 1:
        raise BlockError(
            "E326",
            f"a ghost MLP copies whole widths, so mlp {ratio:g} is no ratio for it",
            setting="mlp",
            helps=(f"write mlp: {max(1, round(ratio))}, or ghost: false",),
        )
    first = act(linear(x, x.channels, name="fc1"), function)
    copies = [
        act(token_conv(first, name=f"cheap_operation{number}"), function)
        for number in range(2, int(ratio) + 1)
    ]
    hidden = layers.concat((first, *copies)) if copies else first
    assert isinstance(hidden, Tokens)
    return linear(hidden, x.channels, name="fc2")


@piece
def token_gate(x: Tokens, *, ratio: float = 0.0625) -> Tokens:
    """Squeeze and excitation on tokens: channels weighted by a gate on their means over all tokens.

    Source: Hu et al. 2018, arXiv:1709.01507, fig. 2; Yuan et al. 2021, arXiv:2101.11986, section
    3.2 and its released code.
    """
    return x * _gate(sequence_mean(x), name="fc", hidden=max(1, trunc(ratio * x.channels)))


@piece
def _gate(x: Tokens, *, hidden: int) -> Tokens:
    """Two linear layers without bias, and a sigmoid."""
    y = act(linear(x, hidden, name="0", bias=False), "relu", name="1")
    return act(linear(y, x.channels, name="2", bias=False), "sigmoid", name="3")


@piece
def layer_scale(x: T, *, init: float) -> T:
    """A learned scale per channel (Touvron et al. 2021, arXiv:2103.17239, section 2)."""
    return x * parameter(x, (x.channels,), name="gamma", init=init)


def _with_copy(half: Tokens, name: str) -> Tokens:
    """Half the channels, and a copy of them scaled channel by channel."""
    whole = layers.concat((half, token_conv(half, name=f"cheap_operation_{name}")))
    assert isinstance(whole, Tokens)
    return whole
