"""The folder that timm loads: weights under timm's names, config.json, a model card.

A network of no family of timm's brings its own classes in `model.py`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from flopwise import __version__
from flopwise.dsl import Network
from flopwise.dsl.consent import remember
from flopwise.errors import RunError
from flopwise.export.card import COUNTED, make_card
from flopwise.export.config import Facts, Shipped, make_config
from flopwise.export.family import recognise
from flopwise.export.likeness import differences
from flopwise.export.proof import Case, Proof, images_like, prove
from flopwise.export.reading import NotNativeError
from flopwise.export.standalone import CODE, Standalone, stand, write_module
from flopwise.export.tensors import loaded, to_timm
from flopwise.export.ways import WAYS, needed, write_ways

__all__ = [
    "CARD",
    "CODES",
    "CONFIG",
    "PROOF",
    "SAMPLE",
    "WEIGHTS",
    "digest_of",
    "export",
    "shipped_as",
    "write_folder",
]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
SAMPLE = "more/sample.safetensors"
"""An image and the logits that the trained module gives for it.

timm 1.0.17 fails on a folder with two files of weights beside each other, whatever their names.
"""
PROOF = "proof.json"
OWN = frozenset({WEIGHTS, CONFIG, CARD, SAMPLE, PROOF, CODE, *(way.file for way in WAYS.values())})
CODES = frozenset({CODE, *(way.file for way in WAYS.values() if way.code)})
"""Files that run when they are read; those written here are remembered as allowed."""


def export(
    network: Network,
    weights: nn.Module | Mapping[str, Tensor],
    folder: Path,
    *,
    facts: Facts,
    provenance: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
    license: str = "other",
    tag: str = "flopwise",
    like: str = "",
    images: Tensor | None = None,
    labels: Tensor | None = None,
    pictures: Sequence[Image.Image] = (),
    also: Sequence[str] = (),
) -> Proof:
    """Writes a trained network as a folder that timm loads, and proves that it does.

    Stock timm alone loads a network of one of its families. Any other brings `model.py`, which
    needs torch and timm and is imported before.

    The files get there only once they are proven; until then, and for good if the proof fails,
    they stay in `FOLDER.unproven`. Files of others in the folder are left alone.

    Args:
        network: The network.
        weights: Its trained weights.
        folder: Where to write; only an earlier export there may be replaced.
        facts: What the folder says about the images.
        provenance: Where the network comes from; stands at the root of config.json.
        texts: Files to lay beside, by name, such as the resolved spec.
        license: Licence of the weights, by its short name.
        tag: What timm calls these weights among others of the same architecture.
        like: A model of timm whose tensors must have the same names and shapes; empty for any.
        images: Test images as the module gets them, for the proof.
        labels: Their classes.
        pictures: The same images before any transform: the proof then covers what config.json says
            about size, crop, mean and standard deviation.
        also: Other forms to lay beside, keys of `WAYS`; each is read back and compared.

    Raises:
        RunError: The folder was written but not proven, or is not ours to replace; or the network
            is not like the model it should be like.
    """
    needed(also)
    shipped = shipped_as(network)
    _refuse_unlike(network, shipped, like)
    folder = folder.resolve()
    _refuse_strangers(folder, texts or {})
    model = loaded(network, weights)
    draft = folder.with_name(folder.name + ".unproven")
    shutil.rmtree(draft, ignore_errors=True)
    write_folder(network, shipped, model.state_dict(), draft, facts, provenance or {}, license, tag)
    shape = network.graph.inputs[0].shape
    _add(draft, model, shape, texts or {})
    ways = write_ways(also, model, draft, lambda count: images_like(shape, count=count, seed=2))
    proof = prove(Case(folder=draft, model=model, images=images, labels=labels, pictures=pictures))
    proof = replace(proof, ways=ways)
    _write_card(draft, proof)
    digests = {str(path.relative_to(draft)): digest_of(path) for path in _files(draft)}
    _write_json(draft / PROOF, {**proof.as_dict(), "files": digests})
    if not proof.proven:
        told = "".join(f"\n  - {failure}" for failure in proof.failures)
        raise RunError(f"the export is not proven and stays in {draft}:{told}")
    for name in CODES & digests.keys():
        remember(digests[name], str(folder / name))
    _move(draft, folder)
    return proof


def shipped_as(network: Network) -> Shipped:
    """Returns a network as its family in timm knows it, or with classes of its own."""
    try:
        return recognise(network)
    except NotNativeError:
        return stand(network)


def write_folder(
    network: Network,
    shipped: Shipped,
    state: Mapping[str, Tensor],
    folder: Path,
    facts: Facts,
    provenance: Mapping[str, Any],
    license: str = "other",
    tag: str = "flopwise",
) -> None:
    """Writes the files without proving them; whether the keys fit, timm's strict loading tells."""
    known = {"tier": shipped.tier, **_origin(network, shipped), **provenance}
    config = make_config(network, shipped, facts, known, tag=tag, license=license)
    folder.mkdir(parents=True)
    save_file(to_timm(shipped, state), folder / WEIGHTS, metadata={"format": "pt"})
    _write_json(folder / CONFIG, config)
    if isinstance(shipped, Standalone):
        text = write_module(network, shipped, config["pretrained_cfg"])
        (folder / CODE).write_text(text, encoding="utf-8")
    _write_card(folder)


def _write_card(folder: Path, proof: Proof | None = None) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    told: dict[str, Any] = {}
    if proof and proof.proven:
        files = {WAYS[name].file: WAYS[name].what for name in proof.ways}
        told = {"proof": str(proof), "files": files, "features": proof.features}
    card = make_card(config, folder.name.removesuffix(".unproven"), **told)
    (folder / CARD).write_text(card, encoding="utf-8")


def _add(folder: Path, model: nn.Module, shape: tuple[int, ...], texts: Mapping[str, str]) -> None:
    """Adds what needs no proof: a sample to check the folder by, and files to lay beside."""
    image = images_like(shape, count=1, seed=1)
    with torch.inference_mode():
        logits = model(image)
    (folder / SAMPLE).parent.mkdir(exist_ok=True)
    save_file({"input": image, "logits": logits.contiguous()}, folder / SAMPLE)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _origin(network: Network, shipped: Shipped) -> dict[str, Any]:
    """What every export tells about itself, whoever asked for it."""
    return {
        "name": network.name,
        "macs": network.graph.macs,
        "macs_convention": COUNTED["macs"],
        "params": network.graph.params,
        "activations": network.graph.activations,
        **_carried(network, shipped),
        "hash": network.hash,
        "flopwise_version": __version__,
        "timm_version": version("timm"),
        "torch_version": version("torch"),
    }


def _carried(network: Network, shipped: Shipped) -> dict[str, Any]:
    """What timm's class counts where it is larger than the network."""
    if not shipped.filled:
        return {}
    graph, params, macs = network.graph, shipped.dead_params, shipped.dead_macs
    counts = {"params": graph.params + params, "macs": graph.macs + macs}
    layers = sorted({key.partition(".")[0] for key in shipped.filled})
    dead = {"dead_params": params, "dead_macs": macs, "layers": layers}
    return {"shipped": {**counts, **dead}}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _move(draft: Path, folder: Path) -> None:
    """Moves proven files to their place, the proof first out and last in.

    What an earlier export left there and this one has not, such as its `model.py`, goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = folder / PROOF
    earlier = json.loads(before.read_text(encoding="utf-8")) if before.exists() else {}
    before.unlink(missing_ok=True)
    for name in earlier.get("files", {}).keys() & OWN:
        (folder / name).unlink(missing_ok=True)
    for path in sorted(_files(draft), key=lambda path: path.name == PROOF):
        place = folder / path.relative_to(draft)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(draft)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _refuse_unlike(network: Network, shipped: Shipped, name: str) -> None:
    found = differences(shipped, network.graph.keys(), name) if name else []
    if found:
        told = "".join(f"\n  - {each}" for each in found)
        raise RunError(f"export.timm: '{network.name}' is not timm's {name}:{told}")


def _refuse_strangers(folder: Path, texts: Mapping[str, str]) -> None:
    """Only an earlier export, or nothing, may be replaced, and no file of ours is meant twice."""
    if twice := sorted(texts.keys() & OWN):
        raise RunError(f"the folder has a {twice[0]} of its own; give yours another name")
    if folder.is_file():
        raise RunError(f"{folder} is a file; name a folder")
    if folder.exists() and not (folder / PROOF).exists() and any(folder.iterdir()):
        raise RunError(f"{folder} holds files that are no export of ours; name another folder")
