"""Where images come from: digits, a folder, a tar of one, or a set that timm knows by name.

Every source is a table from the name of a split to a function that lists it, so that a split that
nobody asks for is never opened. A source without splits has one, called `ALL`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data import create_dataset

from flopwise.errors import nearest
from flopwise.train.faults import known_word, refusal
from flopwise.train.images import Images
from flopwise.train.tree import list_tree

__all__ = ["ALL", "Source", "open_source"]

ALL = "all"
TORCH = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist", "imagenet")


@dataclass(frozen=True, slots=True)
class Source:
    """What stands at an address.

    Attributes:
        classes: Class names, in the order of the labels.
        splits: Name of a split -> a function that lists its images.
        notes: What a person should know about it.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Callable[[], Images]]
    notes: tuple[str, ...] = ()


def open_source(address: str, cache: Path) -> Source:
    """Opens what `train.data` names; reads no image.

    Args:
        address: `digits`, a folder, a tar of one, `torch/NAME` or `hfds/NAME`.
        cache: Where sets that are fetched by name are kept.
    """
    if address == "digits":
        return _digits()
    kind, _, name = address.partition("/")
    if kind == "torch" and name:
        return _torchvision(name, cache)
    if kind == "hfds" and name:
        return _hugging_face(address)
    path = Path(address).expanduser()
    if not path.exists():
        raise _missing(address, path)
    if path.is_file() and path.suffix != ".tar":
        raise refusal(
            "E602",
            f"train.data: '{address}' is neither a folder nor a plain .tar",
            helps=["unpack it, or pack the folder with `tar cf images.tar folder`"],
        )
    classes, lists, notes = list_tree(path)
    return Source(classes, {name: partial(_same, images) for name, images in lists.items()}, notes)


def _same(images: Images) -> Images:
    return images


def _missing(address: str, path: Path) -> ValueError:
    """Says which part of the path exists, and what stands there that is spelt alike."""
    base = next(parent for parent in path.absolute().parents if parent.exists())
    wanted = path.absolute().relative_to(base).parts[0]
    here = [child.name for child in base.iterdir()] if base.is_dir() else []
    guess = nearest(wanted, [*here, "digits"])
    helps = []
    if guess:
        place = guess if guess == "digits" and guess not in here else str(base / guess)
        helps.append(f"did you mean '{place}'?")
    helps.append("train.data is digits, a folder, a tar of one, torch/NAME or hfds/NAME")
    return refusal(
        "E601",
        f"train.data: there is no file or folder '{address}'",
        helps=helps,
        notes=[f"the nearest folder that exists is '{base}'"],
    )


def _digits() -> Source:
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)
    names = tuple(f"digit {index}" for index in range(len(pixels)))
    images = Images(names, found.target.astype(np.int64), partial(_array_picture, pixels))
    return Source(tuple("0123456789"), {ALL: partial(_same, images)})


def _array_picture(pixels: np.ndarray[Any, np.dtype[np.uint8]], index: int) -> Image.Image:
    return Image.fromarray(pixels[index])


def _torchvision(name: str, cache: Path) -> Source:
    known_word("E603", "train.data: torch set", name, TORCH)
    train = _torchvision_set(name, "train", cache)
    classes = tuple(str(each).split(" - ")[-1] for each in _class_names(train.classes))
    other = "val" if name == "imagenet" else "test"
    return Source(
        classes,
        {"train": partial(_dataset_images, train), other: partial(_torch_test, name, cache)},
    )


def _class_names(found: Any) -> list[str]:
    """Returns one name per class; ImageNet gives tuples of synonyms."""
    return [each[0] if isinstance(each, tuple) else str(each) for each in found]


def _torch_test(name: str, cache: Path) -> Images:
    return _dataset_images(_torchvision_set(name, "validation", cache))


def _torchvision_set(name: str, split: str, cache: Path) -> Any:
    """Opens a set of torchvision through timm, and fetches it where it is not there yet."""
    cache.mkdir(parents=True, exist_ok=True)
    try:
        return create_dataset(f"torch/{name}", root=str(cache), split=split, download=False)
    except RuntimeError:
        pass
    try:
        return create_dataset(f"torch/{name}", root=str(cache), split=split, download=True)
    except Exception as error:  # whatever a download runs into
        raise refusal(
            "E604",
            f"train.data: torch/{name} is not in '{cache}' and could not be fetched: {error}",
            helps=[f"put the files that torchvision expects into '{cache}'"],
        ) from error


def _dataset_images(dataset: Any) -> Images:
    targets = getattr(dataset, "targets", None)
    labels = np.asarray(targets, dtype=np.int64).reshape(len(dataset), -1)[:, 0]
    names = tuple(f"image {index}" for index in range(len(dataset)))
    return Images(names, labels, partial(_dataset_picture, dataset))


def _dataset_picture(dataset: Any, index: int) -> Image.Image:
    picture = dataset[index][0]
    assert isinstance(picture, Image.Image)
    return picture


def _hugging_face(address: str) -> Source:
    train = _hugging_face_set(address, "train")
    names = {index: name for name, index in train.reader.class_to_idx.items()}
    info = train.reader.dataset.info.splits or {}
    splits: dict[str, Callable[[], Images]] = {"train": partial(_reader_images, train)}
    for split in info:
        if split != "train":
            splits[split] = partial(_later, address, split)
    return Source(tuple(names[index] for index in sorted(names)), splits)


def _later(address: str, split: str) -> Images:
    return _reader_images(_hugging_face_set(address, split))


def _hugging_face_set(address: str, split: str) -> Any:
    try:
        return create_dataset(address, split=split)
    except ImportError as error:
        raise refusal(
            "E604",
            f"train.data: '{address}' needs the package `datasets`",
            helps=["pip install datasets"],
        ) from error
    except Exception as error:  # the package has errors of many families
        raise refusal("E604", f"train.data: '{address}' cannot be opened: {error}") from error


def _reader_images(dataset: Any) -> Images:
    reader = dataset.reader
    labels = np.asarray(reader.dataset[reader.label_key], dtype=np.int64)
    names = tuple(f"image {index}" for index in range(len(reader)))
    return Images(names, labels, partial(_reader_bytes, reader))


def _reader_bytes(reader: Any, index: int) -> bytes:
    with reader[index][0] as file:
        found: bytes = file.read()
    return found
