"""What blocks give and cost, each of its inputs and settings once, and many of these at once.

What is not known yet is noted, and answered with `Later`. Then all that was asked for is traced:
candidates that differ in numbers only share a trace (see `blocks/numbers.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from flopwise.blocks import BLOCKS, Block, Graph, Trace, Type
from flopwise.blocks.numbers import Apart, Numbers, numbers
from flopwise.blocks.stage import converted, enter, trace_block
from flopwise.dsl.spent import Depends, Spent, told
from flopwise.errors import BlockError, SpecError

__all__ = ["Later", "Together", "Told"]

MOST = 256
"""Most candidates in one trace."""
SHIPPED = frozenset(BLOCKS.values())
"""Blocks that are known to do arithmetic only; others are traced for one candidate at a time."""

NUMBERS = (int, float)

Told: TypeAlias = tuple[tuple[Type, ...], Depends, Spent]
Case: TypeAlias = tuple[bool, Block, Type, tuple[tuple[str, Any], ...]]
"""Whether it is the entry of a stage or a repetition; the block, its input and its settings."""
Member: TypeAlias = tuple[Case, list[Any]]


class Later(Exception):  # noqa: N818  no failure: it is answered when all have asked
    """What a block costs here is not known yet."""


class Together:
    """What is known of the entries and repetitions of blocks.

    Attributes:
        gathering: Whether what is not known is noted instead of traced at once.
        traces: How many graphs were traced, here or by who asks elsewhere.
    """

    def __init__(self) -> None:
        """Knows nothing."""
        self.gathering, self.traces = False, 0
        self._known: dict[Case, Told | Exception] = {}
        self._asked: dict[Case, None] = {}

    def repetition(self, block: Block, type: Type, own: Sequence[tuple[str, Any]]) -> Told:
        """Returns what one repetition gives, what that depends on, and what it costs.

        Args:
            block: A block of one input.
            type: What it reads.
            own: The settings that its function takes.

        Raises:
            BlockError: The block cannot be applied.
            Later: It is not known yet.
        """
        return self._told((False, block, type, tuple(own)))

    def entry(self, block: Block, type: Type, settings: Mapping[str, Any]) -> Told:
        """Returns the same of the layers that a stage runs once before its first block."""
        return self._told((True, block, type, tuple(settings.items())))

    def solve(self) -> None:
        """Traces all that was asked for."""
        alike: dict[Any, list[Member]] = {}
        for case in self._asked:
            pattern, slots = _flat(case)
            alike.setdefault(pattern, []).append((case, slots))
        self._asked = {}
        for members in alike.values():
            for first in range(0, len(members), MOST):
                self._trace(members[first : first + MOST])

    def _told(self, case: Case) -> Told:
        if case not in self._known:
            if self.gathering and case[1] in SHIPPED:
                self._asked[case] = None
                raise Later
            self._alone(case)
        found = self._known[case]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    def _alone(self, case: Case) -> None:
        self.traces += 1
        try:
            self._known[case] = told(_graph(case))
        except (BlockError, SpecError) as error:
            self._known[case] = error

    def _trace(self, members: Sequence[Member]) -> None:
        """Traces candidates together as far as they go the same way."""
        if len(members) == 1:
            self._alone(members[0][0])
            return
        columns = [numbers(column) for column in zip(*(slots for _, slots in members), strict=True)]
        self.traces += 1
        try:
            found = told(_graph(_filled(members[0][0], iter(columns))))
        except Apart as error:
            parts: dict[Any, list[Member]] = {}
            for way, member in zip(error.ways, members, strict=True):
                parts.setdefault(way, []).append(member)
            for part in parts.values():
                self._trace(part)
        except Exception:  # each meets its own
            for case, _ in members:
                self._alone(case)
        else:
            self._known |= {case: _of(found, at) for at, (case, _) in enumerate(members)}


def _graph(case: Case) -> Graph:
    entry, block, type, settings = case
    if not entry:
        return trace_block(block, [type], dict(settings))
    trace = Trace()
    tensors = converted(block, [trace.input(type)], block.name)
    return trace.close(*enter(block, tensors, dict(settings)))


def _flat(case: Case) -> tuple[Any, list[Any]]:
    """Returns what candidates of one trace share, and the numbers in which they may differ."""
    entry, block, type, settings = case
    grid = type.grid or ()
    kinds = tuple([value.__class__ for _, value in settings])
    rest = tuple([value for _, value in settings if value.__class__ not in NUMBERS])
    mine = [value for _, value in settings if value.__class__ in NUMBERS]
    shared = (entry, block, type.kind, len(type.shape), len(grid), type.absent, kinds, rest)
    return shared, [*type.shape, type.extra, type.variance, *grid, *mine]


def _filled(case: Case, slots: Iterator[Any]) -> Case:
    """Returns a case with other numbers in its slots."""
    entry, block, type, settings = case
    shape = tuple([next(slots) for _ in type.shape])
    extra, variance = next(slots), next(slots)
    grid = (next(slots), next(slots)) if type.grid else None
    changed = replace(type, shape=shape, extra=extra, variance=variance, grid=grid)
    return (
        entry,
        block,
        changed,
        tuple([(k, next(slots) if v.__class__ in NUMBERS else v) for k, v in settings]),
    )


def _of(found: Told, at: int) -> Told:
    """Returns what one of the candidates of a trace gives and costs."""
    types, depends, spent = found

    def one(value: Any) -> Any:
        return value.values[at] if value.__class__ is Numbers else value

    return (
        tuple(
            Type(
                each.kind,
                tuple(map(one, each.shape)),
                one(each.extra),
                each.grid and (one(each.grid[0]), one(each.grid[1])),
                each.absent,
            )
            for each in types
        ),
        depends,
        Spent(one(spent.macs), one(spent.params), one(spent.activations), 0, one(spent.blocks)),
    )
