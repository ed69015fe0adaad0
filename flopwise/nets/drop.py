"""How stochastic depth grows over the blocks of a network: rules by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["RATES", "constant", "linear", "stagewise"]


def linear(stages: Sequence[int]) -> list[float]:
    """From 0 at the first block to 1 at the last: every family of timm, NFNet included.

    Source: Huang et al. 2016, arXiv:1603.09382, eq. 4; timm `calculate_drop_path_rates`.

    >>> linear([0, 0, 1])
    [0.0, 0.5, 1.0]
    """
    return [index / max(1, len(stages) - 1) for index in range(len(stages))]


def stagewise(stages: Sequence[int]) -> list[float]:
    """One share for all blocks of a stage, from 0 in the first stage to 1 in the last.

    >>> stagewise([3, 3, 4, 6])
    [0.0, 0.0, 0.5, 1.0]
    """
    order = sorted(set(stages))
    return [order.index(stage) / max(1, len(order) - 1) for stage in stages]


def constant(stages: Sequence[int]) -> list[float]:
    """The whole rate in every block.

    Source: DeiT III, Touvron et al. 2022, arXiv:2204.07118, and its `models_v2.py`.

    >>> constant([0, 0, 1])
    [1.0, 1.0, 1.0]
    """
    return [1.0] * len(stages)


RATES: dict[str, Callable[[Sequence[int]], list[float]]] = {
    "linear": linear,
    "stagewise": stagewise,
    "constant": constant,
}
"""Rule -> the share of the rate that each block gets, from the stage each block stands in."""
