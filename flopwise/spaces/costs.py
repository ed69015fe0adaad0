"""Costs from tables: what a set of picks costs is a sum of one entry per level.

The tables are filled by the block functions themselves (see `levels.py`), so their sums equal
the count of the traced graph to the last digit. A batch is costed by numpy, one array operation per
level for all candidates at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Spec, Value
from flopwise.dsl.route import Route
from flopwise.dsl.spent import Unsteady
from flopwise.errors import SpecError
from flopwise.spaces.kept import kept
from flopwise.spaces.levels import Tell, compile_route
from flopwise.spaces.tables import COLUMNS, Compiled

__all__ = ["METRICS", "Batch", "CostTables", "cost_tables"]

Array: TypeAlias = NDArray[Any]
Picks: TypeAlias = Mapping[str, Value]

METRICS = COLUMNS[:4]
"""What is summed: the three costs, and the repetitions of all stages together."""
CHECKED = 12
"""Candidates whose costs are compared with the graph's when tables are made."""
FAR = 1 << 60
"""Further than any cost."""
CHUNK = 8192
"""Candidates costed at once; larger ones fall out of the cache."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What tables say of many candidates.

    Attributes:
        costs: (metrics, candidates), in the order of `METRICS`; 0 where there is no network.
        built: Whether the picks make a network.
        allowed: Whether it meets the requirements that no cost enters.
    """

    costs: Array
    built: Array
    allowed: Array


@dataclass(frozen=True, slots=True)
class _Flat:
    """A level as one array: the place of a cell is that of its state plus that of the choice."""

    rows: tuple[int, ...]  # of the targets among all targets
    strides: tuple[int, ...]
    next: Array  # to the place of the state after it
    costs: tuple[Array, ...]


class CostTables:
    """The cost tables of a space.

    A candidate is a column of codes: for every target of `targets` the number of its value in
    `values`. Codes of targets that do not count are ignored.
    """

    def __init__(self, route: Route, compiled: Compiled) -> None:
        """Takes the compiled levels of a route."""
        self.route, self.compiled = route, compiled
        self.levels = compiled.levels
        self.targets = tuple(name for level in self.levels for name in level.targets)
        self.values = {name: tuple(route.domains[name].values()) for name in self.targets}
        self._rows = {name: at for at, name in enumerate(self.targets)}
        self._flat = tuple(self._flattened())

    def _flattened(self) -> Iterator[_Flat]:
        for at, level in enumerate(self.levels):
            wide = self.levels[at + 1].next.shape[1] if at + 1 < len(self.levels) else 1
            strides = [1] * len(level.sizes)
            for place in range(len(level.sizes) - 2, -1, -1):
                strides[place] = strides[place + 1] * level.sizes[place + 1]
            yield _Flat(
                tuple(self._rows[name] for name in level.targets),
                tuple(strides),
                np.ascontiguousarray(level.next * wide).reshape(-1),
                tuple(
                    np.ascontiguousarray(level.cost[..., column]).reshape(-1)
                    for column in range(len(METRICS))
                ),
            )

    def batch(self, codes: Array, metrics: Sequence[str] = METRICS) -> Batch:
        """Returns what candidates cost.

        Args:
            codes: (targets, candidates), whole numbers.
            metrics: Which of `METRICS`.
        """
        count = codes.shape[1]
        costs = np.empty((len(metrics), count), np.int64)
        ends = np.empty(count, np.int64)
        for first in range(0, count, CHUNK):
            part = slice(first, first + CHUNK)
            self._chunk(codes[:, part], metrics, costs[:, part], ends[part])
        return Batch(costs, self.compiled.built[ends], self.compiled.allowed[ends])

    def _chunk(self, codes: Array, metrics: Sequence[str], costs: Array, ends: Array) -> None:
        columns = [METRICS.index(metric) for metric in metrics]
        at = np.zeros(codes.shape[1], np.int64)
        found, costs[:] = np.empty_like(at), 0
        for flat in self._flat:
            for row, stride in zip(flat.rows, flat.strides, strict=True):
                at += codes[row] if stride == 1 else np.multiply(codes[row], stride, dtype=np.int64)
            for place, column in enumerate(columns):
                costs[place] += np.take(flat.costs[column], at, out=found, mode="clip")
            at = np.take(flat.next, at, out=ends, mode="clip").copy()

    def costs(self, picks: Picks) -> dict[str, int] | None:
        """Returns what one set of picks costs; None where it makes no network.

        Raises:
            KeyError: A value is none of its target's.
        """
        return self.look(picks)[0]

    def look(self, picks: Picks) -> tuple[dict[str, int] | None, bool]:
        """Returns what one set of picks costs, and whether it is allowed whatever it costs."""
        at = macs = params = activations = depth = 0
        for places, cells in self._single:
            for name, offsets in places:
                if name in picks:  # what does not count may be missing
                    at += offsets[picks[name]]
            at, one, two, three, four = cells[at]
            macs += one
            params += two
            activations += three
            depth += four
        if not self.compiled.built[at]:
            return None, False
        totals = (macs, params, activations, depth)
        return dict(zip(METRICS, totals, strict=True)), bool(self.compiled.allowed[at])

    @cached_property
    def _single(self) -> list[Any]:
        """The levels as plain Python, which is faster than numpy for one candidate."""
        found = []
        for flat in self._flat:
            places = []
            for row, stride in zip(flat.rows, flat.strides, strict=True):
                name = self.targets[row]
                offsets = {value: code * stride for code, value in enumerate(self.values[name])}
                places.append((name, offsets))
            columns = [flat.next.tolist(), *(column.tolist() for column in flat.costs)]
            found.append((places, list(zip(*columns, strict=True))))
        return found

    def encode(self, picks: Sequence[Picks]) -> Array:
        """Returns the codes of candidates, (targets, candidates)."""
        codes = np.zeros((len(self.targets), len(picks)), np.int64)
        for row, name in enumerate(self.targets):
            known = {value: code for code, value in enumerate(self.values[name])}
            for at, each in enumerate(picks):
                if name in each:
                    codes[row, at] = known[each[name]]
        return codes

    def decode(self, codes: Array) -> list[dict[str, Value]]:
        """Returns the picks that count of every candidate, in the order of the space."""
        counts = self.counting(codes)
        columns = [
            (name, self.values[name], codes[self._rows[name]].tolist(), counts[name].tolist())
            for name in self.route.domains
            if name in self._rows
        ]
        return [
            {name: values[code[at]] for name, values, code, count in columns if count[at]}
            for at in range(codes.shape[1])
        ]

    def counting(self, codes: Array) -> dict[str, Array]:
        """Returns for every target in which candidates it counts."""
        state = np.zeros(codes.shape[1], np.int64)
        found: dict[str, Array] = {}
        for level, flat in zip(self.levels, self._flat, strict=True):
            choice = np.zeros_like(state)
            for row, stride in zip(flat.rows, flat.strides, strict=True):
                choice += codes[row].astype(np.int64) * stride
            found |= {n: level.counts[state, choice, i] for i, n in enumerate(level.targets)}
            state = level.next[state, choice]
        return found

    @cached_property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """The smallest and largest of each cost, over all networks that can be built."""
        found: dict[str, tuple[int, int]] = {}
        for column, metric in enumerate(METRICS[:3]):
            ends = [np.where(self.compiled.built, 0, far) for far in (FAR, -FAR)]
            for level in reversed(self.levels):
                low, high = (level.cost[..., column] + end[level.next] for end in ends)
                ends = [low.min(axis=1), high.max(axis=1)]
            if self.buildable:
                found[metric] = int(ends[0][0]), int(ends[1][0])
        return found

    @cached_property
    def size(self) -> int:
        """How many sets of picks there are, those that make no network included."""
        return self.paths(lambda built, allowed: np.ones_like(built))

    @cached_property
    def buildable(self) -> int:
        """How many of them make a network."""
        return self.paths(lambda built, allowed: built)

    @cached_property
    def allowed(self) -> int:
        """How many of them meet the requirements that no cost enters."""
        return self.paths(lambda built, allowed: allowed)

    def paths(self, wanted: Any) -> int:
        """Counts paths to the ends that are wanted, in whole numbers of any size."""
        count = wanted(self.compiled.built, self.compiled.allowed).astype(int).astype(object)
        for level in reversed(self.levels):
            rows = zip(level.next, level.told, strict=True)
            sums = [sum(count[row[told]].tolist()) for row, told in rows]
            count = np.array(sums, dtype=object)
        return int(count[0])


def cost_tables(spec: Spec, tell: Tell | None = None) -> CostTables:
    """Returns the cost tables of a spec's space.

    Some candidates are counted by the graph as well; tables that differ are none. Tables that took
    long to fill are kept on disk.

    Args:
        spec: A spec with a search section.
        tell: Told how far it is, where it takes long.

    Raises:
        Unsteady: The space cannot be compiled; it says why.
    """
    found = spec.route()
    plain = replace(found, steps=())  # what is known of the steps is not needed any more

    def agrees(compiled: Compiled) -> bool:
        return _differing(spec, CostTables(plain, compiled)) is None

    tables = CostTables(plain, kept(spec, found, lambda: compile_route(found, tell), agrees))
    picks = _differing(spec, tables)
    if picks is not None:
        raise Unsteady(f"tables and graph disagree at {picks}")
    return tables


def _differing(spec: Spec, tables: CostTables) -> Picks | None:
    """Returns a candidate that the graph counts otherwise, if one of a few is."""
    rng = np.random.default_rng(0)
    sizes = [len(tables.values[name]) for name in tables.targets]
    codes = np.stack([rng.integers(size, size=CHECKED) for size in sizes]) if sizes else None
    for picks in tables.decode(codes) if codes is not None else [{}]:
        try:
            graph = spec.network(picks).graph if picks else spec.network().graph
            counted = {metric: int(getattr(graph, metric)) for metric in METRICS[:3]}
        except SpecError:
            counted = None
        costs = tables.costs(picks)
        if (costs and {m: costs[m] for m in METRICS[:3]}) != counted:
            return picks
    return None
