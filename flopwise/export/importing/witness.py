"""The proof of an import: the same keys, the same layers, the same outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flopwise import nets
from flopwise.dsl import Network
from flopwise.errors import RunError
from flopwise.export.families import family_of
from flopwise.export.tensors import from_timm, linear_head

__all__ = ["differ", "match", "redraw"]

TOLERANCE = 1e-5
"""Largest difference of the logits over the largest logit."""
COMPARED = (
    *("kernel_size", "stride", "padding", "dilation", "groups", "eps", "num_groups"),
    *("normalized_shape", "in_features", "out_features", "transposed"),
)
"""Attributes that a layer of ours and its partner share where both have them."""


def match(network: Network, model: nn.Module, name: str) -> int:
    """Checks that every key has its partner and every layer the settings of its partner.

    Returns:
        How many keys there are.

    Raises:
        RunError: A key is missing, left over or of another shape, or a layer has other settings.
    """
    theirs = linear_head(family_of(network), model.state_dict())
    found = from_timm(network, {key: _named(key, value) for key, value in theirs.items()})
    count = sum(parameter.numel() for parameter in model.parameters())
    if count != network.graph.params:
        raise RunError(f"{name} has {count} parameters and the spec {network.graph.params}")
    ours = nets.build(network, device="meta")
    faults = []
    for key, value in found.items():
        one, other = (each.rpartition(".")[0] for each in (key, value.key))  # type: ignore[attr-defined]
        for what, mine, its in _unlike(ours.get_submodule(one), model.get_submodule(other)):
            faults.append(f"{other}.{what} is {its}, and {mine} in the spec")
    if faults:
        told = "".join(f"\n  - {fault}" for fault in dict.fromkeys(faults))
        raise RunError(f"the spec of {name} would be another network:{told}")
    return len(found)


class _Key(Tensor):
    key: str


def _named(key: str, value: Tensor) -> Tensor:
    """A tensor of the same shape that knows its key."""
    made = value.as_subclass(_Key)
    made.key = key
    return made


def _unlike(ours: nn.Module, theirs: nn.Module) -> list[tuple[str, Any, Any]]:
    padded = getattr(theirs, "same_pad", False) or "Same" in type(theirs).__name__
    return [
        (what, getattr(ours, what), getattr(theirs, what))
        for what in COMPARED
        if hasattr(ours, what) and hasattr(theirs, what)
        if getattr(ours, what) != getattr(theirs, what) and not (padded and what == "padding")
    ]


def redraw(model: nn.Module, seed: int = 0) -> None:
    """Redraws every parameter and floating buffer of the state, so that no branch is silent.

    Fresh weights would hide mistakes: the last gains of residual blocks are 0, and so are biases.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if key.endswith("running_var"):
                noise = noise.abs() * 0.3 + 0.5
            elif value.ndim > 1 and min(value.shape[:2]) > 1 and "pos_embed" not in key:
                noise *= value[0].numel() ** -0.5
            elif key.endswith(("weight", "gamma", "gain")):
                noise = (noise.abs() + 1) * 0.5
            else:
                noise *= 0.1
            value.copy_(noise)


@torch.no_grad()
def differ(network: Network, model: nn.Module, *, drawn: bool) -> float:
    """Returns the largest difference of the logits over the largest logit.

    Args:
        network: Our network.
        model: timm's, with weights.
        drawn: Whether its weights are drawn anew before.

    Raises:
        RunError: They differ by more than rounding.
    """
    if drawn:
        redraw(model)
    ours = nets.build(network, seed=0).eval()
    ours.load_state_dict(from_timm(network, model.state_dict()))
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, *network.graph.inputs[0].shape, generator=generator)
    mine, its = ours(image), model.eval()(image)
    difference = float((mine - its).abs().max() / its.abs().max().clamp_min(1e-30))
    if not difference <= TOLERANCE:
        raise RunError(
            f"the spec gives other outputs than timm's model (by {difference:.1g} of the largest "
            f"logit); nothing is written"
        )
    return difference
