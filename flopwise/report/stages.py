"""The table of stages: what a network is, beside what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flopwise.cost import Cost
from flopwise.dsl import Network

__all__ = ["StageRow", "stage_rows"]

Number = int | list[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """One line of the table.

    Attributes:
        name: The stage's id, or the name of a converter that was inserted.
        block: What it repeats.
        output: Shape of what it yields, without the batch axis.
        width: Channels of the output.
        depth: Repetitions.
        kernel: Kernel (or patch) of each repetition; one number when they agree, None without.
        stride: Stride of the stage, None for blocks that have none.
        macs: Multiply-accumulates for one image.
        params: Elements of the learned tensors.
        activations: Elements of the outputs of convolutions, linears and matrix products.
        share: Part of the network's MACs, 0 to 1.
    """

    name: str
    block: str
    output: tuple[int, ...]
    width: int
    depth: int
    kernel: Number
    stride: Number
    macs: int
    params: int
    activations: int
    share: float


def stage_rows(network: Network, cost: Cost) -> tuple[StageRow, ...]:
    """Joins the settings of each stage to its costs, in the order of the network."""
    stages = {stage.name: stage for stage in network.stages}
    rows = []
    for line in cost.stages:
        stage = stages.get(line.name)
        settings = stage.settings if stage else ()
        kind, shape = line.output.kind, line.output.shape
        rows.append(
            StageRow(
                name=line.name,
                block=line.block,
                output=shape,
                width=shape[0] if kind == "map" else shape[-1],
                depth=stage.depth if stage else 1,
                kernel=_agreed(settings, "kernel", "patch"),
                stride=_agreed(settings[:1], "stride", "patch"),
                macs=line.macs,
                params=line.params,
                activations=line.activations,
                share=line.share,
            )
        )
    return tuple(rows)


def _agreed(settings: Sequence[Mapping[str, object]], *names: str) -> Number:
    """Returns the first setting of these names that exists: one number if repetitions agree."""
    for name in names:
        values = [value for each in settings if isinstance(value := each.get(name), int)]
        if values:
            return values if len(set(values)) > 1 else values[0]
    return None
