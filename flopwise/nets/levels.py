"""The levels of features of a generated network: taking them, and ending the network at one.

Like the runtime, this file imports torch and timm only and never flopwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["Pooled", "as_map", "as_tokens", "last_of", "remove_behind", "tapped"]


class _ReachedError(Exception):
    """Everything that is wanted has been computed; holds the dict it lies in."""


def tapped(
    model: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, places: Sequence[str], stop: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Runs a network; returns what comes out of it, and of the modules at some places.

    Args:
        model: The network.
        run: The part of it to run on `x`.
        x: Images (B, C, H, W).
        places: Names of modules that run once each.
        stop: Whether to stop at the last of them, whose output is then the first result.
    """
    found: dict[str, Tensor] = {}

    def keep(place: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found[place] = output
            if stop and len(found) == len(set(places)):
                raise _ReachedError(found)

        return hook

    handles = [model.get_submodule(each).register_forward_hook(keep(each)) for each in places]
    try:
        return run(x), found
    except _ReachedError as reached:
        if reached.args[0] is not found:
            raise
        return list(found.values())[-1], found
    finally:
        for handle in handles:
            handle.remove()


def as_map(y: Tensor, level: dict[str, Any], height: int, width: int) -> Tensor:
    """Features of images of height x width as (B, C, H', W'), without leading tokens."""
    if y.ndim == 4:
        return y
    y, step = y[:, level.get("prefix", 0) :], level["reduction"]
    rows = height // step
    if rows * (width // step) != y.shape[1]:  # a padded convolution rounds up
        rows = -(-height // step)
    found: Tensor = y.transpose(1, 2).unflatten(2, (rows, -1))
    return found


def as_tokens(y: Tensor, level: dict[str, Any]) -> Tensor:
    """Features as (B, L, C), without leading tokens."""
    return y.flatten(2).transpose(1, 2) if y.ndim == 4 else y[:, level.get("prefix", 0) :]


def last_of(model: nn.Module, places: Sequence[str]) -> str:
    """Returns the module among these that runs last."""
    order = [name for name, _ in model.named_modules()]
    return max(places, key=order.index)


def remove_behind(model: nn.Module, place: str, keep: str) -> None:
    """Removes the steps behind a place, and inside its stage the repetitions behind it.

    Args:
        model: The network.
        place: Name of a step, or of a repetition in a stage.
        keep: Name of the step that stays: the head.
    """
    step, _, repetition = place.partition(".")
    steps = [name for name, _ in model.named_children()]
    for name in steps[steps.index(step) + 1 :]:
        if name != keep:
            delattr(model, name)
    stage = model.get_submodule(step)
    for name, _ in list(stage.named_children()):
        if repetition and name.isdigit() and int(name) > int(repetition):
            delattr(stage, name)


class Pooled(nn.Module):
    """The head of a network that ends at a level: pooling, dropout and the classifier."""

    def __init__(self, classifier: str, rate: float, token: bool, prefix: int) -> None:
        super().__init__()
        self.classifier, self.token, self.prefix = classifier, token and prefix > 0, prefix
        self.drop = nn.Dropout(rate)
        self.add_module(classifier, nn.Identity())

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H, W) or (B, L, C) -> (B, C), or to the classes."""
        if x.ndim == 3:
            x = x[:, 0] if self.token else x[:, self.prefix :].mean(1)
        x = self.drop(x.mean((2, 3)) if x.ndim == 4 else x)
        return x if pre_logits else self.get_submodule(self.classifier)(x)
