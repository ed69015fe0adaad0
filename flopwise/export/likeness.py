"""Whether a network is one of timm's own models: the names and shapes of all its tensors."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch

from flopwise.errors import RunError, nearest
from flopwise.export.config import Shipped

__all__ = ["differences"]

SHOWN = 10
"""Most differences that are listed."""


def differences(shipped: Shipped, shapes: Mapping[str, tuple[int, ...]], name: str) -> list[str]:
    """Says how a network differs from a model of timm with as many classes; empty if not at all.

    Args:
        shipped: The network as timm will know it.
        shapes: Its checkpoint: our key -> shape.
        name: The model of timm.

    Raises:
        RunError: timm has no model of that name.
    """
    if not timm.is_model(name):
        near = nearest(name, timm.list_models())
        raise RunError(
            f"export.timm: timm {timm.__version__} has no model '{name}'"
            + (f"; did you mean '{near}'?" if near else "")
        )
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=shipped.classes)
    theirs = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    named = {shipped.keys[key]: shape for key, shape in shapes.items()}
    ours = {key: shipped.shape_of(key, shape) for key, shape in named.items()}
    ours |= {key: each.shape for key, each in shipped.filled.items()}
    found = [f"{key} {theirs[key]} is missing" for key in theirs if key not in ours]
    found += [f"{key} {ours[key]} is not in it" for key in ours if key not in theirs]
    found += [
        f"{key} is {ours[key]} and there {shape}"
        for key, shape in theirs.items()
        if key in ours and ours[key] != shape
    ]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return found[:SHOWN] + more
