"""What two specs differ in, once both are resolved: stages, images, costs and recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flopwise.dsl.functions import show, unwritten
from flopwise.dsl.network import Network, Stage
from flopwise.dsl.spec import Spec
from flopwise.dsl.tables import METRICS

__all__ = ["Comparison", "Difference", "compare"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A path whose value is another one in each spec; empty where a spec has no such thing."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        if not self.old:
            return f"+ {self.path}: {self.new}"
        return f"~ {self.path}: {self.old} -> {self.new}" if self.new else f"- {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two specs beside each other.

    Attributes:
        names: Of the two networks.
        hashes: Their identities.
        network: What differs in images, classes and stages, in the order of the stages.
        recipe: What differs in how they are trained.
        costs: Metric -> the two counts.
    """

    names: tuple[str, str]
    hashes: tuple[str, str]
    network: tuple[Difference, ...]
    recipe: tuple[Difference, ...]
    costs: Mapping[str, tuple[int, int]]

    @property
    def same(self) -> bool:
        """Whether they are the same network, whatever their stages are called."""
        return self.hashes[0] == self.hashes[1]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as `flopwise diff --json` prints it."""
        return {"same": self.same, **asdict(self)}


def compare(one: Spec, other: Spec) -> Comparison:
    """Returns what differs from one spec to another, once nothing is left to work out."""
    a, b = one.network(), other.network()
    recipes = [
        {f"train.{name}": _value(name, value) for name, value in asdict(spec.recipe).items()}
        for spec in (one, other)
    ]
    return Comparison(
        names=(a.name, b.name),
        hashes=(a.hash, b.hash),
        network=tuple(_networks(a, b)),
        recipe=tuple(_values(*recipes)),
        costs={metric: (getattr(a.graph, metric), getattr(b.graph, metric)) for metric in METRICS},
    )


def _networks(a: Network, b: Network) -> Iterator[Difference]:
    yield from _values(_frame(a), _frame(b))
    old, new = ({stage.name: stage for stage in each.stages} for each in (a, b))
    both = ((old, _inputs(a), a.classes), (new, _inputs(b), b.classes))
    for name, stage in old.items():
        if name in new:
            lines = [_lines(each[name], reads[name], known) for each, reads, known in both]
            yield from _values(*lines)
        else:
            yield Difference(f"net.{name}", _spelt(stage), "")
    for name, stage in new.items():
        if name not in old:
            yield Difference(f"net.{name}", "", _spelt(stage))


def _frame(network: Network) -> dict[str, str]:
    """Returns what a network says outside its stages."""
    return {
        "input.size": show(network.input.size),
        "input.channels": show(network.input.channels),
        "classes": show(network.classes),
    }


def _inputs(network: Network) -> dict[str, str]:
    """Returns what each stage reads, where that is not the stage before it."""
    before, found = "input", {}
    for stage in network.stages:
        same = stage.inputs == (before,)
        found[stage.name] = "the stage before" if same else ", ".join(stage.inputs)
        before = stage.name
    return found


def _lines(stage: Stage, reads: str, classes: int) -> dict[str, str]:
    """Returns every setting of a stage by its path; one value where its repetitions agree.

    The number of classes is left out where it is that of the network, which is told once.
    """
    path = f"net.{stage.name}"
    found = {
        f"{path}.block": stage.block.name,
        f"{path}.depth": show(stage.depth),
        f"{path}.from": reads,
    }
    for name in stage.block.fields:
        values = [_value(name, settings[name]) for settings in stage.settings]
        if name == "classes" and {*values} == {str(classes)}:
            continue
        found[f"{path}.{name}"] = values[0] if len({*values}) == 1 else f"[{', '.join(values)}]"
    return found


def _value(name: str, value: Any) -> str:
    """Spells the value of a setting as a flow map would hold it."""
    if value is None:
        return unwritten(name)
    return value if isinstance(value, str) else show(value)


def _values(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    """Yields what differs between two maps; what only one has stands after what both have."""
    for path, value in old.items():
        if new.get(path, "") != value:
            yield Difference(path, value, new.get(path, ""))
    yield from (Difference(path, "", value) for path, value in new.items() if path not in old)


def _spelt(stage: Stage) -> str:
    """Returns a stage with the settings that are not the default of its block."""
    fields = stage.block.fields
    settings = {
        name: _value(name, value)
        for name, value in stage.settings[0].items()
        if name in fields and value != fields[name].default and name != "classes"
    }
    depth = {} if stage.depth == 1 else {"depth": show(stage.depth)}
    keys = {"block": stage.block.name, **depth, **settings}
    return "{" + ", ".join(f"{name}: {value}" for name, value in keys.items()) + "}"
