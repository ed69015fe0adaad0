"""What a network costs, stage by stage and in total, in a named convention.

The numbers are sums over the layers of a graph; a convention is a rule over the same breakdown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from flopwise.blocks import Graph, Layer

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "PARAM_CONVENTIONS",
    "VIEWS",
    "Cost",
    "StageCost",
    "cost",
    "peak_memory",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One step of a network and its share of the cost.

    Attributes:
        name: The stage's id in the spec.
        block: Name of the block it repeats.
        depth: Repetitions.
        output: Shape it puts out, without the batch axis: (C, H, W), (L, C) or (C,).
        kind: `map`, `tokens` or `vec`.
        width: Channels of the output.
        kernel: Size of the largest spatial window inside, 0 if there is none.
        stride: Factor by which the map shrinks.
        macs: Multiply-accumulates for one image, in the convention of the table.
        params: Learned numbers.
        activations: Elements put out by the layers that have MACs, for one image.
    """

    name: str
    block: str
    depth: int
    output: tuple[int, ...]
    kind: str
    width: int
    kernel: int
    stride: int
    macs: int
    params: int
    activations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a network for one image at its input size.

    Attributes:
        convention: The rule by which the multiply-accumulates are counted.
        macs: Multiply-accumulates.
        params: Learned numbers.
        activations: Elements put out by the layers that have MACs.
        peak_memory: Bytes of layer outputs that must be held at once in inference, in float32.
        stages: The share of every stage.
    """

    convention: str
    macs: int
    params: int
    activations: int
    peak_memory: int
    stages: tuple[StageCost, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as `flopwise show --json` prints it."""
        return asdict(self)


def cost(graph: Graph, *, convention: str = "macs") -> Cost:
    """Counts a network's graph.

    Args:
        graph: The traced network.
        convention: One of `CONVENTIONS`; `macs` counts convolutions, linears and the matrix
            products of attention, which equals torch's FlopCounterMode halved.

    Raises:
        KeyError: if the convention is unknown.
    """
    rule = CONVENTIONS[convention]
    stages = [_stage(graph, layer, rule) for layer in graph.layers]
    totals = {name: metric(graph) for name, metric in METRICS.items()}
    totals["macs"] = sum(stage.macs for stage in stages)  # in the convention asked for
    return Cost(convention=convention, stages=tuple(stages), **totals)


def peak_memory(graph: Graph) -> int:
    """Largest sum of layer outputs that are alive at once: one image, inference, float32.

    A layer holds its inputs and its outputs; what no later layer reads is freed. Weights and the
    scratch memory inside a layer do not count. Layers that only look at the same numbers in
    another shape, and those that do nothing in inference, hold nothing new.
    """
    steps, outputs = graph.steps()
    made, dropped = Counter[int](), Counter[int]()
    for size, first, last in _memory(graph, steps, outputs):
        made[first] += size
        dropped[last] += size
    held = most = 0
    for step in range(-1, len(steps)):  # the image is there before the first layer
        held += made[step]
        most = max(most, held)
        held -= dropped[step]
    return 4 * most


def _memory(
    graph: Graph, steps: Sequence[tuple[Layer, tuple[int, ...]]], outputs: Iterable[int]
) -> list[tuple[int, int, int]]:
    """Returns (elements, step that makes it, last step that reads it) for every memory."""
    sizes = [prod(type.shape) for type in graph.inputs]
    first = [-1] * len(sizes)
    last = [-1] * len(sizes)
    memory = list(range(len(sizes)))  # of every value
    held = [True] * len(sizes)  # whether a memory depends on the image; tables are weights
    for step, (layer, reads) in enumerate(steps):
        for read in reads:
            last[memory[read]] = step
        for out in layer.outputs:
            if layer.kind in VIEWS:
                memory.append(memory[reads[0]])
            else:
                memory.append(len(sizes))
                held.append(any(held[memory[read]] for read in reads))
                sizes.append(prod(out.shape) if held[-1] else 0)
                first.append(step)
                last.append(step)
    for index in outputs:
        last[memory[index]] = len(steps)
    return list(zip(sizes, first, last, strict=True))


def _stage(graph: Graph, layer: Layer, rule: Callable[[Layer], int]) -> StageCost:
    out = layer.outputs[0]
    before = graph.types[layer.inputs[0]]
    leaves = [leaf for _, leaf in layer.graph.walk()] if layer.graph else [layer]
    windows = [leaf.settings["kernel"] for leaf in leaves if "kernel" in leaf.settings]
    blocks = [inner for inner in layer.graph.layers if inner.name.isdigit()] if layer.graph else []
    return StageCost(
        name=layer.name or layer.kind,
        block=layer.graph.title if layer.graph else layer.kind,
        depth=len(blocks) if layer.kind == "stage" else 1,
        output=out.shape,
        kind=out.kind,
        width=out.shape[0] if out.kind in ("map", "vec") else out.shape[-1],
        kernel=max(windows, default=0),
        stride=_shrinks(_rows(before), _rows(out)),
        macs=sum(map(rule, leaves)),
        params=layer.params,
        activations=layer.activations,
    )


def _rows(type: Any) -> int:
    if type.kind == "map":
        return int(type.shape[1])
    return int(type.grid[0]) if type.grid else 0


def _shrinks(before: int, after: int) -> int:
    return round(before / after) if before and after else 1


def _macs(layer: Layer) -> int:
    return layer.macs


STANDARDISED = ("std_conv", "weight_std_conv")


def _conv_linear(layer: Layer) -> int:
    kinds = ("conv", "std_conv", "weight_std_conv", "channel_conv", "token_conv", "linear")
    return layer.macs if layer.kind in kinds else 0


def _fvcore(layer: Layer) -> int:
    """Adds 2 per element of batch norm (eval mode), 5 of layer norm, 5 per standardised weight."""
    weights = {"batch_norm": 2, "layer_norm": 5, "layer_norm2d": 5, "rms_norm": 5, "group_norm": 5}
    work = weights.get(layer.kind, 0) * prod(layer.outputs[0].shape)
    work += 5 * prod(layer.parameters[0].shape) if layer.kind in STANDARDISED else 0
    return layer.macs + work


def _thop(layer: Layer) -> int:
    """Adds 4 per element of a norm, and sees no product of two activations."""
    norm = 4 * prod(layer.outputs[0].shape) if layer.kind in ("batch_norm", "layer_norm") else 0
    return _conv_linear(layer) + norm


CONVENTIONS: dict[str, Callable[[Layer], int]] = {
    "macs": _macs,
    "conv_linear": _conv_linear,  # all ConvNet rows of the ConvNeXt and NFNet papers
    "fvcore": _fvcore,  # timm's published figures
    "thop": _thop,  # the deeper ResNets, ResNeXt and DenseNet of the T2T-ViT paper
}


def _with_buffers(graph: Graph) -> int:
    """Adds what the checkpoint holds besides: fixed tables, the statistics of batch norms."""
    buffers = (each for _, leaf in graph.walk() for each in leaf.buffers)
    return graph.params + sum(prod(each.shape) for each in buffers if each.shape)  # no counters


def _without_position(graph: Graph) -> int:
    """Leaves out the learned tables of positions."""
    tables = (each for _, leaf in graph.walk() for each in leaf.parameters)
    return graph.params - sum(prod(p.shape) for p in tables if p.name.startswith("pos_embed"))


def _without_head(graph: Graph) -> int:
    """Leaves out the layer that gives the classes, which is the last one."""
    *_, (_, last) = graph.walk()
    return graph.params - last.params


PARAM_CONVENTIONS: dict[str, Callable[[Graph], int]] = {
    "learned": lambda graph: graph.params,
    "with_buffers": _with_buffers,  # most rows of the T2T-ViT paper
    "without_position": _without_position,  # its ViT rows
    "without_head": _without_head,  # ViT-Base in the ViT paper
}
"""What of a network its source counts as parameters."""

METRICS: dict[str, Callable[[Graph], int]] = {
    "macs": lambda graph: graph.macs,
    "params": lambda graph: graph.params,
    "activations": lambda graph: graph.activations,
    "peak_memory": peak_memory,
}
"""What is measured of a graph without running it, in whole numbers."""

VIEWS = frozenset(
    {
        "channels_first",
        "channels_last",
        "chunk",
        "drop_path",
        "dropout",
        "first_channels",
        "flatten",
        "halves",
        "keys_values",
        "near_map",
        "split_heads",
        "spread",
        "take_token",
        "to_heads",
        "to_map",
        "to_tokens",
        "unflatten",
    }
)
"""Layer kinds whose output is no new memory in inference."""
