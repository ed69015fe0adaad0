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

from flopwise import __version__, nets
from flopwise.dsl import Network
from flopwise.dsl.consent import remember
from flopwise.errors import RunError, nearest
from flopwise.export.card import COUNTED, make_card
from flopwise.export.config import Facts, Shipped, make_config
from flopwise.export.families import CARRIER, Family, family_of
from flopwise.export.family import recognise, rename
from flopwise.export.likeness import differences
from flopwise.export.proof import Case, Proof, images_like, prove
from flopwise.export.reading import NotNativeError
from flopwise.export.standalone import CODE, Standalone, stand, write_module
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
    "faults_between",
    "filled",
    "from_timm",
    "linear_head",
    "shipped_as",
    "to_timm",
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
    model = _loaded(network, weights)
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


def to_timm(shipped: Shipped, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns our state dict under timm's names, each tensor on its own in memory."""
    found = {}
    for key, value in state.items():
        name = shipped.keys[key]
        shape = shipped.shape_of(name, tuple(value.shape))
        found[name] = value.detach().cpu().reshape(shape).contiguous().clone()
    return found | {key: filled(shipped, key) for key in shipped.filled}


def filled(shipped: Shipped, key: str) -> Tensor:
    """Returns what a tensor of timm's class holds that the network has not."""
    each = shipped.filled[key]
    if each.value == "identity":
        return torch.eye(each.shape[0]).reshape(each.shape)
    return torch.full(each.shape, each.value)


def from_timm(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns timm's state dict under our names, ready for `nets.build(network)`.

    Raises:
        RunError: A key is missing, left over, or of another shape.
    """
    if (
        f"{CARRIER.first_conv}.weight" in state
    ):  # what the class that carries it has of its own goes
        shipped = recognise(network)
        keys: Mapping[str, str] = shipped.keys
        state = {key: value for key, value in state.items() if key not in shipped.filled}
    else:
        family = family_of(network)
        keys, state = rename(family, network), linear_head(family, state)
    shapes = network.graph.keys()
    _match(
        {keys.get(key, key): shape for key, shape in shapes.items()},
        {key: tuple(value.shape) for key, value in state.items()},
        "the weights and timm's model",
    )
    return {ours: state[theirs] for ours, theirs in keys.items()}


def linear_head(form: Family | Shipped, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns timm's weights with a last layer of 1x1 convolution as a linear one."""
    last = state.get(f"{form.classifier}.weight")
    if not form.conv_head or last is None or last.ndim != 4:
        return state
    return {**state, f"{form.classifier}.weight": last.flatten(1)}


def _loaded(network: Network, weights: nn.Module | Mapping[str, Tensor]) -> nn.Module:
    """Returns a module of our own with these weights, rates at zero."""
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    model = nets.build(network, seed=0)
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    _match(wanted, found, "the weights and this network")
    model.load_state_dict(dict(state))
    return model.eval()


def _match(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], what: str
) -> None:
    if faults := faults_between(wanted, found):
        told = "".join(f"\n  - {fault}" for fault in faults)
        raise RunError(f"{what} do not fit:{told}")


def faults_between(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """Says in at most eleven lines which keys are missing, left over or of another shape.

    The first ten come with the nearest key of the other side that has no partner.
    """
    missing = {key: shape for key, shape in wanted.items() if key not in found}
    left = {key: shape for key, shape in found.items() if key not in wanted}
    faults = [f"{key} is missing{_near(key, wanted[key], left)}" for key in list(missing)[:11]]
    faults += [f"{key} is missing" for key in list(missing)[11:]]
    faults += [f"{key} has no place{_near(key, found[key], missing)}" for key in list(left)[:11]]
    faults += [f"{key} has no place" for key in list(left)[11:]]
    faults += [
        f"{key} is {found[key]} and should be {shape}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
    return faults[:10] + more


def _near(key: str, shape: tuple[int, ...], known: Mapping[str, tuple[int, ...]]) -> str:
    """Names the nearest of other keys, those of the same shape first."""
    alike = [other for other in known if known[other] == shape]
    near = nearest(key, alike) or nearest(key, known)
    return f" (did you mean '{near}'?)" if near else ""


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
