"""From a graph to classes: which blocks share one, and what its constructor takes.

Two blocks share a class when their layers, names and wiring agree. The numbers that differ between
them become arguments of `__init__`; columns of equal numbers share one argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flopwise.blocks.graph import TABLES, Graph, Layer
from flopwise.nets.forms import FORMS

__all__ = ["Class", "Instance", "Slot", "Symbol", "class_count", "collect"]

MOVES = frozenset(
    {"avg_pool", "layer_norm", "layer_norm2d", "max_pool", "rms_norm", "to_tokens", "unfold"}
)
"""Layer kinds whose output has the channels of their input, or whole multiples of them."""
LONGEST = 36
"""Most letters of an argument's name."""
Slot = tuple[str, str]
"""A number of a constructor: the path of its layer inside the block, and its setting."""


class Symbol(int):
    """A number that follows from an argument of the network's own constructor."""

    name: str
    times: int

    def __new__(cls, value: int, name: str, times: int = 1) -> Symbol:
        """Makes the number `value`, which is `times` the argument `name`."""
        symbol = super().__new__(cls, value)
        symbol.name, symbol.times = name, times
        return symbol

    @property
    def text(self) -> str:
        """How the network's constructor writes it."""
        return self.name if self.times == 1 else f"{self.times} * {self.name}"


@dataclass(slots=True, eq=False)
class Instance:
    """One block of the network: its graph, its numbers, and the blocks inside it."""

    graph: Graph
    leaves: dict[Slot, Any] = field(default_factory=dict)
    inside: dict[str, Instance] = field(default_factory=dict)
    key: tuple[Any, ...] = ()
    owner: Class | None = None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def sequential(self) -> bool:
        """Whether it is a chain of numbered modules, which nn.Sequential says best."""
        return len(self.graph.inputs) == 1 and all(
            layer.name.isdigit() and layer.inputs == (place,)
            for place, layer in enumerate(self.graph.layers)
        )

    @property
    def stage(self) -> bool:
        """Whether it is a stage: an entry and repetitions."""
        return any(layer.graph and layer.name.isdigit() for layer in self.graph.layers)

    def slots(self) -> dict[Slot, Any]:
        """Every number of the constructor, those of the blocks inside included."""
        found = dict(self.leaves)
        for name, child in self.inside.items():
            bare = child.sequential or child.stage  # neither is written as a class
            below = child.slots() if bare else {("", k): v for k, v in child.values.items()}
            found |= {(f"{name}_{path}".strip("_"), key): v for (path, key), v in below.items()}
        return found


@dataclass(slots=True, eq=False)
class Class:
    """A class to write: the blocks that share it, and its arguments by slot."""

    name: str
    instances: list[Instance] = field(default_factory=list)
    arguments: dict[Slot, str] = field(default_factory=dict)

    def settle(self) -> None:
        """Decides the arguments and hands every instance its values for them."""
        tables = [instance.slots() for instance in self.instances]
        names: dict[tuple[Any, ...], str] = {}
        for slot in sorted(tables[0], key=_is_size):  # a table's sizes are named after others
            column = tuple(table[slot] for table in tables)
            symbol = next((value for value in column if isinstance(value, Symbol)), None)
            if symbol is None and len(set(column)) == 1:
                continue
            if symbol is not None:
                column = (*column, symbol.text)
            if column not in names:
                own = symbol.name if symbol is not None and symbol.times == 1 else ""
                names[column] = own or _word(slot, names)
            self.arguments[slot] = names[column]
        for instance, table in zip(self.instances, tables, strict=True):
            instance.values = {name: table[slot] for slot, name in self.arguments.items()}


def collect(graph: Graph, taken: frozenset[str]) -> tuple[dict[str, Instance], list[Class]]:
    """Returns the instance of every named step of a network, and the classes, inner ones first.

    Args:
        graph: The traced network.
        taken: Names that no class of a block may have.
    """
    classes: dict[Any, Class] = {}
    images = {0: 1} if graph.inputs[0].kind == "map" else {}  # a block alone may read tokens
    steps = {
        layer.name: _instance(layer.graph, ports, classes)
        for layer, ports in zip(graph.layers, _image_ports(graph, images), strict=True)
        if layer.graph
    }
    _tell_apart(list(classes.values()), taken)
    count = class_count(graph)
    for each in classes.values():
        for instance in each.instances:
            instance.leaves |= {
                slot: int(value)  # a head with other classes than the last one keeps them
                for slot, value in instance.leaves.items()
                if isinstance(value, Symbol) and value.name == "num_classes" and value != count
            }
        each.settle()
    return steps, list(classes.values())


def class_count(graph: Graph) -> int:
    """Returns the classes of the last head, those inside other blocks included; 0 if none is."""
    found = 0
    for layer in graph.layers:
        if layer.graph:
            head = layer.graph.head
            found = (
                layer.graph.layers[-1].settings["dim"] if head else class_count(layer.graph)
            ) or found
    return found


def _instance(graph: Graph, image: dict[int, int], classes: dict[Any, Class]) -> Instance:
    """Builds the instance of a graph; `image` are its inputs that are the network's own pixels."""
    instance = Instance(graph)
    parts: list[Any] = []
    for layer, ports in zip(graph.layers, _image_ports(graph, image), strict=True):
        if layer.graph:
            child = _instance(layer.graph, ports, classes)
            instance.inside[layer.name] = child
            parts.append((layer.name, layer.inputs, child.key))
        else:
            numbers = _numbers(layer)
            if "channels" in numbers and 0 in ports:
                numbers["channels"] = Symbol(numbers["channels"], "in_chans", ports[0])
            instance.leaves |= {(layer.name, key): value for key, value in numbers.items()}
            parts.append((layer.kind, layer.name, layer.inputs, layer.init, _literals(layer)))
    if graph.head:
        last = graph.layers[-1]
        instance.leaves[last.name, "dim"] = Symbol(last.settings["dim"], "num_classes")
    key = (graph.title, graph.outputs, tuple(parts))
    instance.key = key
    if instance.sequential or instance.stage:  # neither is written as a class
        return instance
    title = "".join(word.title() for word in graph.title.split("_"))
    instance.owner = classes.setdefault(key, Class(title))
    instance.owner.instances.append(instance)
    return instance


def _image_ports(graph: Graph, image: dict[int, int]) -> list[dict[int, int]]:
    """For each layer, its inputs whose channels are a multiple of the image's, and which.

    Layers that only move pixels keep that; `image` says it of the graph's inputs.
    """
    known, ports = dict(image), []
    index = len(graph.inputs)
    for layer in graph.layers:
        ports.append({p: known[read] for p, read in enumerate(layer.inputs) if read in known})
        known |= {index + out: times for out, times in _passed(layer, ports[-1]).items()}
        index += len(layer.outputs)
    return ports


def _passed(layer: Layer, ports: dict[int, int]) -> dict[int, int]:
    """The outputs of a layer whose channels are a multiple of the image's."""
    if layer.graph and ports:
        known, index = dict(ports), len(layer.graph.inputs)
        for inner, reads in zip(layer.graph.layers, _image_ports(layer.graph, ports), strict=True):
            known |= {index + out: times for out, times in _passed(inner, reads).items()}
            index += len(inner.outputs)
        return {
            out: known[value] for out, value in enumerate(layer.graph.outputs) if value in known
        }
    if layer.kind not in MOVES or 0 not in ports:
        return {}
    return {0: ports[0] * layer.settings["kernel"] ** 2 if layer.kind == "unfold" else ports[0]}


def _numbers(layer: Layer) -> dict[str, Any]:
    """The numbers of a layer's constructor and the attributes its block keeps for it."""
    form = FORMS[layer.kind]
    if layer.kind in TABLES:
        return {f"size{axis}": size for axis, size in enumerate(layer.settings["shape"])}
    keys = [*form.positional, *(setting for setting, _ in form.keywords.values())]
    found = {key: layer.settings[key] for key in keys if not isinstance(layer.settings[key], bool)}
    return found | {name: layer.settings[key] for name, key in form.attributes.items()}


def _literals(layer: Layer) -> tuple[Any, ...]:
    """What must agree for two layers to be written alike."""
    form = FORMS[layer.kind]
    numbers = {*form.attributes.values(), *_numbers(layer), "shape"}
    rest = {key: value for key, value in layer.settings.items() if key not in numbers}
    return (*sorted(rest.items()), len(layer.settings.get("shape", ())))


def _is_size(slot: Slot) -> bool:
    return slot[1].startswith("size")


def _word(slot: Slot, names: dict[tuple[Any, ...], str]) -> str:
    layer, setting = slot
    taken = set(names.values())
    if setting in ("channels", "dim") and "dim" not in taken:
        return "dim"
    words = {"channels": "in", "dim": "out"}
    if setting == "value":  # a number the block keeps is named after its layer
        return layer if layer not in taken else f"{layer}_2"
    name = _short(setting if not layer else f"{layer}_{words.get(setting, setting)}")
    return name if name not in taken else f"{name}_2"


def _short(name: str) -> str:
    """Leaves the first words of a long name out, for an assignment has to fit on a line.

    >>> _short("attn_rel_pos_relative_position_bias_table_size0"), _short("mlp_fc1_out")
    ('relative_position_bias_table_size0', 'mlp_fc1_out')
    """
    rest = name.partition("_")[2]
    return _short(rest) if len(name) > LONGEST and rest.isidentifier() else name


def _tell_apart(classes: list[Class], taken: frozenset[str]) -> None:
    """Gives classes of one title different names, by the layers only some of them have.

    A class whose name is taken has `Block` behind it.
    """
    for each in classes:
        each.name += "Block" if each.name in taken else ""
    for title in {each.name for each in classes}:
        group = [each for each in classes if each.name == title]
        layers = [
            {layer.name for layer in each.instances[0].graph.layers if layer.name} for each in group
        ]
        common = set.intersection(*layers)
        for each, own in zip(group, layers, strict=True):
            each.name += "".join(name.title().replace("_", "") for name in sorted(own - common))
        for number, each in enumerate(group):
            if any(other.name == each.name for other in group[:number]):
                each.name += str(number + 1)
