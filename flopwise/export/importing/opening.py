"""A timm model by name, or the folder of an export, built, read, written as a spec and proven."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from flopwise import dsl
from flopwise.errors import RunError, nearest
from flopwise.export.config import Facts
from flopwise.export.importing import (
    convnext,
    densenet,
    ghostnet,
    maxxvit,
    mobile,
    nfnet,
    regnet,
    resnet,
    resnetv2,
    swin,
    vit,
)
from flopwise.export.importing.drawing import Head, Line, draw
from flopwise.export.importing.modules import NotExpressibleError, Published
from flopwise.export.importing.witness import differ, match
from flopwise.export.tensors import from_timm

__all__ = ["READERS", "SMALL", "Imported", "import_timm"]

READERS: dict[str, Callable[[Published], list[Line]]] = {
    "ResNet": resnet.read,
    "ConvNeXt": convnext.read,
    "VisionTransformer": vit.read,
    "SwinTransformer": swin.read,
    "DenseNet": densenet.read,
    "NormFreeNet": nfnet.read,
    "EfficientNet": mobile.read,
    "GhostNet": ghostnet.read,
    "RegNet": regnet.read,
    "ResNetV2": resnetv2.read,
    "MaxxVit": maxxvit.read,
}
"""Class of a timm model -> who reads it."""
FOLDER = "local-dir:"
SMALL = 100_000_000
"""Parameters up to which outputs are compared unasked."""
CLASSES = 1000
"""Of a model that timm publishes without a classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A timm model as a spec.

    Attributes:
        name: What it was imported from, as timm's factory takes it.
        text: The spec, in its canonical layout.
        network: The network of the spec.
        facts: How timm treats images; the language has no keys for them.
        keys: How many checkpoint keys were matched, each with its shape.
        difference: Largest difference of the logits over the largest, with the same weights; None
            where they were not compared.
        weights: timm's weights under our names; None if none were given.
        notes: What a person should know.
    """

    name: str
    text: str
    network: dsl.Network
    facts: Facts
    keys: int
    difference: float | None = None
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


def import_timm(
    name: str,
    *,
    weights: str | Path | None = None,
    classes: int | None = None,
    prove: bool | None = None,
) -> Imported:
    """Reads a timm model and returns the spec that says it, with proof.

    The model is built without weights and every module of it is read; an attribute that the
    vocabulary lacks is a refusal. The spec's network then has as many parameters, keys and shapes
    that map both ways, and layers with the same settings.

    Args:
        name: A registered model, such as `resnet50`, `timm:resnet50.a1_in1k`; or an exported
            folder, with `local-dir:` before its path or without.
        weights: A file of timm's weights for it: safetensors, or a checkpoint of plain tensors.
        classes: Another number of classes than timm's; the classifier is then drawn anew.
        prove: Whether outputs are compared, with drawn weights or the given ones; None does so up
            to 100 million parameters.

    Raises:
        NotExpressibleError: The vocabulary lacks something of the model.
        RunError: There is no such model, the weights do not fit it, or the proof fails.
    """
    address = _address(name)
    model, notes = _model(address, classes)
    size = _size(model)
    lines = _read(address, model, size)
    head = _head(address, model, size)
    network = dsl.loads(draw(head, lines), name=address).network()
    keys = match(network, model, address)
    counted = {"macs": network.graph.macs, "params": network.graph.params}
    imported = Imported(
        name=address,
        text=draw(replace(head, expect=counted), lines),
        network=network,
        facts=_facts(model),
        keys=keys,
        notes=notes,
    )
    wanted = network.graph.params <= SMALL if prove is None else prove
    return _proven(imported, model.num_classes, weights, wanted) if wanted or weights else imported


def _proven(imported: Imported, classes: int, weights: str | Path | None, prove: bool) -> Imported:
    """Adds the weights and the comparison of outputs."""
    model = _built(imported.name, "cpu", classes)
    found = None
    if weights:
        state, told = _state(model, Path(weights))
        found = from_timm(imported.network, state)
        model.load_state_dict(state)
        imported = replace(imported, weights=found, notes=(*imported.notes, *told))
    if not prove:
        return imported
    difference = differ(imported.network, model, drawn=found is None)
    return replace(imported, difference=difference)


def _address(name: str) -> str:
    """Returns what timm's factory takes.

    Raises:
        RunError: There is neither a model nor an exported folder of that name.
    """
    plain = name.removeprefix("timm:").removeprefix("timm/")
    folder = Path(plain.removeprefix(FOLDER))
    if (folder / "config.json").is_file():
        return f"{FOLDER}{folder}"
    if plain.startswith(FOLDER):
        raise RunError(f"{folder} is no exported folder: it has no config.json")
    known = timm.list_models()
    if plain.partition(".")[0] in known:
        return plain
    near = nearest(plain, known)
    meant = f"; did you mean timm:{near}?" if near else ""
    raise RunError(
        f"timm {timm.__version__} has no model '{plain}', nor is it an exported folder{meant}"
    )


def _model(address: str, classes: int | None) -> tuple[Any, tuple[str, ...]]:
    """Builds a model without weights; one without a classifier gets one, and a note."""
    model = _built(address, "meta", classes)
    if model.num_classes:
        return model, ()
    note = f"timm's model has no classifier; the spec has a new one of {CLASSES} classes"
    return _built(address, "meta", CLASSES), (note,)


def _built(address: str, device: str, classes: int | None) -> Any:
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        with torch.device(device), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return timm.create_model(address, pretrained=False, **options).eval()
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
        raise RunError(f"timm cannot build {address}: {error}") from error


def _read(address: str, model: nn.Module, size: tuple[int, int]) -> list[Line]:
    kind = type(model).__name__
    if kind not in READERS:
        known = ", ".join(READERS)
        raise NotExpressibleError(address, [f"it is a {kind} (flopwise reads {known})"])
    net = Published(address, model, size)
    lines = READERS[kind](net)
    net.finish()
    return lines


def _size(model: Any) -> tuple[int, int]:
    """The size that tables were built for, or that of the published images."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    height, width = size or model.pretrained_cfg["input_size"][1:]
    return int(height), int(width)


def _facts(model: Any) -> Facts:
    return Facts.of({k: v for k, v in model.pretrained_cfg.items() if v is not None})


def _head(address: str, model: Any, size: tuple[int, int]) -> Head:
    """What the file says above the table, and how timm treats images as a remark."""
    known, facts = model.pretrained_cfg, _facts(model)
    tag = f", tag {known['tag']}" if known.get("tag") else ""
    mean, std = (", ".join(f"{v:.4g}" for v in each) for each in (facts.mean, facts.std))
    images = f"{facts.interpolation}, crop {facts.crop_pct:g} ({facts.crop_mode})"
    name = known.get("architecture") or type(model).__name__.lower()
    return Head(
        name=name,
        doc=f"Imported from timm, {name}{tag}.",
        remark=f"images: {images}, mean {mean}, std {std}",
        size=size,
        channels=model.in_chans,
        classes=model.num_classes,
        expect={},
    )


def _state(model: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Reads timm's weights; a classifier of another size stays as it was drawn, with a note."""
    if not path.is_file():
        raise RunError(f"there is no file of weights {path}")
    try:
        state = dict(load_state_dict(str(path)))
    except Exception as error:  # whatever a broken or hostile file makes the reader raise
        raise RunError(f"{path} holds no weights that can be read: {error}") from error
    name = model.pretrained_cfg.get("classifier") or ""
    own = model.state_dict()
    keys = [f"{name}.{part}" for part in ("weight", "bias") if f"{name}.{part}" in own]
    other = [key for key in keys if key not in state or state[key].shape != own[key].shape]
    note = (f"the classifier is new: {path} has none of this size",) if other else ()
    return {**state, **{key: own[key] for key in other}}, note
