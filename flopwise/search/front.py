"""What no other trial beats in every objective at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from flopwise.search.record import TrialRow

__all__ = ["Objectives", "beaten", "front", "value_of"]

Objectives: TypeAlias = Sequence[tuple[str, str]]
"""`maximize` or `minimize`, and the score or cost, in order of importance."""


def value_of(row: TrialRow, metric: str) -> float:
    """Returns a validation score or a cost of a trained trial."""
    return row.scores[metric] if metric in row.scores else row.costs[metric]


def front(rows: Iterable[TrialRow], objectives: Objectives) -> list[TrialRow]:
    """Returns the trained trials that no other beats, best first by the first objective.

    With one objective these are all trained trials: each later one is what would be best without
    those before it. Longer trainings come before shorter ones, whose scores mean something else;
    with several objectives only the longest are compared.
    """
    done = sorted(
        (row for row in rows if row.state == "done"),
        key=lambda row: (-row.share, *_losses(row, objectives), row.number),
    )
    if len(objectives) < 2:
        return done
    done = [row for row in done if row.share == done[0].share]
    losses = [_losses(row, objectives) for row in done]
    return [row for row, own in zip(done, losses, strict=True) if not beaten(own, losses)]


def _losses(row: TrialRow, objectives: Objectives) -> tuple[float, ...]:
    return tuple(
        (-1 if direction == "maximize" else 1) * value_of(row, metric)
        for direction, metric in objectives
    )


def beaten(own: tuple[float, ...], others: Iterable[tuple[float, ...]]) -> bool:
    """Whether one of the others is nowhere larger and somewhere smaller."""
    return any(
        other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in others
    )
