"""The steps of a space, each run once for everything that it reads and depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from flopwise.dsl import Value
from flopwise.dsl.spent import Edge, Unsteady
from flopwise.dsl.stepwise import Result, Step
from flopwise.dsl.together import Later
from flopwise.errors import BlockError, SpecError

__all__ = ["TOO_MANY", "TRACES", "Edges", "Runs"]

TRACES = 200_000
"""Most graphs that are traced for one space, each by its weight."""
TOO_MANY = "too many different stages would have to be traced, one for each set of values they need"

Edges: TypeAlias = tuple[tuple[str, Edge], ...]
"""What is open between two steps: who may be read, and what it gives."""
Cost: TypeAlias = tuple[int, ...]


class Runs:
    """What steps give and cost.

    Attributes:
        results: Key -> what a step gives, and its costs; None where it cannot be applied.
        traces: How many graphs were traced for it, each by its weight.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        """Takes the steps of a space; none is run yet."""
        self.results: dict[Any, tuple[Mapping[str, Edge], Cost] | None] = {}
        self.traces = 0
        self._order = {step.name: sorted(step.targets) for step in steps}
        self._reads: dict[Edges, int] = {}
        self._given: dict[Edges, Mapping[str, Edge]] = {}
        self._waiting: dict[Any, Callable[[], Result]] = {}

    def read(self, step: Step, edges: Edges) -> int:
        """Returns the number of what a step reads of the open edges."""
        read = tuple(edge for edge in edges if edge[0] in step.reads)
        return self._reads.setdefault(read, len(self._reads))

    def ask(
        self,
        step: Step,
        read: int,
        edges: Edges,
        values: Mapping[str, Value],
        codes: Mapping[str, int],
    ) -> Any:
        """Notes that a step is to be run, and returns under which key its result will be.

        Args:
            step: Which.
            read: The number of what it reads.
            edges: The open edges.
            values: The picks that count.
            codes: The numbers of their values; -1 for targets that do not count.
        """
        key = (step.name, read, *[codes[name] for name in self._order[step.name]])
        if key not in self.results and key not in self._waiting:
            picks = {name: values[name] for name in step.targets if name in values}
            try:
                self._waiting[key] = step.start(dict(edges), picks)
            except (SpecError, BlockError):
                self.results[key] = None
        return key

    def solve(self, step: Step) -> None:
        """Runs a step for all that was asked for."""
        together = step.together
        together.gathering = True
        before = together.traces
        while self._waiting:
            waiting = self._waiting.items()
            self._waiting = {key: run for key, run in waiting if not self._finished(key, run)}
            together.solve()
            if self.traces + step.weight * (together.traces - before) > TRACES:
                raise Unsteady(TOO_MANY)
        self.traces += step.weight * (together.traces - before)

    def _finished(self, key: Any, run: Callable[[], Result]) -> bool:
        """Runs a step, unless it has to wait for what others ask for too."""
        try:
            made, spent = run()
        except Later:
            return False
        except (SpecError, BlockError):
            self.results[key] = None
            return True
        given = self._given.setdefault(tuple(made.items()), made)
        cost = (spent.macs, spent.params, spent.activations, spent.depth, spent.blocks)
        self.results[key] = given, cost
        return True
