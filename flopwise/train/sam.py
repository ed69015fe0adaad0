"""Sharpness-aware minimisation: the gradient that counts is taken where the loss is worst nearby.

Source: Foret et al. 2021, arXiv:2010.01412, equation 2 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["climbed"]


@contextmanager
def climbed(model: nn.Module, radius: float) -> Iterator[None]:
    """Moves the weights along their gradients to a distance of `radius`, and exactly back.

    The distance is the Euclidean one over all weights together. Batch norms leave their running
    statistics as they are in between, so that a step counts its images once.

    Args:
        model: The network, with the gradients of the batch in `grad`.
        radius: The paper's rho.
    """
    moved = [weight for weight in model.parameters() if weight.grad is not None]
    before = [weight.detach().clone() for weight in moved]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    rates = [module.momentum for module in norms]
    with torch.no_grad():
        length = torch.nn.utils.get_total_norm([weight.grad for weight in moved])  # type: ignore[misc]
        for weight in moved:
            weight.add_(weight.grad * (radius / (length + 1e-12)))  # type: ignore[operator]
    for module in norms:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, rate in zip(norms, rates, strict=True):
            module.momentum = rate
        with torch.no_grad():
            for weight, value in zip(moved, before, strict=True):
                weight.copy_(value)
