"""Gates on the channels of a map, for blocks that are put together in a spec."""

from __future__ import annotations

from flopwise.blocks.layers import Act
from flopwise.blocks.parts import eca_module, se_module
from flopwise.blocks.signature import Local, Positive, Share, block
from flopwise.blocks.tensor import Map

__all__ = ["eca_gate", "se_gate"]


@block(once=True, init="conv")
def se_gate(
    x: Map,
    *,
    ratio: Share = 0.0625,
    divisor: Positive = 8,
    hidden: Positive | None = None,
    act: Local[Act] = "relu",
    gate: Local[Act] = "sigmoid",
) -> Map:
    """Squeeze and excitation: channels weighted by a two-layer gate on their means.

    Source: Hu et al. 2018, arXiv:1709.01507, fig. 2; timm `SEModule`.

    Settings:
        ratio: Hidden channels over the input's.
        divisor: What the hidden width is a multiple of.
        hidden: That width itself; `ratio * channels`, rounded, if not written.
        act: Activation function between the two layers.
        gate: What makes weights of their outputs.
    """
    return se_module(x, ratio=ratio, divisor=divisor, hidden=hidden, function=act, gate=gate)


@block(once=True, init="conv")
def eca_gate(x: Map) -> Map:
    """Efficient channel attention: each channel weighted by a gate on its neighbours' means.

    Source: Wang et al. 2020, arXiv:1910.03151, fig. 2 and eq. 12; timm `EcaModule`.
    """
    return eca_module(x)
