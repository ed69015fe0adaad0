"""Any network as one readable file beside its weights: `model.py`, which needs torch and timm.

Source of what the file ends in: timm/models/_registry.py, `register_model`,
`generate_default_cfgs`; timm/models/_builder.py, `build_model_with_cfg`.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import is_model
from torch import nn

from flopwise import __version__, nets
from flopwise.dsl import Network
from flopwise.export.config import Shipped
from flopwise.nets.alone import Alone, stand_alone
from flopwise.nets.resizing import FixedSize
from flopwise.nets.runtime import Network as Module
from flopwise.nets.source import WIDTH, class_name, code, wrapped

__all__ = ["CODE", "Standalone", "stand", "write_module"]

CODE = "model.py"
NEEDED = frozenset(
    {
        ("Any", "typing", "Any"),
        ("Path", "pathlib", "Path"),
        ("build_model_with_cfg", "timm.models", "build_model_with_cfg"),
        ("generate_default_cfgs", "timm.models", "generate_default_cfgs"),
        ("register_model", "timm.models", "register_model"),
    }
)
"""What the registration at the end of the file imports."""
DOC = '''"""{name}, an image classifier for timm: {params:,} parameters, {macs:,} MACs.

    import sys, timm
    sys.path.insert(0, "THIS_FOLDER")
    import model  # registers '{architecture}'
    net = timm.create_model("{architecture}", pretrained=True).eval()

It needs torch and timm only. flopwise {version} generated the classes of the blocks and the
network from a spec, which is spec.yaml; what stands before them is shared by all such files.
"""
'''
ENTRY = '''@register_model
def {architecture}(pretrained: bool = False, **kwargs: Any) -> {cls}:
    """{told}"""
{checked}    return build_model_with_cfg({cls}, "{architecture}", pretrained{options}, **kwargs)
'''
ONE_SIZE = """    if to_2tuple(kwargs.get("img_size", {size})) not in ({size}, {listed}):
        raise ValueError("{architecture} takes images of {told} only")
"""
SIZES = ("to_2tuple", "timm.layers", "to_2tuple")
QUIET = "# ruff: noqa: RUF012  (these class attributes are never changed, only replaced)\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standalone(Shipped):
    """A network that brings its own classes.

    Attributes:
        alone: Its source and what it stands on.
        levels: How many levels of features timm may take.
        resizable: Whether it takes images of another size when it is built for them.
    """

    alone: Alone
    levels: int
    resizable: bool


def stand(network: Network) -> Standalone:
    """Returns a network as its own file knows it."""
    graph = network.graph
    model = nets.build(graph, device="meta")
    alone = stand_alone(nets.source(graph))
    keys = model.state_dict()
    channels, size = network.input.channels, network.input.size
    return Standalone(
        tier="standalone",
        architecture=_name(network.name, alone.names),
        model_args={},
        keys={key: key for key in keys},
        classes=model.num_classes,
        features=model.num_features,
        pool=model.POOL,
        first_conv=_adapted(network, model),
        classifier=_replaced(network, model),
        fixed_size=not _runs(model, (channels, 2 * size[0], 2 * size[1])),
        alone=alone,
        levels=len(model.feature_info),
        resizable=isinstance(model, FixedSize),
    )


def _name(title: str, taken: Iterable[str]) -> str:
    """Returns the spec's name as timm may know it: a Python name that is not in use."""
    name = re.sub(r"\W+", "_", title)
    name = name if name.isidentifier() else f"net_{name}"
    used = {*taken, *(local for local, _, _ in NEEDED), "default_cfgs"}
    return f"{name}_flopwise" if is_model(name) or name in used else name


def _adapted(network: Network, model: nn.Module) -> str | None:
    """Returns the convolution that timm may adapt to other channels, if one alone reads them."""
    channels = network.input.channels
    changed = _changed(network, model, in_chans=channels + 1)
    if len(changed) != 1 or not changed[0].endswith(".weight"):
        return None
    name = changed[0].removesuffix(".weight")
    conv = model.get_submodule(name)
    plain = isinstance(conv, nn.Conv2d) and conv.groups == 1 and conv.in_channels == channels
    return name if plain else None


def _replaced(network: Network, model: Module) -> str | None:
    """Returns the last linear layer, if the number of classes changes nothing else."""
    name = model.CLASSIFIER
    if not name:
        return None
    changed = _changed(network, model, num_classes=model.num_classes + 1)
    return name if set(changed) == {f"{name}.weight", f"{name}.bias"} else None


def _changed(network: Network, model: nn.Module, **options: int) -> list[str]:
    """Returns the keys of the checkpoint that an argument changes; none where it is impossible."""
    try:
        other = nets.build(network.graph, device="meta", **options).state_dict()
    except (RuntimeError, ValueError):  # such as groups that divide no other count
        return []
    return [key for key, value in model.state_dict().items() if value.shape != other[key].shape]


@torch.no_grad()
def _runs(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a network takes images of this size."""
    model.eval()
    try:
        model(torch.empty(1, *shape, device="meta"))
    except (RuntimeError, ValueError):
        return False
    return True


def write_module(network: Network, form: Standalone, cfg: Mapping[str, Any]) -> str:
    """Returns the text of `model.py`.

    Args:
        network: The network.
        form: The network as its own file knows it.
        cfg: The `pretrained_cfg` of config.json.
    """
    graph = network.graph
    doc = DOC.format(
        name=network.name,
        params=graph.params,
        macs=graph.macs,
        architecture=form.architecture,
        version=__version__,
    )
    parts = [
        *form.alone.pieces,
        form.alone.classes,
        _default_cfgs(form.architecture, cfg),
        _entrypoint(network, form),
    ]
    needed = NEEDED | ({SIZES} if form.fixed_size and not form.resizable else set())
    head = f"{doc}{QUIET}\n{_imports(form.alone.imports | needed)}"
    text = "\n\n\n".join([head, *(part.strip("\n") for part in parts)])
    return "\n".join(part for line in text.splitlines() for part in wrapped(line)) + "\n"


def _entrypoint(network: Network, form: Standalone) -> str:
    """Returns the function that timm calls by the network's name.

    `features_only` traces, which finds every named module. For a network of one image size timm
    adds an argument `img_size`, which its class takes if it can be resized.
    """
    graph, size = network.graph, tuple(network.input.size)
    images = " x ".join(map(str, graph.inputs[0].shape))
    options, checked = "", ""
    if form.levels:
        levels = code(tuple(range(form.levels)))
        options += f', feature_cfg={{"out_indices": {levels}, "feature_cls": "fx"}}'
    if form.resizable:
        options += ", pretrained_filter_fn=lambda state, net: net.fitted(state)"
    elif form.fixed_size:
        options += ', kwargs_filter=("img_size",)'
        told = " x ".join(map(str, size))
        words = {"architecture": form.architecture, "told": told}
        checked = ONE_SIZE.format(size=size, listed=list(size), **words)
    counts = f"{graph.params:,} parameters, {graph.macs:,} MACs."
    return ENTRY.format(
        architecture=form.architecture,
        cls=class_name(graph.title),
        told=f"{network.name} for images of {images}: {counts}",
        checked=checked,
        options=options,
    )


def _default_cfgs(architecture: str, cfg: Mapping[str, Any]) -> str:
    told = {key: tuple(v) if isinstance(v, list) else v for key, v in cfg.items()}
    told = {"first_conv": (), **told}  # timm asks every registered model for it
    name = code(f"{architecture}.{cfg['tag']}")
    entries = "\n".join(f"            {code(key)}: {code(value)}," for key, value in told.items())
    return (
        "default_cfgs = generate_default_cfgs(\n    {\n"
        f"        {name}: {{\n"
        '            "file": str(Path(__file__).with_name("model.safetensors")),\n'
        f"{entries}\n        }}\n    }}\n)"
    )


def _imports(found: Iterable[tuple[str, str, str]]) -> str:
    """Returns the lines that import, the standard library first."""
    plain: dict[bool, set[str]] = defaultdict(set)
    named: dict[bool, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for local, room, name in found:
        bound = room.partition(".")[0]
        own = bound in sys.stdlib_module_names
        if name:
            named[own][room].add(name if name == local else f"{name} as {local}")
        else:
            plain[own].add(f"import {room}" if bound == local else f"import {room} as {local}")
    groups = []
    for own in (True, False):
        lines = sorted(plain[own])
        for room, names in sorted(named[own].items()):
            listed = ", ".join(sorted(names, key=_rank))
            line = f"from {room} import {listed}"
            lines.append(line if len(line) <= WIDTH else f"from {room} import ({listed})")
        groups.append("\n".join(lines))
    return "\n\n".join(filter(None, groups))


def _rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
