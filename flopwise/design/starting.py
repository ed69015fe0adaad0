"""Where a training may begin: an exported folder, a folder of a training or search, or a file."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from flopwise import dsl
from flopwise.errors import RunError
from flopwise.export.findings import findings, unreadable
from flopwise.export.folder import PROOF, WEIGHTS, digest_of, shipped_as
from flopwise.export.tensors import linear_head
from flopwise.nets.inherit import Start

__all__ = ["open_start"]

WHERE = "an exported folder, the folder of a training or search, or a file of safetensors"


def open_start(place: str | Path) -> Start:
    """Returns the weights at a place, under the names of specs.

    Args:
        place: An exported folder, the folder of a finished training or search (its winner), or a
            safetensors file whose keys are those of a spec's network.

    Raises:
        RunError: There are none, or the files are damaged.
        SpecError: The spec beside them cannot be read.
    """
    path = Path(place)
    if not path.exists():
        raise RunError(f"there is no {path} to start from; name {WHERE}")
    if path.is_file():
        return _start(path, path)
    if (path / PROOF).is_file():
        return _exported(path)
    record = path / "winner" / "winner.json"
    if not record.is_file():
        raise RunError(
            f"{path} is neither an export nor a finished training or search; name {WHERE}"
        )
    known = json.loads(record.read_text(encoding="utf-8"))
    network = dsl.load(path / "winner" / "resolved.yaml").network()
    return _start(path, path / (known["weights"] or "nothing"), network)


def _start(place: Path, file: Path, network: dsl.Network | None = None) -> Start:
    if not file.is_file():
        raise RunError(f"the weights are gone: there is no file {file}")
    if faults := list(unreadable(file, file.name)):
        raise RunError(f"{place} is nothing to start from: {'; '.join(faults)}")
    return Start(place=str(place), digest=digest_of(file), weights=load_file(file), network=network)


def _exported(folder: Path) -> Start:
    """Reads an exported folder back, from timm's names to those of its spec."""
    if faults := findings(folder):
        told = "".join(f"\n  - {fault}" for fault in faults)
        raise RunError(f"{folder} does not hold what was proven:{told}")
    if not (folder / "spec.yaml").is_file():
        raise RunError(
            f"{folder} has no spec.yaml, so nobody knows which of timm's names is which; "
            f"name {WHERE}"
        )
    network = dsl.load(folder / "spec.yaml").network()
    shipped, found = shipped_as(network), _start(folder, folder / WEIGHTS, network)
    state = linear_head(shipped, found.weights)
    weights = {ours: state[theirs] for ours, theirs in shipped.keys.items()}
    return Start(place=found.place, digest=found.digest, weights=weights, network=network)
