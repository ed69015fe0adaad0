"""Image folders and tars of them, listed by timm's readers and divided by their paths.

A path is `[split/]class/file`. Folders around the whole, as a tar often has one, do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from timm.data.readers.img_extensions import get_img_extensions
from timm.data.readers.reader_image_folder import ReaderImageFolder
from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from timm.utils.misc import natural_key

from flopwise.train.faults import refusal
from flopwise.train.images import Images

__all__ = ["TEST", "TRAIN", "VALIDATION", "list_tree"]

TRAIN = ("train", "training")
VALIDATION = ("validation", "val", "valid", "eval")
TEST = ("test", "testing")
NAMED = frozenset({*TRAIN, *VALIDATION, *TEST})

Parts = tuple[str, ...]


def list_tree(path: Path) -> tuple[tuple[str, ...], Mapping[str, Images], tuple[str, ...]]:
    """Returns class names, the images of every split (`all` without splits), and notes."""
    reader = _reader(path)
    names = [name.replace("\\", "/") for name in reader.filenames()]
    parts = _strip([tuple(name.removeprefix("./").split("/")) for name in names])
    split = _has_splits(parts)
    found = defaultdict(list)
    for index, each in enumerate(parts):
        found[each[0] if split else "all"].append((index, each[1:] if split else each))
    if not split:
        _refuse_splits_without_train(path, {each[0] for each in parts})
    train = next((name for name in found if name.lower() in TRAIN), "all")
    known = [name for name in found if name.lower() in NAMED or name == "all"]
    for name in known:
        _refuse_unlabelled(path, name, [each for _, each in found[name]])
    classes = tuple(sorted({each[0] for _, each in found[train]}, key=natural_key))
    _refuse_empty(path, train, classes)
    for name in known:
        _refuse_strangers(path, name, classes, {each[0] for _, each in found[name]})
    lists = {name: _images(path, reader, names, found[name], classes) for name in found}
    return classes, lists, _ignored(lists, known)


def _has_splits(parts: Sequence[Parts]) -> bool:
    """Whether the first folder names a split; a class may well be called train."""
    return any(each[0].lower() in TRAIN and len(each) > 2 for each in parts)


def _ignored(lists: Mapping[str, Images], known: Sequence[str]) -> tuple[str, ...]:
    """Names folders beside the splits; `train.validation` may ask for one of them."""
    rest = sorted(set(lists) - set(known))
    return (f"not a split, and not used: {', '.join(rest)}",) if rest else ()


def _reader(path: Path) -> Any:
    try:
        if path.is_file():
            return ReaderImageInTar(str(path), cache_tarinfo=False)
        return ReaderImageFolder(str(path))
    except Exception as error:  # timm's readers assert, raise RuntimeError, and tarfile its own
        raise refusal(
            "E605",
            f"train.data: no image was found in '{path}'",
            helps=["put images into one folder per class: train/cat/1.jpg"],
            notes=[f"images are files ending in {', '.join(get_img_extensions())}"],
        ) from error


def _strip(parts: list[Parts]) -> list[Parts]:
    """Drops folders around the whole, which name neither a split nor a class."""
    while (
        len({each[0] for each in parts}) == 1
        and min(map(len, parts)) > 2
        and parts[0][0].lower() not in NAMED
    ):
        parts = [each[1:] for each in parts]
    return parts


def _images(
    path: Path,
    reader: Any,
    names: Sequence[str],
    members: Sequence[tuple[int, Parts]],
    classes: Sequence[str],
) -> Images:
    number = {name: index for index, name in enumerate(classes)}
    kept = [(index, each) for index, each in members if len(each) == 2 and each[0] in number]
    labels = np.array([number[each[0]] for _, each in kept], dtype=np.int64)
    called = tuple(names[index] for index, _ in kept)
    samples = [reader.samples[index] for index, _ in kept]
    return Images(called, labels, partial(_read, path, samples))


def _read(path: Path, samples: Sequence[Any], index: int) -> bytes:
    """Reads a file of a folder, or a member of a tar where timm's reader found it to lie.

    The file is opened afresh: a handle kept open would be shared by loader processes, and so would
    its position.
    """
    member = samples[index][0]
    if path.is_dir():
        return Path(member).read_bytes()
    with path.open("rb") as file:
        file.seek(member.offset_data)
        return file.read(int(member.size))


def _refuse_splits_without_train(path: Path, names: set[str]) -> None:
    splits = sorted(name for name in names if name.lower() in {*VALIDATION, *TEST})
    if splits and not any(name.lower() in TRAIN for name in names):
        raise refusal(
            "E606",
            f"train.data: '{path}' has '{splits[0]}' but no 'train' beside it",
            helps=["put the training images into a folder called train, one folder per class"],
        )


def _refuse_unlabelled(path: Path, split: str, parts: Sequence[Parts]) -> None:
    odd = [each for each in parts if len(each) != 2]
    if not odd:
        return
    where = "" if split == "all" else f"{split}/"
    example = where + "/".join(odd[0])
    flat = [each for each in odd if len(each) == 1]
    reason = "stand outside any class folder" if flat else "stand deeper than their class folder"
    raise refusal(
        "E607",
        f"train.data: {len(odd)} images of '{path}' {reason}, such as {example}",
        helps=[f"a label is the name of a folder: {where}cat/{odd[0][-1]}"],
    )


def _refuse_empty(path: Path, train: str, classes: Sequence[str]) -> None:
    """Refuses class folders without images, which timm would pass over in silence."""
    if path.is_dir():
        root = path if train == "all" else path / train
        folders = {each.name for each in _folders(root)}
        empty = sorted(set(folders) - set(classes))
        if empty and set(classes) <= set(folders):
            raise refusal(
                "E608",
                f"train.data: class folder '{root / empty[0]}' holds no image",
                helps=["remove it, or put images into it"],
                notes=[f"images are files ending in {', '.join(get_img_extensions())}"],
            )
    if len(classes) < 2:
        raise refusal(
            "E609",
            f"train.data: '{path}' holds one class only: '{classes[0]}'",
            helps=["put each class into a folder of its own: train/cat, train/dog"],
        )


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [each for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")]


def _refuse_strangers(path: Path, split: str, classes: Sequence[str], found: set[str]) -> None:
    """Refuses classes of another split that training never sees."""
    strange = sorted(found - set(classes))
    if strange:
        raise refusal(
            "E610",
            f"train.data: class '{strange[0]}' is in '{path / split}' but not in train",
            helps=["the splits need the same class folders"],
            notes=[f"classes of train: {', '.join(list(classes)[:20])}"],
        )
