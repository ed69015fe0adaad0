"""The folder that stock timm loads: weights under timm's names, config.json, a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from flopwise import __version__, nets
from flopwise.dsl import Network
from flopwise.errors import RunError
from flopwise.export.card import make_card
from flopwise.export.config import Facts, make_config
from flopwise.export.family import Native, family_of, recognise, rename
from flopwise.export.proof import Proof, verify

__all__ = ["export", "from_timm", "to_timm", "write_folder"]

WEIGHTS = "model.safetensors"
PROOF = "proof.json"


def export(
    network: Network,
    weights: nn.Module | Mapping[str, Tensor],
    folder: Path,
    *,
    facts: Facts,
    provenance: Mapping[str, Any] | None = None,
    license: str = "other",
    images: Tensor | None = None,
    labels: Tensor | None = None,
    pictures: Sequence[Image.Image] = (),
) -> Proof:
    """Writes a trained network as a folder that stock timm loads, and proves that it does.

    The files get there only once they are proven; until then, and for good if the proof fails,
    they stay in `FOLDER.unproven`. Files of others in the folder are left alone.

    Args:
        network: The network.
        weights: Its trained weights.
        folder: Where to write; only an earlier export there may be replaced.
        facts: What the folder says about the images.
        provenance: Where the network comes from; stands at the root of config.json.
        license: Licence of the weights, by its short name.
        images: Test images as the module gets them, for the proof.
        labels: Their classes.
        pictures: The same images before any transform: the proof then covers what config.json says
            about size, crop, mean and standard deviation.

    Raises:
        NotNativeError: The network belongs to no family that timm builds from JSON; nothing is
            written.
        RunError: The folder was written but not proven, or is not ours to replace.
    """
    native = recognise(network)
    folder = folder.resolve()
    _refuse_strangers(folder)
    model = _loaded(network, weights)
    draft = folder.with_name(folder.name + ".unproven")
    shutil.rmtree(draft, ignore_errors=True)
    write_folder(network, native, model.state_dict(), draft, facts, provenance or {}, license)
    proof = verify(draft, model, images=images, labels=labels, pictures=pictures)
    _write_json(draft / PROOF, proof.as_dict())
    if not proof.proven:
        told = "".join(f"\n  - {failure}" for failure in proof.failures)
        raise RunError(f"the export is not proven and stays in {draft}:{told}")
    _move(draft, folder)
    return proof


def write_folder(
    network: Network,
    native: Native,
    state: Mapping[str, Tensor],
    folder: Path,
    facts: Facts,
    provenance: Mapping[str, Any],
    license: str = "other",
) -> None:
    """Writes the files without proving them; whether the keys fit, timm's strict loading tells."""
    known = {**_origin(network), **provenance}
    config = make_config(network, native, facts, known, license=license)
    folder.mkdir(parents=True)
    save_file(to_timm(native, state), folder / WEIGHTS, metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    card = make_card(config, known, folder.name.removesuffix(".unproven"))
    (folder / "README.md").write_text(card, encoding="utf-8")


def to_timm(native: Native, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns our state dict under timm's names, each tensor on its own in memory."""
    return {
        native.keys[key]: value.detach().cpu().contiguous().clone() for key, value in state.items()
    }


def from_timm(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns timm's state dict under our names, ready for `nets.build(network)`.

    Raises:
        RunError: A key is missing, left over, or of another shape.
    """
    family = family_of(network)
    keys = recognise(network).keys if family.read else rename(family, network)
    shapes = network.graph.keys()
    _match(
        {keys.get(key, key): shape for key, shape in shapes.items()},
        {key: tuple(value.shape) for key, value in state.items()},
        "the weights and timm's model",
    )
    return {ours: state[theirs] for ours, theirs in keys.items()}


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
    faults = [f"{key} is missing" for key in wanted if key not in found]
    faults += [f"{key} has no place" for key in found if key not in wanted]
    faults += [
        f"{key} is {found[key]} and should be {shape}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    if faults:
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        told = "".join(f"\n  - {fault}" for fault in faults[:10])
        raise RunError(f"{what} do not fit:{told}{more}")


def _origin(network: Network) -> dict[str, Any]:
    """What every export tells about itself, whoever asked for it."""
    return {
        "name": network.name,
        "macs": network.graph.macs,
        "params": network.graph.params,
        "activations": network.graph.activations,
        "hash": network.hash,
        "flopwise_version": __version__,
        "timm_version": version("timm"),
        "torch_version": version("torch"),
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _move(draft: Path, folder: Path) -> None:
    """Moves proven files to their place, the proof first out and last in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROOF).unlink(missing_ok=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == PROOF):
        path.replace(folder / path.name)
    draft.rmdir()


def _refuse_strangers(folder: Path) -> None:
    """Only an earlier export, or nothing, may be replaced."""
    if folder.is_file():
        raise RunError(f"{folder} is a file; name a folder")
    if folder.exists() and not (folder / PROOF).exists() and any(folder.iterdir()):
        raise RunError(f"{folder} holds files that are no export of ours; name another folder")
