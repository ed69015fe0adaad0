"""What is wrong with the files of an exported folder, found without running any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg

from flopwise import dsl
from flopwise.errors import FlopwiseError, RunError, nearest
from flopwise.export.folder import CARD, CONFIG, PROOF, SAMPLE, WEIGHTS, digest_of, shipped_as
from flopwise.export.standalone import CODE, Standalone, write_module
from flopwise.export.tensors import faults_between

__all__ = ["findings", "is_generated", "read_json", "unreadable"]

PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What files of torch.save begin with."""
LOADER = frozenset(
    {"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture"}
)
"""Keys that timm's loader sets itself; in a file they could name weights elsewhere."""
TENSORS = ".safetensors"
ROOT = {"architecture": str, "num_classes": int, "model_args": dict, "pretrained_cfg": dict}
"""What config.json must have."""


def findings(folder: Path) -> list[str]:
    """Returns everything that is wrong with the files of a folder; no code of it runs.

    Raises:
        RunError: It is no exported folder.
    """
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}; name one that `flopwise export` wrote")
    if not (folder / PROOF).is_file():
        raise RunError(
            f"{folder} is no export: it has no {PROOF}; name a folder that `flopwise export` wrote"
        )
    proof = read_json(folder / PROOF)
    listed = proof.get("files")
    if not isinstance(listed, dict):
        raise RunError(
            f"{folder / PROOF} lists no files, so nothing can be held against it; export "
            "the network again"
        )
    needed = {CONFIG, WEIGHTS, SAMPLE, *({CODE} if (folder / CODE).exists() else ())}
    names = sorted(needed | listed.keys())
    found = [f"{name} is missing" for name in names if not (folder / name).is_file()]
    there = [name for name in names if (folder / name).is_file()]
    for name in there:
        if name.endswith(TENSORS):
            found += unreadable(folder / name, name)
    found += _odd_config(folder) if CONFIG in there else []
    found += _of_another(folder) if not found else []
    if not proof.get("proven"):
        found.append("it was never proven; export it again")
    for name in there:
        if name != CARD and digest_of(folder / name) != listed.get(name):
            found.append(f"{name} is not the file that was proven (its SHA-256 differs)")
    return found


def is_generated(folder: Path) -> bool:
    """Whether `model.py` is what flopwise writes for the folder's spec, to the last letter.

    The spec is read without running any code it may name.
    """
    network = _network(folder)
    if network is None:
        return False
    cfg = read_json(folder / CONFIG).get("pretrained_cfg")
    form = shipped_as(network)
    if not isinstance(form, Standalone) or not isinstance(cfg, dict):
        return False
    return (folder / CODE).read_bytes() == write_module(network, form, cfg).encode()


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object that a file holds.

    Raises:
        RunError: It is no JSON, or no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} holds {type(found).__name__}, not a JSON object")
    return found


def unreadable(path: Path, name: str) -> Iterator[str]:
    """Says why a file is no safetensors with numbers in it; a pickle is not opened."""
    with path.open("rb") as file:
        start = file.read(8)
    size = path.stat().st_size
    header = int.from_bytes(start, "little") if len(start) == 8 else -1
    if start.startswith(PICKLES):
        yield f"{name} is a pickle, as torch.save writes, no safetensors; it was not opened"
    elif not 0 < header < min(size, 10**8):
        yield f"{name} has no safetensors header: it is cut off ({size:,} bytes) or damaged"
    else:
        try:
            yield from _no_numbers(path, name)
        except (SafetensorError, ValueError) as error:
            yield f"{name} is cut off ({size:,} bytes) or damaged: {error}"


def _no_numbers(path: Path, name: str) -> Iterator[str]:
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  (an open file is no dict)
            value = file.get_tensor(key)
            if odd := int((~value.isfinite()).sum()):
                yield f"{name}: {odd:,} of {value.numel():,} values of {key} are no finite numbers"


def _odd_config(folder: Path) -> list[str]:
    """Says what timm would not understand in config.json, or take for something else."""
    try:
        config = read_json(folder / CONFIG)
    except RunError as error:
        return [str(error).replace(f"{folder}/", "")]
    found = [
        f"{CONFIG}: '{key}' is {'missing' if key not in config else f'no {kind.__name__}'}"
        for key, kind in ROOT.items()
        if not isinstance(config.get(key), kind)
    ]
    if found:
        return found
    cfg, args = config["pretrained_cfg"], config["model_args"]
    known = {field.name for field in fields(PretrainedCfg)} - LOADER
    for key in cfg:
        if key not in known:
            near = nearest(key, known)
            meant = f" (did you mean '{near}'?)" if near else ""
            found.append(f"{CONFIG}: timm reads no '{key}' in pretrained_cfg{meant}")
    places = {"pretrained_cfg": cfg, "model_args": args}
    for place, values in places.items():
        found += [f"{CONFIG}: {place}.{key} is null" for key, v in values.items() if v is None]
        count = values.get("num_classes", config["num_classes"])
        if count != config["num_classes"]:
            told = f"{place}.num_classes is {count} and num_classes is {config['num_classes']}"
            found.append(f"{CONFIG}: {told}")
    if "num_classes" not in cfg:
        found.append(f"{CONFIG}: pretrained_cfg.num_classes is missing; timm would take 1000")
    if cfg.get("custom_load"):
        found.append(f"{CONFIG}: pretrained_cfg.custom_load asks for a loader of timm's own")
    return found


def _of_another(folder: Path) -> list[str]:
    """Says where the weights do not fit the folder's own spec, if that can be read."""
    network = _network(folder)
    if network is None:
        return []
    shipped = shipped_as(network)
    named = {shipped.keys[key]: shape for key, shape in network.graph.keys().items()}
    wanted = {key: shipped.shape_of(key, shape) for key, shape in named.items()}
    wanted |= {key: each.shape for key, each in shipped.filled.items()}
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    return [f"{WEIGHTS}: {fault}" for fault in faults_between(wanted, shapes)]


def _network(folder: Path) -> dsl.Network | None:
    """Returns the network of the folder's spec; None where it has none, or one that needs code."""
    path = folder / "spec.yaml"
    try:
        return dsl.load(path, root=folder, allow_code=None).network() if path.is_file() else None
    except FlopwiseError:
        return None
