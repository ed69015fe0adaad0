"""A spec: one concrete network, how it is trained, and perhaps a space around it.

All checking is done before there is a `Spec`, so one in hand can be built. Picks are values for
addresses (a variable by name, a place by dotted path) on top of what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flopwise.blocks import Block
from flopwise.dsl.expr import Value
from flopwise.dsl.files import Code
from flopwise.dsl.network import Input, Network
from flopwise.dsl.origin import Origin
from flopwise.dsl.paths import whole_of
from flopwise.dsl.plan import Plan, Setting
from flopwise.dsl.presets import PRESET, preset_of
from flopwise.dsl.resolve import Resolver
from flopwise.dsl.tables import METRICS
from flopwise.errors import Fault, Place, Source, SpecError, nearest

if TYPE_CHECKING:  # each arrives with the method that needs it: most specs have no space
    from flopwise.dsl.fitting import Look
    from flopwise.dsl.probe import Count, Probe
    from flopwise.dsl.recipe import Recipe
    from flopwise.dsl.route import Route
    from flopwise.dsl.rows import Table
    from flopwise.dsl.space import Search
    from flopwise.dsl.targets import Activity

__all__ = ["Costs", "Sets", "Spec"]

Sets = Sequence[tuple[str, str]]


class Costs(Protocol):
    """The costs a budget looks at."""

    @property
    def macs(self) -> int: ...  # noqa: D102
    @property
    def params(self) -> int: ...  # noqa: D102
    @property
    def activations(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, eq=False)
class Spec:
    """A checked spec.

    Attributes:
        name: Its name.
        doc: Its free text.
        path: The file it was read from; None for a text.
        sources: The texts it was read from, by name, itself first.
        warnings: What is suspicious but allowed.
        search: Its space and budget, if it has any.
        export: Its `export` section as plain data.
        table: Its table of named networks, if it has one.
        classes_written: Whether the number of classes is written or the default.
        codes: The Python files whose blocks it uses.
        origin: Where it comes from: its files, and what was laid on them.
        plan: What is evaluated.
    """

    name: str
    doc: str
    path: Path | None
    sources: Mapping[str, str]
    warnings: tuple[Fault, ...]
    search: Search | None
    export: Mapping[str, object]
    table: Table | None
    classes_written: bool
    codes: tuple[Code, ...]
    origin: Origin = field(repr=False)
    plan: Plan = field(repr=False)
    _open: Callable[[Origin], Spec] = field(repr=False)
    _resolver: Resolver = field(repr=False)
    _targets: Mapping[str, Place] = field(repr=False)

    @property
    def blocks(self) -> Mapping[str, Block]:
        """The blocks its stages may be: the shipped ones and its own."""
        return self.plan.blocks

    @property
    def input(self) -> Input:
        """The images the written network takes."""
        return self._written.input

    @property
    def classes(self) -> int:
        """The classes the written network tells apart."""
        return self._written.classes

    @cached_property
    def recipe(self) -> Recipe:
        """How the written network is trained."""
        return self._resolver.recipe({})

    def network(self, picks: Mapping[str, Value] = {}) -> Network:
        """Returns the network at these picks; without any, the written one.

        Raises:
            SpecError: A pick addresses nothing, or the numbers do not fit together.
        """
        if not picks:
            return self._written
        settings = self._settings(picks)
        return self.origin.pointed(lambda: self._resolver.network(settings))

    def recipe_for(self, picks: Mapping[str, Value]) -> Recipe:
        """Returns the recipe at these picks."""
        settings = self._settings(picks)
        return (
            self.origin.pointed(lambda: self._resolver.recipe(settings)) if picks else self.recipe
        )

    def value(self, path: str) -> Value | None:
        """Returns what is written at an address; None where nothing is."""
        head, _, rest = path.partition(".")
        if head == "train":
            known: Value | None = getattr(self.recipe, rest, None)
            return preset_of(self.origin.changed()) if rest == PRESET else known
        if head == "net" or path in self.plan.values:
            return self._written.value(path)
        setting = self.plan.places.get(path)
        return setting.evaluate(self._written.values) if setting else None

    def set(self, sets: Sets) -> Spec:
        """Returns the same spec with further paths set, as `--set` does."""
        return self._open(replace(self.origin, sets=(*self.origin.sets, *sets)))

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of its table's rows that are networks, in order."""
        rows = self.table.rows.values() if self.table else ()
        return tuple(row.name for row in rows if row.has_network)

    def row(self, name: str) -> Spec:
        """Returns the spec of a row of its table; the same one each time.

        Raises:
            SpecError: There is no such row (E410), or its network cannot be built.
        """
        if name not in self._rows:
            trees = self.origin.trees
            if trees is None or name not in self.rows:
                from flopwise.dsl.rows import no_row

                raise SpecError([no_row(name, self.rows, None, f"'{self.name}'")])
            self._rows[name] = self._open(self.origin.of_row(name, trees))
        return self._rows[name]

    def render(self, picks: Mapping[str, Value] = {}) -> str:
        """Returns the resolved spec: the same network without variables, defaults or parents."""
        from flopwise.dsl.render import render_spec

        places = {path for path in self.plan.places if path.startswith("train.")}
        trained = [
            path.removeprefix("train.") for path in (*places, *picks) if path.startswith("train.")
        ]
        recipe = asdict(self.recipe_for(picks))
        train = {name: value for name, value in recipe.items() if name in trained}
        used = [f"./{code.key}" for code in self.codes]
        return render_spec(self.network(picks), self.plan, self.doc, train, self.export, used)

    def feasible(self, network: Network, costs: Costs, *, budget: int = 0) -> list[str]:
        """Returns why a network may not be trained; empty when it meets budget and requirements.

        Args:
            network: A network of this spec.
            costs: Its costs.
            budget: Which budget, if the spec lists several.
        """
        if self.search is None:
            return []
        numbers = {metric: getattr(costs, metric) for metric in METRICS}
        reasons = list(self.search.misses(numbers, budget))
        if not self.search.require:
            return reasons
        scope = {**network.values, **numbers, "depth_total": network.depth_total}
        scope |= {f"net.{stage.name}.depth": 0 for stage in self.plan.stages}  # if left out
        scope |= {f"net.{stage.name}.depth": stage.depth for stage in network.stages}
        for requirement in self.search.require:
            met = requirement.evaluate(scope)
            if not isinstance(met, bool):
                fact = f"a requirement must be true or false, but this is {met!r}"
                raise SpecError([Fault(code="E202", message=fact, place=requirement.place)])
            if not met:
                reasons.append(f"not met: {requirement.text}")
        return reasons

    def active(self, picks: Mapping[str, Value]) -> dict[str, Value]:
        """Returns the picks that count: conditions leave out others, which stay as written."""
        return self._activity.active(picks)

    @cached_property
    def written(self) -> Mapping[str, Value]:
        """The picks that make the written network: those that count and have a value."""
        if self.search is None:
            return {}
        values = {target: self.value(target) for target in self.search.space}
        return self.active({target: v for target, v in values.items() if v is not None})

    def fitted(self, picks: Mapping[str, Value], *, budget: int = 0) -> Mapping[str, Value]:
        """Returns the picks with the value that `fit` solves for; as they are without a fit.

        The value brings the cost nearest to its goal, among those that meet budget and
        requirements if there are any.
        """
        if self.search is None or self.search.fit is None:
            return picks
        found = self.look(picks, budget)
        return found.picks if found else picks

    def probe(
        self, draws: int = 500, *, seed: int = 0, budget: int = 0, count: Count | None = None
    ) -> Probe:
        """Looks for a candidate that meets the budget, by arithmetic alone.

        Where hardly any does, `count` may say how many do.

        Raises:
            SpecError: There is no search section, or no candidate was feasible (E501).
        """
        from flopwise.dsl.probe import probe

        if self.search is None:
            from flopwise.dsl.space import no_search

            raise SpecError([no_search(self.name)])

        def look(picks: Mapping[str, Value]) -> Look | None:
            return self.look(self.active(picks), budget)

        return probe(self.search, look, draws, seed, budget, count=count)

    def probed(self, count: Count | None = None) -> tuple[Fault, ...]:
        """Looks at the space under every budget; nothing is built or trained.

        Where hardly anything is feasible, `count` may say how much is.

        Returns:
            What makes the space a slow one to search.

        Raises:
            SpecError: No candidate was feasible (E501), told of each budget.
        """
        if self.search is None:
            return ()
        from flopwise.dsl.unfit import unfit

        faults: list[Fault] = []
        warnings = dict.fromkeys(unfit(self.search, self.network))
        limited = self.search.budget or self.search.require or self.search.fit
        for number in range(max(1, len(self.search.budget)) if limited else 0):
            try:
                warnings |= dict.fromkeys(self.probe(budget=number, count=count).warnings)
            except SpecError as error:
                faults += error.faults
        if faults:
            raise SpecError(faults)
        return tuple(warnings)

    def route(self) -> Route:
        """Returns how the networks of its space are put together, choice by choice.

        Raises:
            Unsteady: What a stage costs cannot be told from its own inputs.
        """
        from flopwise.dsl.route import route

        assert self.search, "a spec without a space has one network"
        return route(self.plan, self._resolver, self.search)

    def look(self, picks: Mapping[str, Value], budget: int) -> Look | None:
        """Returns what arithmetic says about picks, after solving the fit if there is one."""
        fit = self.search.fit if self.search else None
        if fit is None or fit.vary in picks:
            return self._judged(picks, budget)
        from flopwise.dsl.fitting import solve

        return solve(fit, lambda value: self._judged({**picks, fit.vary: value}, budget))

    def _judged(self, picks: Mapping[str, Value], budget: int) -> Look | None:
        try:
            network = self.network(picks)
        except SpecError:  # such as heads that do not divide a width
            return None
        costs = {metric: int(getattr(network.graph, metric)) for metric in METRICS}
        reasons = self.feasible(network, network.graph, budget=budget)
        from flopwise.dsl.fitting import Look

        return Look(picks=picks, costs=costs, reasons=reasons)

    @cached_property
    def _activity(self) -> Activity:
        from flopwise.dsl.targets import Activity, settings_of

        return Activity(settings_of(self.plan), self.search.when if self.search else {})

    @cached_property
    def _written(self) -> Network:
        return self.origin.pointed(lambda: self._resolver.network({}))

    @cached_property
    def _rows(self) -> dict[str, Spec]:
        return {}

    @cached_property
    def _rules(self) -> Mapping[str, object]:
        from flopwise.dsl.targets import target_rules

        return target_rules(self.plan)

    def _settings(self, picks: Mapping[str, Value]) -> dict[str, Setting]:
        faults = []
        settings = {}
        for path, value in picks.items():
            place = self._targets.get(path) or Place(Source("picks", (f"{path}={value}",)), 1, 1)
            if path not in self._rules and whole_of(path)[0] not in self._rules:
                near = nearest(path, self._rules)
                helps = (f"did you mean '{near}'?",) if near else ()
                fact = f"'{path}' is neither a variable nor a place of this spec"
                faults.append(Fault(code="E404", message=fact, place=place, helps=helps))
            settings[path] = Setting(tuple(value) if isinstance(value, list) else value, place)
        if faults:
            raise SpecError(faults)
        return settings
