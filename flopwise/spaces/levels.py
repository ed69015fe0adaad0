"""A space compiled: from the route of its networks to levels of choices with their costs.

A level decides a few targets at once. Its table says, for every state before it and every choice,
the state after it and what is added to the costs. A state is all that later levels need to know:
the types on the open edges, the targets that are still asked for, and whether all is well so far.
So every path through the levels is one set of picks, and its costs are a sum of table entries.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite, prod
from time import monotonic
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Value
from flopwise.dsl.route import Check, Route
from flopwise.dsl.spent import Edge, Unsteady
from flopwise.dsl.stepwise import Step
from flopwise.errors import SpecError
from flopwise.spaces.runs import TOO_MANY, TRACES, Edges, Runs
from flopwise.spaces.tables import COLUMNS, Compiled, Level, contracted, smallest

__all__ = ["Tell", "compile_route"]

CELLS = 1_000_000
"""Most cells of all tables together."""
AT_ONCE = 20_000
"""How many candidates a step is run for at once."""
PATIENCE, PAUSE = 1.5, 0.2
"""Seconds until it is first told how far it is, and between two times."""
WIDE = 400
"""Most choices of one level, where its targets can be spread over several."""

Array: TypeAlias = NDArray[Any]
Tell: TypeAlias = Callable[[float], None]
"""Told which share of the work is done, while it takes long."""


@dataclass(slots=True, eq=False)
class _Item:
    """A level before it has a table."""

    own: tuple[str, ...]
    step: Step | None
    checks: list[Check] = field(default_factory=list)
    keep: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()


def compile_route(route: Route, tell: Tell | None = None) -> Compiled:
    """Returns the levels of a space.

    Checks over targets that lie far apart are left for whole picks where the tables would be too
    large with them.

    Args:
        route: How its networks are put together.
        tell: Told how far it is, where it takes long.

    Raises:
        Unsteady: The space cannot be compiled; it says why.
    """
    late = tuple(check for check in route.checks if len(check.targets) > 1)
    with _no_collection():
        try:
            return smallest(contracted(_Compiler(route, (), tell).run()))
        except Unsteady:
            if not late:
                raise
            return smallest(contracted(_Compiler(route, late, tell).run()))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python from looking for garbage among millions of small tuples, none of which is."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Compiler:
    """One compilation."""

    def __init__(self, route: Route, late: Sequence[Check], tell: Tell | None) -> None:
        self.route, self.late, self.tell = route, tuple(late), tell
        self.next_told = monotonic() + PATIENCE
        self.values = {
            name: tuple(domain.values())
            for name, domain in route.domains.items()
            if isfinite(domain.size) and domain.size <= CELLS
        }
        self.runs = Runs(route.steps)
        self.items = self._planned()
        self.free = {n: d for n, d in route.domains.items() if n not in self._decided()}
        self._met: dict[Any, bool] = {}
        self._counted: dict[Any, bool] = {}
        self.cells = 0

    def run(self) -> Compiled:
        """Fills all tables."""
        states: list[Any] = [((), True, ())]
        live: tuple[str, ...] = ()
        levels: list[Level] = []
        for item in self.items:
            after = tuple(name for name in (*live, *item.own) if name in item.keep)
            level, states = _Filler(self, item, states, live, after).fill()
            levels.append(level)
            live = after
        ends = [dict(edges) if edges is not None else {} for edges, _, _ in states]
        alive = [all(e in edges and edges[e].alive for e in self.route.ends) for edges in ends]
        built = np.array(alive)
        allowed = np.array([ok for _, ok, _ in states]) & built
        return Compiled(tuple(levels), built, allowed, self.free, self.late, self.runs.traces)

    def done(self, item: _Item, share: float) -> None:
        """Tells how far it is, once this share of a level is filled."""
        if self.tell and monotonic() > self.next_told:
            self.next_told = monotonic() + PAUSE
            self.tell((self.items.index(item) + share) / len(self.items))

    def _decided(self) -> set[str]:
        return {name for item in self.items for name in item.own}

    def _planned(self) -> list[_Item]:
        """Returns the levels: each step after the targets it needs, then what no step needs."""
        items: list[_Item] = []
        decided: set[str] = set()
        checks = [check for check in self.route.checks if check not in self.late]
        for step in self.route.steps:
            self._refuse_many(step)
            items += self._spread(self._closed(step.targets, decided), step)
        asked = frozenset().union(*(check.targets for check in checks))
        items += self._spread(self._closed(asked, decided), None)
        rest = [name for name in self.route.domains if name not in decided]
        for name in rest:
            if name in decided:
                continue
            if name in self.values:
                items += self._spread(self._closed({name}, decided), None)
            elif any(name in deps for deps in self.route.conditions.values()):
                raise Unsteady(f"'{name}' has endlessly many values, and conditions ask for it")
        self._place(items, checks)
        return items

    def _refuse_many(self, step: Step) -> None:
        """Refuses a step that is surely run too often."""
        always = [self.values.get(n, ()) for n in step.targets if n not in self.route.conditions]
        if step.weight > 1 and step.weight * prod(map(len, always)) > TRACES:
            raise Unsteady(TOO_MANY)

    def _closed(self, targets: Any, decided: set[str]) -> list[str]:
        """Returns targets in an order in which each comes after those that it depends on."""
        found: list[str] = []

        def add(name: str) -> None:
            if name in decided:
                return
            decided.add(name)
            for before in sorted(self.route.conditions.get(name, ())):
                add(before)
            if name not in self.values:
                size = self.route.domains[name].size
                many = f"{size:,.0f} values" if isfinite(size) else "endlessly many values"
                raise Unsteady(f"'{name}' has {many}, and networks depend on it")
            found.append(name)

        order = {name: at for at, name in enumerate(self.route.domains)}
        for name in sorted(targets, key=order.__getitem__):
            add(name)
        return found

    def _spread(self, own: list[str], step: Step | None) -> Iterator[_Item]:
        """Yields levels of not too many choices each; the last runs the step."""
        group: list[str] = []
        for name in own:
            if group and prod(len(self.values[n]) for n in (*group, name)) > WIDE:
                yield _Item(tuple(group), None)
                group = []
            group.append(name)
        if group or step:
            yield _Item(tuple(group), step)

    def _place(self, items: list[_Item], checks: Sequence[Check]) -> None:
        """Puts checks where the last of their targets is decided; says what is kept until when."""
        at = {name: number for number, item in enumerate(items) for name in item.own}
        for check in checks:
            items[max((at[name] for name in check.targets), default=0)].checks.append(check)
        keep: set[str] = set()
        reads = {*self.route.ends}
        for item in reversed(items):
            item.keep, item.reads = frozenset(keep), frozenset(reads)
            keep |= {*(item.step.targets if item.step else ())}
            keep |= {name for check in item.checks for name in check.targets}
            keep |= {d for name in item.own for d in self.route.conditions.get(name, ())}
            reads |= {*(item.step.reads if item.step else ())}

    def counts(self, target: str, values: Mapping[str, Value]) -> bool:
        """Whether a target counts at these picks."""
        deps = self.route.conditions.get(target)
        if deps is None:
            return True
        key = (target, *((name, values.get(name)) for name in sorted(deps)))
        if key not in self._counted:
            try:
                self._counted[key] = self.route.counts(target, values)
            except SpecError as error:
                why = f"whether '{target}' counts cannot always be told: {error}"
                raise Unsteady(why) from None
        return self._counted[key]

    def met(self, check: Check, values: Mapping[str, Value]) -> bool:
        """Whether a check holds; a candidate that cannot be evaluated is none."""
        key = (id(check), *((name, values.get(name)) for name in sorted(check.targets)))
        if key not in self._met:
            self._met[key] = check.met({n: values[n] for n in check.targets if n in values})
        return self._met[key]


class _Filler:
    """The table of one level."""

    def __init__(
        self,
        compiler: _Compiler,
        item: _Item,
        states: list[Any],
        live: tuple[str, ...],
        after: tuple[str, ...],
    ) -> None:
        self.compiler, self.item, self.states = compiler, item, states
        self.live, self.after = live, after
        self.sizes = tuple(len(compiler.values[name]) for name in item.own)
        compiler.cells += len(states) * prod(self.sizes)
        if compiler.cells > CELLS:
            raise Unsteady(f"its tables would have more than {CELLS:,} cells")
        shape = (len(states), *self.sizes)
        self.next = np.zeros(shape, np.int64)
        self.cost = np.zeros((*shape, len(COLUMNS)), np.int64)
        self.told = np.zeros(shape, np.bool_)
        self.counts = np.zeros((*shape, len(item.own)), np.bool_)
        self.found: dict[Any, int] = {}
        self.waiting: list[Any] = []
        self.read = 0

    def fill(self) -> tuple[Level, list[Any]]:
        """Returns the level and the states after it."""
        for number, (edges, ok, kept) in enumerate(self.states):
            values = {
                name: self.compiler.values[name][code]
                for name, code in zip(self.live, kept, strict=True)
                if code >= 0
            }
            codes = dict(zip(self.live, kept, strict=True))
            if self.item.step and edges is not None:
                self.read = self.compiler.runs.read(self.item.step, edges)
            self._branch((number,), edges, ok, values, codes)
            self.compiler.done(self.item, number / len(self.states))
        self._flush()
        states, choices = len(self.states), prod(self.sizes)
        level = Level(
            self.item.own,
            self.sizes,
            self.next.reshape(states, choices),
            self.cost.reshape(states, choices, len(COLUMNS)),
            self.told.reshape(states, choices),
            self.counts.reshape(states, choices, len(self.sizes)),
        )
        return level, list(self.found)

    def _branch(self, index: Any, edges: Any, ok: bool, values: Any, codes: Any) -> None:
        """Decides the next target of the level, or ends."""
        if len(index) > len(self.item.own):
            self._leaf(index, edges, ok, values, codes)
            return
        name = self.item.own[len(index) - 1]
        if not self.compiler.counts(name, values):
            self._branch((*index, slice(None)), edges, ok, values, {**codes, name: -1})
            return
        for code, value in enumerate(self.compiler.values[name]):
            picked, noted = {**values, name: value}, {**codes, name: code}
            self._branch((*index, code), edges, ok, picked, noted)

    def _leaf(self, index: Any, edges: Any, ok: bool, values: Any, codes: Any) -> None:
        if edges is not None:
            try:
                ok = ok and all(self.compiler.met(check, values) for check in self.item.checks)
            except SpecError:
                edges = None
        key, step = None, self.item.step
        if edges is not None and step:
            key = self.compiler.runs.ask(step, self.read, edges, values, codes)
        self.counts[index] = [codes[name] >= 0 for name in self.item.own]
        self.told[tuple([0 if isinstance(at, slice) else at for at in index])] = True
        kept = tuple([codes[name] for name in self.after])
        self.waiting.append((index, edges, ok, kept, key))
        if len(self.waiting) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Runs the step for all leaves that wait, and writes their cells."""
        runs, known = self.compiler.runs, dict[Any, Edges]()
        if self.item.step:
            runs.solve(self.item.step)
        for index, edges, ok, kept, key in self.waiting:
            if key is not None:
                found = runs.results[key]
                edges = None
                if found is not None:
                    made, self.cost[index] = found
                    case = (index[0], id(made))
                    if case not in known:
                        known[case] = self._after(index[0], made)
                    edges = known[case]
            state = (edges, ok and edges is not None, kept)
            self.next[index] = self.found.setdefault(state, len(self.found))
        self.waiting = []

    def _after(self, state: int, made: Mapping[str, Edge]) -> Edges:
        """Returns the open edges after a step."""
        edges = {**dict(self.states[state][0]), **made}
        return tuple(sorted((n, e) for n, e in edges.items() if n in self.item.reads))
