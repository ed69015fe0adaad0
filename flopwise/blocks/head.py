"""The classifier."""

from __future__ import annotations

from typing import Annotated, Literal

from flopwise.blocks.layers import (
    Act,
    act,
    conv,
    dropout,
    flatten,
    global_mean,
    linear,
    take_token,
    token_mean,
    unflatten,
)
from flopwise.blocks.parts import norm as normalise
from flopwise.blocks.parts import token_norm
from flopwise.blocks.signature import Local, Positive, Share, block, only
from flopwise.blocks.tensor import Map, Tensor, Tokens, Vec
from flopwise.errors import BlockError

__all__ = ["classifier"]


@block(once=True, init="head", head=True)
def classifier(
    x: Map | Tokens | Vec,
    *,
    pool: Literal["avg", "cls"] = "avg",
    norm: Local[Literal["ln", "rms", "none"]] = "none",
    norm_first: Annotated[bool, only("norm")] = False,
    eps: Annotated[Share, only("norm")] = 1e-6,
    hidden: Positive | None = None,
    hidden_act: Annotated[Act, only("hidden")] = "relu",
    hidden_norm: Annotated[Literal["bn", "none"], only("hidden")] = "none",
    classes: Positive | None = None,
) -> Vec:
    """Pools to one vector, normalises it if asked, and maps it to the classes.

    Maps are pooled before the norm (ConvNeXt). Of tokens, `cls` normalises all and takes the
    first (ViT), `avg` averages the patch tokens and normalises the mean.

    Settings:
        pool: How positions become one vector.
        norm: Whether the features are normalised before the linear layer.
        norm_first: Whether `avg` normalises every position and then pools (Swin).
        eps: Added to the variance in the norm.
        hidden: Channels of one more layer between the pooling and the last (GhostNet).
        hidden_act: Activation function of that layer.
        hidden_norm: What stands between that layer and its activation (MobileNetV4).
        classes: Outputs; the spec's number of classes if not written.
    """
    first = norm != "none" and norm_first and pool == "avg"
    x = token_norm(x, norm, name="norm", eps=eps) if first else x
    y = _pooled(x, pool, "none" if first else norm, eps)
    y = _hidden(y, hidden, hidden_act, hidden_norm) if hidden else y
    return linear(dropout(y, name="drop"), classes or 1000, name="fc")


def _hidden(x: Vec, dim: int, function: str, how: str) -> Vec:
    """One more layer; timm writes it as a convolution on a map of 1 x 1."""
    y = conv(unflatten(x), dim, name="conv_head", kernel=1, bias=how == "none")
    return flatten(act(normalise(y, how, name="norm_head"), function))


def _pooled(x: Map | Tokens | Vec, pool: str, norm: str, eps: float) -> Vec:
    if isinstance(x, Tokens) and pool == "cls":
        return take_token(token_norm(x, norm, name="norm", eps=eps))
    if pool == "cls":
        raise BlockError(
            "E309",
            f"only tokens have a class token, and this is {_word(x)}",
            setting="pool",
            helps=("write pool: avg",),
        )
    name = "fc_norm" if isinstance(x, Tokens) else "norm"
    y = token_mean(x) if isinstance(x, Tokens) else global_mean(x) if isinstance(x, Map) else x
    assert isinstance(y, Vec)
    return token_norm(y, norm, name=name, eps=eps)


def _word(x: Tensor) -> str:
    """Names the kind of a tensor."""
    return "a map" if isinstance(x, Map) else "a vector"
