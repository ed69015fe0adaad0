"""What may be said of a network before it is trained. No torch until a score needs one.

Every score is a number that grows where its authors expect better networks. Among networks of
equal cost that expectation fails often, so scores are features and filters, shown beside trained
accuracies, and never decide alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from flopwise.blocks import Graph, Layer
from flopwise.dsl import Network

__all__ = ["ARITHMETIC", "IMAGES", "Images", "Ways", "score", "scores_of", "ways"]

IMAGES = 32
"""How many images scores look at."""


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
    def noise(network: Network, count: int = IMAGES, seed: int = 0) -> Images:
        """Returns normal noise of a network's input size, with random labels."""
        rng, shape = np.random.default_rng(seed), (network.input.channels, *network.input.size)
        pixels = rng.standard_normal((count, *shape)).astype(np.float32)
        return Images(pixels, rng.integers(network.classes, size=count), seed)


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways from the input of a graph to one value, each as long as its layers with MACs.

    Attributes:
        shortest: Length of the shortest.
        longest: Length of the longest.
        mean: Their mean length.
        log_count: Logarithm of how many there are.
        along: Mean number of layers of each kind, and mean MACs and parameters of a way.
    """

    shortest: float = 0.0
    longest: float = 0.0
    mean: float = 0.0
    log_count: float = 0.0
    along: Mapping[str, float] = field(default_factory=dict)

    @property
    def pooled(self) -> float:
        """Mean number of poolings on a way."""
        return sum(count for kind, count in self.along.items() if "pool" in kind)

    def after(self, layer: Layer) -> Ways:
        """Returns the ways through one more layer."""
        step = bool(layer.macs)
        along = {**self.along}
        for name, more in {layer.kind: 1, "macs": layer.macs, "params": layer.params}.items():
            along[name] = along.get(name, 0.0) + more
        return replace(
            self,
            shortest=self.shortest + step,
            longest=self.longest + step,
            mean=self.mean + step,
            along=along,
        )

    @staticmethod
    def met(several: Sequence[Ways]) -> Ways:
        """Returns all the ways that meet at a layer."""
        counts = [ways.log_count for ways in several]
        log_count = float(np.logaddexp.reduce(counts))
        shares = [math.exp(count - log_count) for count in counts]
        along: dict[str, float] = {}
        for ways, share in zip(several, shares, strict=True):
            for name, mean in ways.along.items():
                along[name] = along.get(name, 0.0) + share * mean
        return Ways(
            shortest=min(ways.shortest for ways in several),
            longest=max(ways.longest for ways in several),
            mean=sum(ways.mean * share for ways, share in zip(several, shares, strict=True)),
            log_count=log_count,
            along=along,
        )


def ways(graph: Graph, at: Sequence[Ways | None] = (Ways(),)) -> tuple[Ways | None, ...]:
    """Returns the ways to each output of a graph; None where no way leads there.

    Args:
        graph: A network's graph, or one inside it.
        at: The ways to each of its inputs.
    """
    known = [*at]
    for layer in graph.layers:
        before = [known[i] for i in layer.inputs]
        open_ = [each for each in before if each] if layer.kind != "zero" else []
        if layer.graph:
            known += ways(layer.graph, before)
        else:
            known += [Ways.met(open_).after(layer) if open_ else None] * len(layer.outputs)
    return tuple(known[i] for i in graph.outputs)


def _depth(graph: Graph) -> float:
    return max((each.longest for each in ways(graph) if each), default=0.0)


ARITHMETIC: Mapping[str, Callable[[Graph], float]] = {
    "macs": lambda graph: float(graph.macs),
    "params": lambda graph: float(graph.params),
    "activations": lambda graph: float(graph.activations),
    "depth": _depth,
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
