"""The tensors of a network under our names and under timm's, and where two sets of them differ."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flopwise import nets
from flopwise.dsl import Network
from flopwise.errors import RunError, nearest
from flopwise.export.config import Shipped
from flopwise.export.families import CARRIER, Family, family_of
from flopwise.export.family import recognise, rename

__all__ = ["faults_between", "filled", "from_timm", "linear_head", "loaded", "to_timm"]


def to_timm(shipped: Shipped, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns our state dict under timm's names, each tensor on its own in memory."""
    found = {}
    for key, value in state.items():
        name = shipped.keys[key]
        shape = shipped.shape_of(name, tuple(value.shape))
        found[name] = value.detach().cpu().reshape(shape).contiguous().clone()
    return found | {key: filled(shipped, key) for key in shipped.filled}


def filled(shipped: Shipped, key: str) -> Tensor:
    """Returns what a tensor of timm's class holds that the network has not."""
    each = shipped.filled[key]
    if each.value == "identity":
        return torch.eye(each.shape[0]).reshape(each.shape)
    return torch.full(each.shape, each.value)


def from_timm(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns timm's state dict under our names, ready for `nets.build(network)`.

    Raises:
        RunError: A key is missing, left over, or of another shape.
    """
    if f"{CARRIER.first_conv}.weight" in state:
        # what the class that carries the network has of its own is left out
        shipped = recognise(network)
        keys: Mapping[str, str] = shipped.keys
        state = {key: value for key, value in state.items() if key not in shipped.filled}
    else:
        family = family_of(network)
        keys, state = rename(family, network), linear_head(family, state)
    shapes = network.graph.keys()
    _match(
        {keys.get(key, key): shape for key, shape in shapes.items()},
        {key: tuple(value.shape) for key, value in state.items()},
        "the weights and timm's model",
    )
    return {ours: state[theirs] for ours, theirs in keys.items()}


def linear_head(form: Family | Shipped, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns timm's weights with a last layer of 1x1 convolution as a linear one."""
    last = state.get(f"{form.classifier}.weight")
    if not form.conv_head or last is None or last.ndim != 4:
        return state
    return {**state, f"{form.classifier}.weight": last.flatten(1)}


def loaded(network: Network, weights: nn.Module | Mapping[str, Tensor]) -> nn.Module:
    """Returns a module of our own with these weights, ready to be evaluated.

    Raises:
        RunError: A key is missing, left over, or of another shape.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    model = nets.build(network, seed=0)
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    _match(wanted, found, "the weights and this network")
    model.load_state_dict(dict(state))
    return model.eval()


def _match(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], what: str
) -> None:
    if faults := faults_between(wanted, found):
        told = "".join(f"\n  - {fault}" for fault in faults)
        raise RunError(f"{what} do not fit:{told}")


def faults_between(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """Says in at most eleven lines which keys are missing, left over or of another shape.

    The first ten come with the nearest key of the other side that has no partner.
    """
    missing = {key: shape for key, shape in wanted.items() if key not in found}
    left = {key: shape for key, shape in found.items() if key not in wanted}
    faults = [f"{key} is missing{_near(key, wanted[key], left)}" for key in list(missing)[:11]]
    faults += [f"{key} is missing" for key in list(missing)[11:]]
    faults += [f"{key} has no place{_near(key, found[key], missing)}" for key in list(left)[:11]]
    faults += [f"{key} has no place" for key in list(left)[11:]]
    faults += [
        f"{key} is {found[key]} and should be {shape}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
    return faults[:10] + more


def _near(key: str, shape: tuple[int, ...], known: Mapping[str, tuple[int, ...]]) -> str:
    """Names the nearest of other keys, those of the same shape first."""
    alike = [other for other in known if known[other] == shape]
    near = nearest(key, alike) or nearest(key, known)
    return f" (did you mean '{near}'?)" if near else ""
