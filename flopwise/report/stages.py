"""The table of stages: as flopwise counts them, and as papers print them."""

from __future__ import annotations

from flopwise.cost import Cost, StageCost, cost
from flopwise.dsl import Spec
from flopwise.report.spans import Spans
from flopwise.report.tables import Cell, Table

__all__ = ["paper_table", "stage_table"]


def stage_table(costs: Cost) -> Table:
    """Returns one row per stage, with all numbers of each."""
    return Table(
        heads=(
            *("stage", "block", "output", "width", "depth", "kernel", "stride"),
            *("MACs", "params", "activations"),
        ),
        rows=tuple(_row(stage) for stage in costs.stages),
        total=("total", *[""] * 6, costs.macs, costs.params, costs.activations),
        left=2,
    )


def _row(stage: StageCost) -> tuple[Cell, ...]:
    return (
        stage.name,
        stage.block,
        "x".join(map(str, stage.output)),
        str(stage.width),
        str(stage.depth),
        str(stage.kernel or ""),
        str(stage.stride),
        *(stage.macs, stage.params, stage.activations),
    )


def paper_table(spec: Spec) -> Table:
    """Returns the table that an architecture's paper prints.

    Where a search section lets a number vary, its values stand there: {3,5,7} or 48..128/8. MACs
    and parameters are those of the network as it is written.
    """
    costs = cost(spec.network().graph)
    spans = Spans(spec, costs)
    rows: list[tuple[Cell, ...]] = []
    for stage in costs.stages:
        told = spans.of(stage.name)
        words = (
            told(column) for column in ("output", "block", "kernel", "width", "depth", "stride")
        )
        rows.append((stage.name, *words, stage.params, stage.macs))
    return Table(
        heads=("stage", "output", "block", "k", "dim", "depth", "stride", "params", "MACs"),
        rows=tuple(rows),
        total=("total", *[""] * 6, costs.params, costs.macs),
        left=3,
    )
