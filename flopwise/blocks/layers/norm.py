"""Layer kinds that normalise."""

from __future__ import annotations

from math import gcd, prod
from typing import TypeVar, cast

from flopwise.blocks.graph import Parameter
from flopwise.blocks.tensor import Map, Tensor
from flopwise.errors import BlockError

__all__ = ["batch_norm", "grn", "group_norm", "layer_norm", "rms_norm"]

Any_ = TypeVar("Any_", bound=Tensor)


def batch_norm(x: Map, *, name: str, eps: float = 1e-5, init: str = "") -> Map:
    """Batch normalisation of each channel."""
    learned = [Parameter("weight", (x.channels,)), Parameter("bias", (x.channels,))]
    running = [Parameter("running_mean", (x.channels,)), Parameter("running_var", (x.channels,))]
    (y,) = x.trace.append(
        "batch_norm",
        [x],
        [x.type],
        name=name,
        parameters=learned,
        buffers=[*running, Parameter("num_batches_tracked", ())],
        init=init,
        channels=x.channels,
        eps=eps,
    )
    return cast(Map, y)


def group_norm(x: Map, *, name: str, eps: float = 1e-5, init: str = "") -> Map:
    """Group normalisation in 32 groups of channels, or in as many as 32 and the width allow.

    Source: Wu & He 2018, arXiv:1803.08494, section 3.
    """
    groups = gcd(32, x.channels)
    if prod(x.shape) == groups:
        raise BlockError(
            "E329",
            f"a map of {x.channels}x{x.height}x{x.width} has one number in each of {groups} "
            "groups, which has no variance to bring to 1",
            helps=("raise input.size, remove a stride, or widen the stage",),
        )
    learned = [Parameter("weight", (x.channels,)), Parameter("bias", (x.channels,))]
    (y,) = x.trace.append(
        "group_norm",
        [x],
        [x.type],
        name=name,
        parameters=learned,
        init=init,
        groups=groups,
        channels=x.channels,
        eps=eps,
    )
    return cast(Map, y)


def layer_norm(x: Any_, *, name: str, eps: float = 1e-6) -> Any_:
    """Layer normalisation over the channels of each position, maps included."""
    learned = [Parameter("weight", (x.channels,)), Parameter("bias", (x.channels,))]
    kind = "layer_norm2d" if isinstance(x, Map) else "layer_norm"
    (y,) = x.trace.append(
        kind, [x], [x.type], name=name, parameters=learned, channels=x.channels, eps=eps
    )
    return cast(Any_, y)


def rms_norm(x: Any_, *, name: str, eps: float = 1e-6) -> Any_:
    """Division of each position by the root mean square of its channels, and a learned weight.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
    """
    learned = [Parameter("weight", (x.channels,))]
    (y,) = x.trace.append(
        "rms_norm", [x], [x.type], name=name, parameters=learned, channels=x.channels, eps=eps
    )
    return cast(Any_, y)


def grn(x: Any_, *, name: str) -> Any_:
    """Global response normalisation: channels weighted by their share of the map's energy.

    y = x + gamma * x * n + beta with n = |x| / mean(|x|), where |x| is a channel's norm over all
    positions; gamma and beta start at 0.
    Source: Woo et al. 2023, arXiv:2301.00808, section 3; timm `GlobalResponseNorm`.
    """
    last = not isinstance(x, Map)
    learned = [Parameter("weight", (x.channels,)), Parameter("bias", (x.channels,))]
    (y,) = x.trace.append(
        "grn", [x], [x.type], name=name, parameters=learned, channels=x.channels, last=last
    )
    return cast(Any_, y)
