"""What may be said of a network before it is trained. No torch until a score needs one.

Every score is a number that grows where its authors expect better networks. Among networks of
equal cost that expectation fails often, so scores are features and filters, shown beside trained
accuracies, and never decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flopwise.blocks import Graph
from flopwise.dsl import Network

__all__ = ["ARITHMETIC", "Images", "depth", "score", "scores_of"]


@dataclass(frozen=True, slots=True)
class Images:
    """The batch that scores look at.

    Attributes:
        pixels: Normalised images, (B, C, H, W).
        labels: Their classes, (B,).
        seed: Seed of the initial weights.
    """

    pixels: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    seed: int = 0

    @staticmethod
    def noise(network: Network, count: int = 32, seed: int = 0) -> Images:
        """Returns normal noise of a network's input size, with random labels."""
        rng, shape = np.random.default_rng(seed), (network.input.channels, *network.input.size)
        pixels = rng.standard_normal((count, *shape)).astype(np.float32)
        return Images(pixels, rng.integers(network.classes, size=count), seed)


def depth(graph: Graph, at: Sequence[int] = (0,)) -> tuple[int, ...]:
    """Returns how many layers with MACs lie on the longest way to each output.

    Args:
        graph: A network's graph, or one inside it.
        at: The same for each of its inputs.
    """
    known = [*at, *(0 for _ in range(len(graph.inputs) - len(at)))]
    for layer in graph.layers:
        before = [known[i] for i in layer.inputs]
        if layer.graph:
            known += depth(layer.graph, before)
        else:
            known += [max(before, default=0) + bool(layer.macs)] * len(layer.outputs)
    return tuple(known[i] for i in graph.outputs)


ARITHMETIC: Mapping[str, Callable[[Graph], float]] = {
    "macs": lambda graph: float(graph.macs),
    "params": lambda graph: float(graph.params),
    "activations": lambda graph: float(graph.activations),
    "depth": lambda graph: float(max(depth(graph))),
}
"""Scores that need no weights; the others are in `untrained.py`."""


def score(name: str, network: Network, images: Images | None = None) -> float:
    """Returns one score of a network; NaN where it cannot be told.

    Args:
        name: One of `flopwise.dsl.tables.SCORES`.
        network: The network.
        images: What it looks at; noise by default.
    """
    return scores_of([name], network, images)[name]


def scores_of(
    names: Sequence[str], network: Network, images: Images | None = None
) -> dict[str, float]:
    """Returns several scores of a network, which is built at most once."""
    found = {name: ARITHMETIC[name](network.graph) for name in names if name in ARITHMETIC}
    left = [name for name in names if name not in ARITHMETIC]
    if left:
        from flopwise.search.untrained import measure

        found |= measure(left, network, images or Images.noise(network))
    return {name: found[name] for name in names}
