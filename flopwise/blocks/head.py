"""The classifier."""

from __future__ import annotations

from typing import Literal

from flopwise.blocks.layers import (
    dropout,
    global_mean,
    layer_norm,
    linear,
    take_token,
    token_mean,
)
from flopwise.blocks.signature import Local, Positive, block
from flopwise.blocks.tensor import Map, Tensor, Tokens, Vec
from flopwise.errors import BlockError

__all__ = ["classifier"]


@block(once=True, init="head", head=True)
def classifier(
    x: Map | Tokens | Vec,
    *,
    pool: Literal["avg", "cls"] = "avg",
    norm: Local[Literal["ln", "none"]] = "none",
    classes: Positive | None = None,
) -> Vec:
    """Pools to one vector, normalises it if asked, and maps it to the classes.

    Maps are pooled before the norm (ConvNeXt). Of tokens, `cls` normalises all and takes the
    first (ViT), `avg` averages the patch tokens and normalises the mean.

    Settings:
        pool: How positions become one vector.
        norm: Whether the features are normalised before the linear layer.
        classes: Outputs; the spec's number of classes if not written.
    """
    y = _pooled(x, pool, norm)
    return linear(dropout(y, name="drop"), classes or 1000, name="fc")


def _pooled(x: Map | Tokens | Vec, pool: str, norm: str) -> Vec:
    if isinstance(x, Tokens) and pool == "cls":
        return take_token(layer_norm(x, name="norm") if norm == "ln" else x)
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
    return layer_norm(y, name=name) if norm == "ln" else y


def _word(x: Tensor) -> str:
    """Names the kind of a tensor."""
    return "a map" if isinstance(x, Map) else "a vector"
