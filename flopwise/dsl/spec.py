"""A spec: one concrete network, how it is trained, and perhaps a space around it.

`load` and `loads` do all the checking, so that a `Spec` in hand is one that can be built. Picks are
values for addresses (a variable by name, a place by dotted path) on top of what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from flopwise.dsl.audit import check_expect, outside, unused
from flopwise.dsl.check import build_plan
from flopwise.dsl.checker import Checker
from flopwise.dsl.expr import Value
from flopwise.dsl.files import File, read_chain, read_text
from flopwise.dsl.merge import apply_changes, merge_files, read_sets
from flopwise.dsl.network import Input, Network
from flopwise.dsl.plan import Plan, Setting
from flopwise.dsl.probe import Look, Probe, probe
from flopwise.dsl.recipe import Recipe
from flopwise.dsl.render import render_spec
from flopwise.dsl.resolve import Resolver
from flopwise.dsl.searching import read_search, target_rules
from flopwise.dsl.space import Search
from flopwise.dsl.tables import METRICS
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.errors import Fault, Place, Source, SpecError, nearest

__all__ = ["Costs", "Spec", "load", "loads"]

T = TypeVar("T")
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
        classes_written: Whether the number of classes is written or the default.
    """

    name: str
    doc: str
    path: Path | None
    sources: Mapping[str, str]
    warnings: tuple[Fault, ...]
    search: Search | None
    export: Mapping[str, object]
    classes_written: bool
    _files: tuple[File, ...] = field(repr=False)
    _sets: tuple[tuple[str, str], ...] = field(repr=False)
    _plan: Plan = field(repr=False)
    _resolver: Resolver = field(repr=False)
    _targets: Mapping[str, Place] = field(repr=False)

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
        return self._pointed(lambda: self._resolver.network(settings))

    def recipe_for(self, picks: Mapping[str, Value]) -> Recipe:
        """Returns the recipe at these picks."""
        settings = self._settings(picks)
        return self._pointed(lambda: self._resolver.recipe(settings)) if picks else self.recipe

    def value(self, path: str) -> Value | None:
        """Returns what is written at an address; None where nothing is."""
        head, _, rest = path.partition(".")
        if path in self._plan.values:
            return self._written.values[path]
        if head == "train":
            value: Value = getattr(self.recipe, rest)
            return value
        if head == "net":
            name, _, key = rest.partition(".")
            stage = next(each for each in self._written.stages if each.name == name)
            extra: Mapping[str, Value] = {"depth": stage.depth, "block": stage.block.name}
            return extra.get(key, stage.settings[0].get(key))
        setting = self._plan.places.get(path)
        return setting.evaluate(self._written.values) if setting else None

    def set(self, sets: Sets) -> Spec:
        """Returns the same spec with further paths set, as `--set` does."""
        return _build(self._files, (*self._sets, *sets), self.path)

    def render(self, picks: Mapping[str, Value] = {}) -> str:
        """Returns the resolved spec: the same network without variables, defaults or parents."""
        places = {path for path in self._plan.places if path.startswith("train.")}
        trained = [
            path.removeprefix("train.") for path in (*places, *picks) if path.startswith("train.")
        ]
        return render_spec(
            self.network(picks), self.doc, self.recipe_for(picks), set(trained), self.export
        )

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
        scope = {**network.values, **numbers, "depth_total": network.depth_total}
        for requirement in self.search.require:
            met = requirement.evaluate(scope)
            if not isinstance(met, bool):
                fact = f"a requirement must be true or false, but this is {met!r}"
                raise SpecError([Fault(code="E202", message=fact, place=requirement.place)])
            if not met:
                reasons.append(f"not met: {requirement.text}")
        return reasons

    def probe(self, draws: int = 500, *, seed: int = 0, budget: int = 0) -> Probe:
        """Looks for a candidate that meets the budget, by arithmetic alone.

        Raises:
            SpecError: There is no search section, or no candidate was feasible (E501).
        """
        if self.search is None:
            fact = f"'{self.name}' has no search section"
            raise SpecError([Fault(code="E505", message=fact)])
        return probe(self.search, lambda picks: self._look(picks, budget), draws, seed, budget)

    def _look(self, picks: Mapping[str, Value], budget: int) -> Look | None:
        try:
            network = self.network(picks)
        except SpecError:  # such as heads that do not divide a width
            return None
        costs = {metric: int(getattr(network.graph, metric)) for metric in METRICS}
        reasons = self.feasible(network, network.graph, budget=budget)
        return Look(picks=picks, costs=costs, reasons=reasons)

    @cached_property
    def _written(self) -> Network:
        return self._pointed(lambda: self._resolver.network({}))

    @cached_property
    def _rules(self) -> Mapping[str, object]:
        return target_rules(self._plan)

    def _settings(self, picks: Mapping[str, Value]) -> dict[str, Setting]:
        faults = []
        settings = {}
        for path, value in picks.items():
            place = self._targets.get(path) or Place(Source("picks", (f"{path}={value}",)), 1, 1)
            if path not in self._rules:
                near = nearest(path, self._rules)
                helps = (f"did you mean '{near}'?",) if near else ()
                fact = f"'{path}' is neither a variable nor a place of this spec"
                faults.append(Fault(code="E404", message=fact, place=place, helps=helps))
            settings[path] = Setting(tuple(value) if isinstance(value, list) else value, place)
        if faults:
            raise SpecError(faults)
        return settings

    def _pointed(self, make: Callable[[], T]) -> T:
        return _pointed(make, self._files)


def load(path: str | Path, *, sets: Sets = (), root: Path | None = None) -> Spec:
    """Reads and checks a spec.

    Args:
        path: A YAML file, or `std/NAME` for a shipped one.
        sets: Pairs of an address and a value, as `--set` takes them.
        root: The folder that `extends` may not leave; the file's own by default.

    Raises:
        SpecError: Every fault at once.

    >>> load("std/convnext_tiny").network().graph.macs
    4455531264
    """
    files = read_chain(path, root)
    shipped = str(path).startswith("std/")
    return _build(files, sets, None if shipped else Path(path))


def loads(text: str, *, name: str = "<text>", sets: Sets = ()) -> Spec:
    """Reads and checks a spec that is a text; `extends` starts from the working folder."""
    return _build(read_text(text, name), sets, None)


def _build(files: tuple[File, ...], sets: Sets, path: Path | None) -> Spec:
    return _pointed(lambda: _checked(files, tuple(sets), path), files)


def _checked(files: tuple[File, ...], sets: tuple[tuple[str, str], ...], path: Path | None) -> Spec:
    tree = apply_changes(merge_files(files), read_sets(sets))
    checker = Checker()
    plan = build_plan(tree, checker)
    node = tree.entries.get("search")
    search = None
    if isinstance(node, Section):
        search = read_search(node, tree.keys["search"], plan, checker)
    name, doc = (_text(tree.entries.get(key)) for key in ("name", "doc"))
    spec = Spec(
        name=name,
        doc=doc,
        path=path,
        sources={file.key: file.text for file in files},
        warnings=(*unused(plan, search, tree), *checker.warnings),
        search=search,
        export=_export(tree.entries.get("export")),
        classes_written="classes" in tree.entries,
        _files=files,
        _sets=sets,
        _plan=plan,
        _resolver=Resolver(plan, name),
        _targets=_targets(node),
    )
    spec.network()
    spec.recipe_for({})
    spec.feasible(spec.network(), spec.network().graph)  # a requirement of the wrong type shows now
    if not sets:
        check_expect(checker, spec.network().graph, tree.entries.get("expect"))
    checker.stop_if_faulty()
    return replace(
        spec, warnings=(*spec.warnings, *outside(spec.search, spec.value, spec._targets))
    )


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, Scalar) else ""


def _targets(node: Node | None) -> dict[str, Place]:
    space = node.entries.get("space") if isinstance(node, Section) else None
    return {k: n.place for k, n in space.entries.items()} if isinstance(space, Section) else {}


def _export(node: Node | None) -> Mapping[str, object]:
    data = _data(node) if node else {}
    return data if isinstance(data, dict) else {}


def _data(node: Node) -> object:
    if isinstance(node, Section):
        return {name: _data(each) for name, each in node.entries.items()}
    return [_data(each) for each in node.items] if isinstance(node, Items) else node.value


def _pointed(make: Callable[[], T], files: Sequence[File]) -> T:
    """Adds to every fault in a parent the line of the spec that brings the parent in."""
    try:
        return make()
    except SpecError as error:
        said = files[0].parent
        inherited = {file.name for file in files[1:]} - {files[0].name}
        if said is None or not any(
            f.place and f.place.source.name in inherited for f in error.faults
        ):
            raise
        via = (said.place, "inherited through this line")
        raise SpecError(
            replace(f, also=(*f.also, via))
            if f.place and f.place.source.name in inherited and via not in f.also
            else f
            for f in error.faults
        ) from None
