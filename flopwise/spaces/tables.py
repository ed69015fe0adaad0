"""Levels of choices with their costs, and how they are made as few and as small as they can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Domain
from flopwise.dsl.route import Check
from flopwise.dsl.spent import Unsteady
from flopwise.dsl.telling import MAX_BLOCKS

__all__ = ["COLUMNS", "Compiled", "Level", "contracted", "smallest"]

COLUMNS = ("macs", "params", "activations", "depth_total", "blocks")
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of choices.

    Attributes:
        targets: The targets it decides.
        sizes: How many values each has.
        next: (states, choices): the state after it.
        cost: (states, choices, columns): what is added.
        told: (states, choices): False where a choice only repeats another, since a target in which
            they differ does not count.
        counts: (states, choices, targets): which of its targets count.
    """

    targets: tuple[str, ...]
    sizes: tuple[int, ...]
    next: Array
    cost: Array
    told: Array
    counts: Array


@dataclass(frozen=True, slots=True)
class Compiled:
    """The levels of a space.

    Attributes:
        levels: In the order in which they are decided; the first has one state.
        built: Whether a last state is a network.
        allowed: Whether it meets the requirements that no cost enters.
        free: Targets that no network and no other target depends on, with endlessly many values.
        late: Checks left for whole picks.
        runs: How many steps were run, each by its weight.
    """

    levels: tuple[Level, ...]
    built: Array
    allowed: Array
    free: Mapping[str, Domain]
    late: tuple[Check, ...]
    runs: int


def contracted(found: Compiled) -> Compiled:
    """Returns the same with levels that leave no choice taken into those beside them."""
    levels = list(found.levels)
    for at in range(len(levels) - 1, 0, -1):
        if levels[at].next.shape[1] == 1:
            before, gone = levels[at - 1], levels.pop(at)
            cost = before.cost + gone.cost[before.next, 0]
            after = gone.next[before.next, 0]
            levels[at - 1] = replace(before, next=after, cost=cost)
    if len(levels) > 1 and levels[0].next.shape[1] == 1:
        first, second = levels[0], levels[1]
        only = _rows(second, [first.next[0, 0]])
        levels[:2] = [replace(only, cost=only.cost + first.cost[0, 0])]
    rest = (found.built, found.allowed, found.free, found.late, found.runs)
    return Compiled(tuple(levels), *rest)


def smallest(found: Compiled) -> Compiled:
    """Returns the same with states that nothing later tells apart made one."""
    ends, number = np.unique(
        np.stack([found.built, found.allowed], axis=1), axis=0, return_inverse=True
    )
    number, alive = number.reshape(-1), np.asarray(ends[:, 0])
    levels: list[Level] = []
    for level in reversed(found.levels):
        after = number[level.next]
        cost = np.where(alive[after][..., None], level.cost, 0)
        parts = [after[..., None], level.told[..., None], level.counts, cost]
        kept, number = _distinct(np.concatenate(parts, axis=2).reshape(len(after), -1))
        levels.append(_rows(replace(level, next=after, cost=cost), kept))
        alive = np.asarray(alive[levels[-1].next].any(axis=1))
    assert len(levels[-1].next) == 1, "there is one beginning"
    if int(_most(levels)) > MAX_BLOCKS:
        raise Unsteady(f"some networks may have more than {MAX_BLOCKS:,} blocks")
    rest = (found.free, found.late, found.runs)
    return Compiled(tuple(levels[::-1]), ends[:, 0], ends[:, 1], *rest)


def _rows(level: Level, kept: Any) -> Level:
    """Returns a level with some of its states only."""
    return replace(
        level,
        next=level.next[kept],
        cost=level.cost[kept],
        told=level.told[kept],
        counts=level.counts[kept],
    )


def _distinct(rows: Array) -> tuple[Array, Array]:
    """Returns which rows are the first of their kind, and the number of every row's kind."""
    seen: dict[bytes, int] = {}
    kept: list[int] = []
    number = np.empty(len(rows), np.int64)
    for at, row in enumerate(rows):
        key = row.tobytes()
        if key not in seen:
            seen[key] = len(kept)
            kept.append(at)
        number[at] = seen[key]
    return np.array(kept, np.int64), number


def _most(levels: Sequence[Level]) -> int:
    """Returns the most blocks a network may have, at most; levels come last first."""
    most = np.zeros(int(levels[0].next.max()) + 1, np.int64)
    for level in levels:
        most = (level.cost[..., COLUMNS.index("blocks")] + most[level.next]).max(axis=1)
    return int(most[0])
