"""From a network's graph to one file of plain PyTorch."""

from __future__ import annotations

import json
import keyword
import re
from dataclasses import replace
from itertools import groupby
from typing import Any

from flopwise.blocks.graph import TABLES, Graph, Layer
from flopwise.nets.classes import Class, Instance, Slot, Symbol, class_count, collect
from flopwise.nets.forms import FORMS, MODULE_ACTS
from flopwise.nets.forward import forward_lines, input_names

__all__ = ["WIDTH", "class_name", "code", "first_norm", "network_source", "wrapped"]

HEADER = '"""{title} in plain PyTorch, generated from its graph."""\n'
MODULES = {"torch": "import torch", "F": "import torch.nn.functional as F"}
NAMES = {
    "timm.layers": ("DropPath", "LayerNorm2d", "QuickGELU"),
    "timm.layers.grn": ("GlobalResponseNorm",),
    "torch": ("Tensor", "nn"),
    "flopwise.nets.attention": (
        *("attend_biased", "attend_over", "grid_table", "linear_attend", "map_heads"),
        *("random_features", "relative_scores", "split_heads"),
    ),
    "flopwise.nets.resizing": ("FixedSize", "ToMap", "Windowed"),
    "flopwise.nets.modules": ("StdConv2d", "WeightStdConv2d", "max_pool_same"),
    "flopwise.nets.runtime": (
        *("Block", "Joint", "Network", "Stage", "fixed_table", "gelu_tanh"),
        *("quick_gelu", "table"),
    ),
    "flopwise.nets.windows": (
        *("OffsetBias", "WindowAttend", "from_windows", "merge_patches"),
        "to_windows",
    ),
}
TAKEN = frozenset(name for names in NAMES.values() for name in names)
"""Names that a generated file may import, so that no class of its own may have them."""
WIDTH = 100
JOINT = re.compile(r"\bJoint(\d+)To(\d+)\(")
"""How a stage is made whose block reads or makes several tensors."""


def network_source(graph: Graph, *, facts: dict[str, Any], base: str) -> str:
    """Returns the source of a module with one class per distinct block and one for the network.

    Args:
        graph: The traced network; its last step is the classifier.
        facts: Class attributes of the network that `forward` does not need, such as
            `feature_info`.
        base: The class it is derived from.
    """
    steps, classes = collect(graph, TAKEN | {class_name(graph.title)})
    pieces = [_block_class(each) for each in classes]
    pieces.append(_network_class(graph, steps, facts, base))
    pieces[:0] = _joint_classes("\n".join(pieces))
    head = [HEADER.format(title=graph.title), *_imports("\n".join(pieces)), ""]
    lines = ["\n".join(head), *"\n\n".join(pieces).splitlines()]
    return "\n".join(part for line in lines for part in wrapped(line)) + "\n"


def class_name(title: str) -> str:
    """Turns a spec's name into the name of a class.

    >>> class_name("convnext_tiny"), class_name("my-net.v2"), class_name("50_layers")
    ('ConvnextTiny', 'MyNetV2', 'Net50Layers')
    """
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[\W_]+", title))
    name = name if name.isidentifier() else f"Net{name}"
    return f"{name}Net" if name in TAKEN or keyword.iskeyword(name) else name


def _imports(body: str) -> list[str]:
    """The import lines that a body needs, torch and timm first."""
    words = set(re.findall(r"[A-Za-z_]\w*", re.sub(r'"""(.|\n)*?"""', "", body)))
    plain = [line for name, line in MODULES.items() if name in words]
    found = {room: [name for name in names if name in words] for room, names in NAMES.items()}
    lines = [f"from {room} import {', '.join(names)}" for room, names in found.items() if names]
    first = [line for line in lines if not line.startswith("from flopwise")]
    return [*plain, *first, "", *lines[len(first) :], ""]


LAMBDA = re.compile(r"lambda [^:]*$")
"""The arguments of a lambda, whose commas are no place to break a line."""


def wrapped(line: str, width: int = WIDTH) -> list[str]:
    """Breaks a line that is too long after the commas of its first bracket."""
    start = min((line.find(mark) for mark in "([{" if mark in line), default=-1)
    if len(line) <= width or start < 0:
        return [line]
    depth, end, parts = 1, start, [""]
    for letter in line[start + 1 :]:
        end += 1
        depth += (letter in "([{") - (letter in ")]}")
        if not depth:
            break
        if depth == 1 and letter == "," and not LAMBDA.search(parts[-1]):
            parts.append("")
        else:
            parts[-1] += letter
    indent, comma = line[: len(line) - len(line.lstrip())], ","
    value, _, turns = parts[0].rpartition(" for _ in ")
    if len(parts) == 1 and value and value.count("(") == value.count(")"):  # and not further in
        long = len(f"{indent}    {parts[0].strip()}") > WIDTH
        parts, comma = ([value, f"for _ in {turns}"] if long else parts), ""  # none in a generator
    pieces = [wrapped(f"{indent}    {part.strip()}", WIDTH - 1) for part in parts if part.strip()]
    broken = [text for *head, last in pieces for text in (*head, last + comma)]
    return [line[: start + 1], *broken, indent + line[end:]]


def _block_class(each: Class) -> str:
    """Writes one class: docstring, initialisation as data, `__init__`, `forward`."""
    instance = each.instances[0]
    graph = instance.graph
    arguments = list(dict.fromkeys(each.arguments.values()))
    lines = [f"class {each.name}(Block):", *_docstring(graph.doc)]
    lines += [""] if graph.doc else []
    inits = {layer.name: layer.init for layer in graph.layers if layer.init != ""}
    lines += [f"    inits = {code(inits)}", ""] if inits else []
    signature = ", ".join(["self", *(_typed(name, instance.values) for name in arguments)])
    lines += [f"    def __init__({signature}) -> None:", "        super().__init__()"]
    members = [line for layer in graph.layers for line in _members(layer, instance, each.arguments)]
    lines += [f"        {line}" for line in dict.fromkeys(members)]  # shared numbers stand once
    inputs = ["self", *(f"{name}: Tensor" for name in input_names(graph))]
    inputs += ["pre_logits: bool = False"] if graph.head else []
    made = ", ".join(["Tensor"] * len(graph.outputs))
    made = made if len(graph.outputs) == 1 else f"tuple[{made}]"
    lines += ["", f"    def forward({', '.join(inputs)}) -> {made}:"]
    body = forward_lines(_headless(graph)) if graph.head else forward_lines(graph)
    lines += [f"        {line}" for line in (_head_lines(graph, body) if graph.head else body)]
    return "\n".join(lines) + "\n"


def _joint_classes(body: str) -> list[str]:
    """Writes the joints that a body needs: torch.jit wants the number of inputs spelled out."""
    found = {(int(reads), int(makes)) for reads, makes in JOINT.findall(body)}
    return [_joint_class(reads, makes) for reads, makes in sorted(found)]


def _joint_class(reads: int, makes: int) -> str:
    names = [f"x{place}" for place in range(reads)]
    inputs = ", ".join(f"{name}: Tensor" for name in names)
    made = "Tensor" if makes == 1 else f"tuple[{', '.join(['Tensor'] * makes)}]"
    lines = (
        f"class Joint{reads}To{makes}(Joint):",
        f'    """A stage whose block reads {reads} and makes {makes}."""',
        "",
        f"    def forward(self, {inputs}) -> {made}:",
        "        if self.grad_checkpointing and not torch.jit.is_scripting():",
        f"            return self.saving({', '.join(names)})",
        f"        return self[0]({', '.join(names)})",
    )
    return "\n".join(lines) + "\n"


def _typed(name: str, values: dict[str, Any]) -> str:
    """An argument of a constructor with its type."""
    value = values[name]
    if isinstance(value, tuple):
        return f"{name}: tuple[{', '.join(type(each).__name__ for each in value)}]"
    return f"{name}: {'float' if isinstance(value, float) else 'int'}"


def first_norm(head: Graph) -> Layer | None:
    """Returns the norm that a head applies to all features before it does anything else."""
    first = head.layers[0]
    alone = not any(0 in layer.inputs for layer in head.layers[1:])
    norm = first.kind in ("layer_norm", "layer_norm2d", "rms_norm") and head.inputs[0].kind != "vec"
    return first if norm and alone else None


def _headless(graph: Graph) -> Graph:
    """A network without its head, or a head without its last linear layer and its first norm."""
    last = graph.layers[-1]
    graph = replace(graph, layers=graph.layers[:-1], outputs=last.inputs)
    if not graph.head or first_norm(graph) is None:
        return graph
    layers = (
        replace(layer, inputs=tuple(index - 1 for index in layer.inputs))
        for layer in graph.layers[1:]
    )
    return replace(graph, layers=tuple(layers), outputs=(graph.outputs[0] - 1,))


def _head_lines(graph: Graph, body: list[str]) -> list[str]:
    value = body[-1].removeprefix("return ")
    name = f"self.{graph.layers[-1].name}"
    return [*body[:-1], f"x = {value}", f"return x if pre_logits else {name}(x)"]


def _members(layer: Layer, instance: Instance, names: dict[Slot, str]) -> list[str]:
    """The lines of `__init__` for one layer."""
    if layer.graph:
        child = instance.inside[layer.name]
        return [f"self.{layer.name} = {_construct(child, layer.name, names)}"]
    form = FORMS[layer.kind]
    lines = [
        f"self.{name} = {names.get((layer.name, name), layer.settings[key])}"
        for name, key in form.attributes.items()
    ]
    if form.call or form.positional:
        lines.append(f"self.{layer.name} = {_module(layer, layer.name, instance.leaves, names)}")
    return lines


def _module(layer: Layer, path: str, leaves: dict[Slot, Any], names: dict[Slot, str]) -> str:
    """The constructor call of a leaf module."""
    form = FORMS[layer.kind]
    numbers = {key: leaves.get((layer.name, key), value) for key, value in layer.settings.items()}

    def word(key: str) -> str:
        return names.get((path, key)) or _literal(numbers[key])

    if layer.kind in TABLES:
        shape = enumerate(layer.settings["shape"])
        sizes = [names.get((path, f"size{axis}")) or str(size) for axis, size in shape]
        return f"{form.call}({', '.join(sizes)})"
    if layer.kind == "activation":
        return MODULE_ACTS[layer.settings["function"]]
    arguments = [word(key) for key in form.positional] + ([form.fixed] if form.fixed else [])
    if not form.call:
        return arguments[0]
    for argument, (key, default) in form.keywords.items():
        if (path, key) in names or numbers[key] != default:
            arguments.append(f"{argument}={word(key)}")
    return f"{form.call}({', '.join(arguments)})"


def _construct(instance: Instance, path: str, names: dict[Slot, str]) -> str:
    """The constructor call of a block, given the names that its numbers have in this scope."""
    if instance.stage:
        return _stage(instance, path, names)
    if instance.sequential:
        inner = [
            _module(layer, f"{path}_{layer.name}".strip("_"), instance.leaves, names)
            for layer in instance.graph.layers
        ]
        return f"nn.Sequential({', '.join(inner)})"
    assert instance.owner is not None
    words = {
        name: names.get((path, name)) or _literal(value) for name, value in instance.values.items()
    }
    named = [f"{name}={word}" for name, word in words.items()]
    arguments = named if len(words) > 2 else words.values()
    return f"{instance.owner.name}({', '.join(arguments)})"


def _stage(instance: Instance, path: str, names: dict[Slot, str]) -> str:
    """A stage: equal neighbours are written once, the entry by its name."""
    calls = [
        (
            layer.name.isdigit(),
            layer.name,
            _construct(instance.inside[layer.name], f"{path}_{layer.name}".strip("_"), names),
        )
        for layer in instance.graph.layers
    ]
    parts: list[str] = []
    for text, run in groupby(call for numbered, _, call in calls if numbered):
        count = len(list(run))
        parts.append(text if count == 1 else f"*({text} for _ in range({count}))")
    parts += [f"{name}={call}" for numbered, name, call in calls if not numbered]
    graph = instance.graph
    ends = (len(graph.inputs), len(graph.outputs))
    kind = "Stage" if ends == (1, 1) else "Joint{}To{}".format(*ends)
    return f"{kind}({', '.join(parts)})"


def _network_class(
    graph: Graph, steps: dict[str, Instance], facts: dict[str, Any], base: str
) -> str:
    lines = [f"class {class_name(graph.title)}({base}):", *_docstring(graph.doc)]
    lines += [""] if graph.doc else []
    lines += [f"    {key} = {code(value)}" for key, value in facts.items()]
    lines += ["", *_constructor(graph, steps, base), ""]
    head = graph.classifier
    trunk = forward_lines(_headless(graph) if head else graph, nesting=1)
    if facts.get("NORM"):
        trunk[-1] = f"return self.{facts['NORM']}({trunk[-1].removeprefix('return ')})"
    lines += ["    def forward_trunk(self, x: Tensor) -> Tensor:"]
    lines += [f"        {line}" for line in trunk]
    lines += ["", "    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:"]
    if head:
        lines += ['        if self.global_pool == "":', "            return x"]
    lines += [f"        return {f'self.{head.name}(x, pre_logits)' if head else 'x'}"]
    return "\n".join(lines) + "\n"


def _constructor(graph: Graph, steps: dict[str, Instance], base: str) -> list[str]:
    """The lines of a network's `__init__`."""
    sized = base != "Network"
    lines = [
        "    def __init__(",
        "        self,",
        f"        num_classes: int = {class_count(graph)},",
        f"        in_chans: int = {graph.inputs[0].shape[0]},",
        "        global_pool: str | None = None,",
        "        drop_rate: float = 0.0,",
        "        drop_path_rate: float = 0.0,",
        "        device: torch.device | str | None = None,",
        "        dtype: torch.dtype | None = None,",
        *(["        img_size: int | tuple[int, int] | None = None,"] if sized else []),
        "    ) -> None:",
        "        super().__init__(num_classes, in_chans)",
    ]
    for layer in graph.layers:
        if layer.graph:
            lines.append(f"        self.{layer.name} = {_construct(steps[layer.name], '', {})}")
        elif layer.name:
            lines.append(f"        self.{layer.name} = {_module(layer, layer.name, {}, {})}")
    lines += ["        self.set_input_size(img_size)"] if sized else []
    return [*lines, "        self.finish(global_pool, drop_rate, drop_path_rate, device, dtype)"]


def _literal(value: Any) -> str:
    return value.text if isinstance(value, Symbol) else repr(value)


def code(value: Any) -> str:
    """Writes plain data as Python, with double quotes.

    >>> code({"pool": "avg", "size": (3, 8, 8)})
    '{"pool": "avg", "size": (3, 8, 8)}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{code(k)}: {code(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(code, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(code, value)) + ("," if len(value) == 1 else "") + ")"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _docstring(doc: str) -> list[str]:
    """The definition's docstring without the help of its settings."""
    text = doc.split("\n\nSettings:")[0].strip()
    text = text.replace("\\", "\\\\").replace('"""', "'''").removesuffix('"')
    if not text:
        return []
    first, *rest = text.splitlines()
    if not rest:
        return [f'    """{first}"""']
    return [f'    """{first}', *(f"    {line}".rstrip() for line in rest), '    """']
