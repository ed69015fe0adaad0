"""A spec and weights from elsewhere to a folder that timm loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform
from timm.models import get_pretrained_cfg
from torch import Tensor

from flopwise import dsl
from flopwise.design.shipping import SHOWN, same_classes
from flopwise.errors import RunError, nearest
from flopwise.export import Facts
from flopwise.export.findings import findings, read_json
from flopwise.export.folder import CONFIG, PROOF, WEIGHTS, digest_of, export
from flopwise.export.proof import Proof
from flopwise.export.ways import needed
from flopwise.export.weights import named, read_weights
from flopwise.search.training import open_images
from flopwise.train import Data

__all__ = ["export_given"]

FILES = (WEIGHTS, "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Names of the weights in a folder of timm's, in its order."""
WHERE = (
    "a file of weights, an exported folder, a folder with timm's config.json, or the folder of a "
    "training or search"
)
UNKNOWN = (
    "nobody knows how images were normalised before these weights saw them; name a model of timm "
    "that was trained with the same (--like timm:resnet50.a1_in1k), the images (--data photos/), "
    "or write both --mean and --std"
)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """Weights that somebody has.

    Attributes:
        place: Where they lie.
        file: Their file.
        state: The weights, under any names.
        images: What is known of the images they were trained with, in timm's words.
        license: Their licence, where it is known.
    """

    place: Path
    file: Path
    state: Mapping[str, Tensor] = field(repr=False)
    images: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""


def export_given(
    spec: dsl.Spec,
    weights: Path,
    folder: Path,
    *,
    images: Mapping[str, Any] | None = None,
    like: str = "",
    data: str = "",
    also: Sequence[str] = (),
    command: str = "",
) -> Proof:
    """Exports the network of a spec with weights from elsewhere, and proves the folder.

    Args:
        spec: The spec.
        weights: Where the weights lie: safetensors, a checkpoint of torch with nothing but plain
            data, an exported folder, a folder of timm's, or that of a training or search.
        folder: Where to write.
        images: How images were treated, over what is known: fields of `Facts`.
        like: A model of timm whose images were treated alike; its name may have a tag.
        data: Where images lie that they were trained with; the test split is then classified.
        also: Other forms to lay beside, keys of `flopwise.export.ways.WAYS`.
        command: The command that asked for it, for the records.

    Raises:
        RunError: The weights cannot be read or do not fit, it is not known how images were
            normalised, or the proof fails.
    """
    needed(also)
    given = _open(weights)
    network = spec.network()
    state = named(network, given.state, str(given.place))
    opened = open_images(network, replace(spec.recipe, data=data)) if data else None
    known = {**_of_data(opened), **given.images, **_like(like), **(images or {})}
    facts = _facts(network, known)
    if opened:
        same_classes(given.place, facts.class_names, opened.facts.classes)
    told, text = spec.export, spec.render()
    return export(
        network,
        state,
        folder,
        facts=facts,
        provenance={
            "weights": given.place.resolve().name,
            "weights_sha256": digest_of(given.file),
            "data": data or None,
            "test_images": opened and opened.test().digest[:16],
            "export_command": command or None,
            "spec": text,
        },
        texts={"spec.yaml": text, **{code.key: code.text for code in spec.codes}},
        also=also,
        license=str(told.get("license") or given.license or "other"),
        tag=str(told.get("tag", "flopwise")),
        like=str(told.get("timm", "")),
        **(_shown(opened, facts) if opened else {}),
    )


def _open(place: Path) -> _Given:
    """Reads weights, and what lies beside them about images."""
    if place.is_file():
        return _Given(place=place, file=place, state=read_weights(place))
    if (place / PROOF).is_file() and (faults := findings(place)):
        told = "".join(f"\n  - {fault}" for fault in faults)
        raise RunError(f"{place} does not hold what was proven:{told}")
    if (place / CONFIG).is_file():
        return _of_timm(place)
    record = place / "winner" / "winner.json"
    if record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        file = place / (known["weights"] or "nothing")
        return _Given(place=place, file=file, state=read_weights(file), images=known["data"])
    if (place / "best.safetensors").is_file():
        file = place / "best.safetensors"
        return _Given(place=place, file=file, state=read_weights(file))
    raise RunError(f"there are no weights at {place}; name {WHERE}")


def _of_timm(folder: Path) -> _Given:
    """Reads a folder that timm would load."""
    config = read_json(folder / CONFIG)
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise RunError(f"{folder} has a {CONFIG} and no weights; timm's are {' or '.join(FILES)}")
    cfg = config.get("pretrained_cfg", config)
    known = _told(cfg) | {"class_names": config.get("label_names", [])}
    license = str(cfg.get("license") or "")
    return _Given(place=folder, file=file, state=read_weights(file), images=known, license=license)


def _told(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what timm's configuration tells about images."""
    test = cfg.get("test_input_size")
    return {**cfg, **({"test_size": list(test[1:])} if test else {})}


def _like(name: str) -> dict[str, Any]:
    """Returns how a model of timm has its images."""
    if not name:
        return {}
    plain = name.removeprefix("timm:").removeprefix("timm/")
    if not timm.is_model(plain):
        near = nearest(plain.partition(".")[0], timm.list_models())
        meant = f"; did you mean timm:{near}?" if near else ""
        raise RunError(f"timm {timm.__version__} has no model '{plain}'{meant}")
    try:
        found = get_pretrained_cfg(plain, allow_unregistered=False)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{plain.partition('.')[0]}.*"))
        raise RunError(f"{error}; published are {tags or 'none'}") from None
    known = vars(found) if found else {}
    sizes = ("test_input_size", "label_names")  # of its own weights, not of how images are treated
    return {k: v for k, v in known.items() if v is not None and k not in sizes}


def _of_data(opened: Data | None) -> dict[str, Any]:
    if opened is None:
        return {}
    return {**opened.facts.as_dict(), "class_names": list(opened.facts.classes)}


def _shown(opened: Data, facts: Facts) -> dict[str, Any]:
    """Returns test images as timm's own transform makes them of these facts, and as they are."""
    split = opened.test()
    count = min(len(split), SHOWN)
    pictures = [split.picture(index) for index in range(count)]
    height, width = facts.test_size or opened.facts.size
    transform = create_transform(
        (opened.facts.channels, height, width),
        interpolation=facts.interpolation,
        mean=facts.mean,
        std=facts.std,
        crop_pct=facts.crop_pct,
        crop_mode=facts.crop_mode,
    )
    images = torch.stack([transform(picture) for picture in pictures])
    return {"images": images, "labels": split.labels[:count], "pictures": pictures}


def _facts(network: dsl.Network, known: Mapping[str, Any]) -> Facts:
    facts = Facts.of({key: value for key, value in known.items() if value is not None})
    if not (facts.mean and facts.std):
        raise RunError(UNKNOWN)
    channels = network.graph.inputs[0].shape[0]
    for name in ("mean", "std"):
        values = getattr(facts, name)
        if len(values) != channels:
            count = f"{len(values)} number{'s' if len(values) > 1 else ''}"
            raise RunError(
                f"{name} has {count}, {', '.join(f'{v:g}' for v in values)}, and "
                f"'{network.name}' takes images of {channels} channels; write one for each"
            )
    if facts.class_names and len(facts.class_names) != network.classes:
        raise RunError(
            f"there are {len(facts.class_names)} names of classes, and '{network.name}' has "
            f"{network.classes} classes"
        )
    return facts
