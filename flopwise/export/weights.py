"""Weights from a file, under whatever names they have, as the weights of a network."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from flopwise.dsl import Network
from flopwise.errors import RunError
from flopwise.export.config import Shipped
from flopwise.export.families import family_of
from flopwise.export.family import rename
from flopwise.export.findings import PICKLES, unreadable
from flopwise.export.folder import shipped_as
from flopwise.export.reading import NotNativeError
from flopwise.export.tensors import faults_between, filled, linear_head

__all__ = ["named", "read_weights"]

INNER = ("state_dict_ema", "model_ema", "average", "state_dict", "model")
"""Where a checkpoint holds its weights; averaged ones first, as timm takes them."""
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")
"""What torch.compile and data parallel training put before a key, in either order."""
REFUSED = (
    "is a pickle of more than tensors, which could run code when it is read; it was refused and "
    "nothing in it ran. Save the weights alone, with safetensors.torch.save_file or "
    "torch.save(model.state_dict(), FILE)"
)

OTHER = "give the weights of this very network, or the spec that these weights were trained with"
MEND = (
    "Fetch or copy the file again; where the training itself wrote this, take an earlier checkpoint"
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file or of a checkpoint of torch.

    Of a checkpoint that holds more, such as timm's or that of a training, the weights are taken,
    averaged ones first.

    Args:
        path: The file; its content tells what it is, whatever its name.

    Raises:
        RunError: It is damaged, holds no tensors or no numbers, or is a pickle of other objects,
            which is refused without running any of it.
    """
    if not path.is_file():
        raise RunError(f"there is no file of weights {path}")
    with path.open("rb") as file:
        pickled = file.read(8).startswith(PICKLES)
    if pickled:
        return _checked(path, _unwrapped(path, _unpickled(path)))
    if faults := list(unreadable(path, str(path))):
        raise RunError(f"{'; '.join(faults)}. {MEND}")
    return _bare(load_file(path))


def named(network: Network, state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Returns weights under the names of a network's checkpoint.

    Args:
        network: The network.
        state: The weights, under the network's names or under those of its family in timm; all of
            them may stand behind one more name, as in `model.conv1.weight`.
        what: What messages call the weights.

    Raises:
        RunError: A key is missing, left over or of another shape; the nearest right one is named.
    """
    shipped = shipped_as(network)
    state = linear_head(shipped, state)
    dead = {key: state[key] for key in shipped.filled if key in state}
    best: tuple[int, Mapping[str, str], Mapping[str, Tensor]] = (-1, {}, {})
    for variant in _variants({key: value for key, value in state.items() if key not in dead}):
        for names in _namings(network, shipped):
            common = len(variant.keys() & set(names.values()))
            best = max(best, (common, names, variant), key=lambda each: each[0])
    _, names, variant = best
    found = {**_uncounted(names), **variant}
    shapes = network.graph.keys()
    wanted = {theirs: shapes[ours] for ours, theirs in names.items()}
    had = {key: tuple(value.shape) for key, value in found.items()}
    if faults := faults_between(wanted, had):
        told = "".join(f"\n  - {fault}" for fault in (*faults, *_classes(network, wanted, had)))
        raise RunError(f"{what} does not fit '{network.name}':{told}\n{OTHER}")
    _refuse_trained(shipped, dead, what)
    return {ours: found[theirs] for ours, theirs in names.items()}


def _unpickled(path: Path) -> Any:
    try:
        with (
            path.open("rb") as file,  # by its path torch goes by the name of the file
            torch.serialization.safe_globals([argparse.Namespace]),  # as timm's trainings write
            warnings.catch_warnings(action="ignore"),  # such as of another protocol of pickles
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes of torch
        if "WeightsUnpickler" in str(error) or "weights_only" in str(error):
            raise RunError(f"{path} {REFUSED}") from None
        told = str(error).splitlines()[0]
        raise RunError(f"{path} is cut off or damaged: {told}. {MEND}") from error


def _unwrapped(path: Path, found: Any) -> dict[str, Tensor]:
    """Returns the weights of a checkpoint."""
    for key in INNER:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    tensors = isinstance(found, Mapping) and all(isinstance(v, Tensor) for v in found.values())
    if not (found and tensors):
        keys = ", ".join(map(str, list(found)[:5])) if isinstance(found, Mapping) else ""
        holds = f"{type(found).__name__}{' of ' + keys if keys else ''}"
        raise RunError(
            f"{path} holds no weights but a {holds}; write a state dict, or one under "
            f"{' or '.join(INNER[::-1])}"
        )
    return _bare(found)


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights without what wrapped the module while it was trained."""
    found = {}
    for key, value in state.items():
        for wrapper in WRAPPERS:
            key = key.removeprefix(wrapper)
        found[key] = value
    return found


def _checked(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    for key, value in state.items():
        if odd := int((~value.isfinite()).sum()):
            raise RunError(
                f"{path}: {odd:,} of {value.numel():,} values of {key} are no numbers. {MEND}"
            )
    return state


def _variants(state: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """Yields the weights as they are, and without a name that stands before all of them."""
    yield state
    first = {key.partition(".")[0] for key in state}
    if len(first) == 1:
        yield {key.partition(".")[2]: value for key, value in state.items()}


def _namings(network: Network, shipped: Shipped) -> Iterator[Mapping[str, str]]:
    """Yields the names that each key of a network may have: its own, and timm's."""
    yield {key: key for key in iter(network.graph.keys())}
    yield shipped.keys
    try:
        yield rename(family_of(network), network)
    except NotNativeError:
        return


def _uncounted(names: Mapping[str, str]) -> dict[str, Tensor]:
    """The steps that batch norms counted: 0 where weights have none, as torch takes it."""
    counters = [key for key in names.values() if key.endswith(".num_batches_tracked")]
    return {key: torch.tensor(0) for key in counters}


def _classes(
    network: Network, wanted: Mapping[str, tuple[int, ...]], had: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    """Says how to keep a classifier of another number of classes."""
    for key, shape in wanted.items():
        found = had.get(key, shape)
        if shape[:1] == (network.classes,) and found[1:] == shape[1:] and found != shape:
            yield f"the weights have {found[0]} classes: --set classes={found[0]}"
            return


def _refuse_trained(shipped: Shipped, dead: Mapping[str, Tensor], what: str) -> None:
    """Refuses weights of a carrying class whose spare layers were trained, for they count then."""
    changed = [
        key
        for key, value in dead.items()
        if value.is_floating_point() and not torch.allclose(value.float(), filled(shipped, key))
    ]
    if changed:
        raise RunError(
            f"{what}: {', '.join(changed)} of timm's {shipped.architecture} changed in training, "
            "and the network has no such layers; freeze them when fine-tuning, as the model card "
            "says"
        )
