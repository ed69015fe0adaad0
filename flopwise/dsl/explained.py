"""Why a value is what it is: who set it, what else might have, and how it was computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flopwise.dsl.expr import Expression, Value
from flopwise.dsl.functions import show, unwritten
from flopwise.dsl.history import SET, Layer, Step, layers_of, leaves_of, node_at, steps_to
from flopwise.dsl.merge import paths_of
from flopwise.dsl.network import Stage
from flopwise.dsl.paths import whole_of
from flopwise.dsl.plan import Setting, read_setting
from flopwise.dsl.recipe import Recipe
from flopwise.dsl.spec import Spec
from flopwise.dsl.tables import DEFAULT_VALUES
from flopwise.dsl.targets import target_rules
from flopwise.dsl.tree import Section
from flopwise.errors import Fault, SpecError, nearest

__all__ = ["Explained", "Source", "explain", "no_path"]


@dataclass(frozen=True, slots=True)
class Source:
    """A path that can give a value, and every place that set it.

    Attributes:
        path: Such as `net.stage1.kernel` or `defaults.kernel`.
        steps: Who set it, in order.
        holds: Whether this is the one that decides.
    """

    path: str
    steps: tuple[Step, ...]
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Why one value is what it is.

    Attributes:
        path: The value's address.
        value: The value as the language writes it; empty where it is no plain value.
        sources: The paths that can give it, the strongest first.
        default: Whose default it is, where nothing set it.
        computation: How it was computed, such as `dim = 2*w = 192`.
    """

    path: str
    value: str
    sources: tuple[Source, ...]
    default: str
    computation: str

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.path} = {self.value}" if self.value else self.path
        told = [(source, step) for source in self.sources for step in source.steps]
        width = max((len(_where(step)) for _, step in told), default=0)
        for source in self.sources:
            if source.path != self.path.removeprefix("vars.") and source.steps:
                yield f"  {source.path}{'' if source.holds else ' (not used)'}:"
            for step in source.steps:
                by = f"   by {step.who}" if step.who not in ("", SET) else ""
                yield f"  {_where(step):<{width}}  {step.text or 'taken away'}{by}"
        if self.default:
            yield f"  {self.default}"
        if self.computation:
            yield f"  {self.computation}"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        return {
            "path": self.path,
            "value": self.value,
            "default": self.default,
            "computation": self.computation,
            "sources": [_plain(source) for source in self.sources],
        }


def _where(step: Step) -> str:
    return SET if step.who == SET else str(step.place)


def _plain(source: Source) -> dict[str, Any]:
    steps = [
        {
            "file": step.place.source.name,
            "line": step.place.line,
            "column": step.place.column,
            "text": step.text,
            "by": step.who,
        }
        for step in source.steps
    ]
    return {"path": source.path, "holds": source.holds, "steps": steps}


def explain(spec: Spec, path: str) -> list[Explained]:
    """Explains a value, or every value below a path, and then the variables they need.

    Raises:
        SpecError: The path names nothing (E404).
    """
    return _Explaining(spec).all(path)


def no_path(spec: Spec) -> Fault:
    """Says that a path is missing, with some that there are."""
    stage = spec.plan.stages[0].name
    known = [*(each.removeprefix("vars.") for each in paths_of(spec.origin.changed()))]
    names = [name for name in known if name in spec.plan.values][:1]
    helps = (f"name a value, such as {' or '.join([*names, f'net.{stage}'])}",)
    return Fault(code="E404", message="there is no path to explain", helps=helps)


class _Explaining:
    """Explains paths of one spec."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.layers: list[Layer] = layers_of(spec.origin)
        self.tree = spec.origin.changed()
        self.names: Mapping[str, Setting] = spec.plan.values

    def all(self, path: str) -> list[Explained]:
        rules = target_rules(self.spec.plan)
        path = path.removeprefix("vars.") if path.removeprefix("vars.") in self.names else path
        written = {*paths_of(self.tree)}
        known = path in written or path in rules or whole_of(path)[0] in rules
        if not known and not steps_to(path, self.layers):
            near = nearest(path, [*rules, *written])
            helps = (f"did you mean '{near}'?",) if near else ()
            fact = f"'{path}' does not exist in '{self.spec.name}'"
            raise SpecError([Fault(code="E404", message=fact, helps=helps)])
        below = [rule for rule in rules if rule.startswith(f"{path}.")]
        if path.count(".") == 1 and path.startswith("net."):
            leaves = below
        else:
            leaves = [leaf.removeprefix("vars.") for leaf in leaves_of(path, self.tree)]
        each = {leaf: self.one(leaf) for leaf in leaves}
        found = {leaf: told for leaf, told in each.items() if told.value or told.sources}
        waiting = [name for leaf in leaves for name in self.needs(leaf)]
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = self.one(name)
                waiting += self.needs(name)
        return list(found.values())

    def one(self, path: str) -> Explained:
        """Explains one value."""
        sources = [(each, steps_to(self.written(each), self.layers)) for each in self.ways(path)]
        decides = next((each for each, _ in sources if self.there(each)), None)
        values = self.values(path)
        return Explained(
            path=path,
            value=_listed(path, values),
            sources=tuple(
                Source(each, tuple(steps), each == decides) for each, steps in sources if steps
            ),
            default="" if decides else self.default(path),
            computation=self.computation(path, decides, values),
        )

    def ways(self, path: str) -> list[str]:
        """Returns the paths that can give a value, the strongest first."""
        stage, key = self.stage(path), whole_of(path)[0].rpartition(".")[2]
        if stage is None:
            return [path]
        whole = f"net.{stage.name}.{key}"
        found = [path] if path == whole else [path, whole]
        field = stage.block.fields.get(key)
        if field:
            found.append(f"defaults.{stage.block.name}.{key}")
            found += [] if field.local else [f"defaults.{key}"]
        return found

    def stage(self, path: str) -> Stage | None:
        parts = whole_of(path)[0].split(".")
        if parts[0] != "net" or len(parts) != 3:
            return None
        stages = self.spec.network().stages
        return next((each for each in stages if each.name == parts[1]), None)

    def written(self, path: str) -> str:
        """Returns where a path stands in the tree: variables stand under `vars`."""
        here = "." not in path and node_at(path, self.tree) is None
        return f"vars.{path}" if here else path

    def there(self, path: str) -> bool:
        return node_at(self.written(path), self.tree) is not None

    def needs(self, path: str) -> list[str]:
        """Returns the names that the deciding expression uses."""
        setting = self.setting(next((each for each in self.ways(path) if self.there(each)), None))
        return [name for name in sorted(setting.names) if name in self.names] if setting else []

    def setting(self, path: str | None) -> Setting | None:
        node = node_at(self.written(path), self.tree) if path else None
        return read_setting(node) if node is not None and not isinstance(node, Section) else None

    def values(self, path: str) -> Sequence[Value]:
        """Returns the value, or the values of the repetitions where they differ."""
        whole, index = whole_of(path)
        stage = self.stage(path)
        key = whole.rpartition(".")[2]
        if stage and index is None and key in stage.block.fields:
            each = [settings[key] for settings in stage.settings]
            return each if len(set(map(str, each))) > 1 else each[:1]
        if path in self.names or whole.partition(".")[0] in ("net", "train", "defaults"):
            value = self.spec.value(path)
            return [] if value is None else [value]
        return []

    def default(self, path: str) -> str:
        stage, key = self.stage(path), whole_of(path)[0].rpartition(".")[2]
        if stage and key in stage.block.fields:
            return f"the default of block '{stage.block.name}'"
        fixed = path in DEFAULT_VALUES or path.removeprefix("train.") in Recipe.__annotations__
        return "the default of the language" if fixed or stage else ""

    def computation(self, path: str, decides: str | None, values: Sequence[Value]) -> str:
        setting = self.setting(decides)
        if setting is None or len(values) != 1 or not isinstance(setting.value, Expression):
            return ""
        return setting.computation(whole_of(path)[0].rpartition(".")[2], values[0])


def _listed(path: str, values: Sequence[Value]) -> str:
    name = path.rpartition(".")[2]
    return ", ".join(unwritten(name) if value is None else show(value) for value in values)
