"""Finding the files of a spec: the one that was named, and those it extends.

`./base.yaml` is relative to the file that says it and must stay inside the project; `std/NAME` is a
shipped spec. Nothing else is looked at, and nothing is ever fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from flopwise.dsl.load import decode, make_source, parse
from flopwise.dsl.missing import Link, no_preset, unreadable
from flopwise.dsl.shipped import ZOO, papers, presets, shipped_row
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.dsl.upgrade import upgrade_tree
from flopwise.errors import Fault, Place, Source, SpecError

__all__ = [
    "VERSION",
    "Code",
    "File",
    "Past",
    "RowReader",
    "presets",
    "read_chain",
    "read_code",
    "read_named",
    "read_text",
    "split_row",
]

VERSION = 1
MAX_CHAIN = 16
PRESET = re.compile(r"std/([A-Za-z0-9_.+-]+)")
ROW = re.compile(r"(std/[^#]+|.+\.ya?ml)#([^#/]+)", re.DOTALL)


class Past(Protocol):
    """What a row was made of."""

    @property
    def files(self) -> tuple[File, ...]:
        """The files that were read for it."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """One file of a spec.

    Attributes:
        name: How messages call it.
        key: How a study stores it: its path below the root, or `std/NAME`.
        path: Where it lies; None for a text that is in no file.
        text: What it says.
        tree: The same, marked. Where a row of its table is extended, the whole spec of that row.
        past: What that row was made of.
        doubts: Faults of the text that leave no question what was meant.
    """

    name: str
    key: str
    path: Path | None
    text: str
    tree: Section
    past: Past | None = None
    doubts: tuple[Fault, ...] = ()

    @property
    def parent(self) -> Scalar | None:
        """The value of its `extends` key."""
        node = self.tree.entries.get("extends")
        return node if isinstance(node, Scalar) else None


@dataclass(frozen=True, slots=True)
class Code:
    """A Python file that a spec uses: how messages call it, how a study stores it, its text."""

    name: str
    key: str
    path: Path
    text: str


RowReader = Callable[[tuple[File, ...], str, Scalar], File]
"""Makes a row of a file's table, named by a value, a file to be extended."""


def read_chain(path: str | Path, root: Path | None, rows: RowReader) -> tuple[File, ...]:
    """Returns a file and everything it extends, itself first.

    Args:
        path: A file, or `std/NAME`.
        root: The folder that `extends` may not leave; the file's own by default.
        rows: What reads a row that is extended.

    Raises:
        SpecError: A file cannot be read, or the chain is too long or runs in a circle.
    """
    name = str(path)
    found = _preset(name)
    if found is None and PRESET.fullmatch(name):
        raise SpecError([no_preset(name, None)])
    border = (root or Path(path).parent).resolve()
    file = _read(found or Path(path), name, name, None)
    file = file if found else replace(file, key=_key(Path(path), border, Path(path).name))
    return _follow([file], border, rows)


def read_text(text: str, name: str, rows: RowReader) -> tuple[File, ...]:
    """Returns a text as a file, and everything it extends relative to the working folder."""
    tree, doubts = _tree(text, name)
    file = File(name, name, None, text, tree, doubts=doubts)
    return _follow([file], Path.cwd().resolve(), rows)


def read_named(
    files: Sequence[File], node: Scalar, root: Path | None, key: str, rows: RowReader
) -> tuple[File, ...]:
    """Returns the file that a value names, and everything it extends.

    Args:
        files: The files of the spec; one of them says it.
        node: The value, such as `./other.yaml`, `std/NAME` or `./other.yaml#row`.
        root: The folder that may not be left.
        key: The key the value stands at, for messages.
        rows: What reads a row that is extended.

    Raises:
        SpecError: The file cannot be read, or may not be named.
    """
    child = next((f for f in files if f.name == node.place.source.name), files[0])
    value, _ = split_row(str(node.value))
    border = _border(files, root)
    path, name = _wanted(child, value, border, node, key), _display(child, value)
    file = _read(path, name, _key(path, border, name), Link(node, key))
    return _follow([file], border, rows)


def read_code(files: Sequence[File], node: Scalar, root: Path | None) -> Code:
    """Returns the Python file that a value of `use` names, without running it.

    Args:
        files: The files of the spec; one of them says it.
        node: The value, such as `./my_blocks.py`.
        root: The folder that may not be left.

    Raises:
        SpecError: It cannot be read, may not be named, or is no Python file.
    """
    child = next((f for f in files if f.name == node.place.source.name), files[0])
    value, border = str(node.value), _border(files, root)
    if not value.endswith(".py"):
        fact = f"'{value}' is no Python file"
        help_ = "write  use: [./my_blocks.py]"
        raise SpecError([Fault(code="E105", message=fact, place=node.place, helps=(help_,))])
    path, name = _wanted(child, value, border, node, "use"), _display(child, value)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SpecError([unreadable(path, name, error, Link(node, "use"))]) from None
    return Code(name, _key(path, border, name), path, decode(data, name))


def split_row(name: str) -> tuple[str, str]:
    """Splits `file.yaml#row` in two; the row is empty where none is named.

    `std/ROW` is found in the shipped file that has this row.

    >>> split_row("nets/road.yaml#kernel_7"), split_row("std/resnet50")
    (('nets/road.yaml', 'kernel_7'), ('std/resnet50', ''))
    """
    match = ROW.fullmatch(name)
    if match and not os.path.exists(name):  # noqa: PTH110  unlike Path, it takes any text
        return match[1], match[2]
    shipped = PRESET.fullmatch(name)
    if shipped and shipped[1] not in presets() and (file := shipped_row(shipped[1])):
        return f"std/{file}", shipped[1]
    return name, ""


def _border(files: Sequence[File], root: Path | None) -> Path:
    """Returns the folder that no named file may leave: the first file's own, if none is given."""
    path = files[0].path
    return (root or (path.parent if path else Path.cwd())).resolve()


def _key(path: Path, root: Path, name: str) -> str:
    """Returns how a study stores a file: its path below the root."""
    real = _real(path)
    shipped = real.is_relative_to(ZOO.resolve())
    return real.relative_to(root).as_posix() if real.is_relative_to(root) and not shipped else name


def _real(path: Path) -> Path:
    """Returns a path with its links followed, as far as they lead anywhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, or a NUL
        return Path(os.path.abspath(path))  # noqa: PTH100  Path.absolute() keeps ".."


def _preset(name: str) -> Path | None:
    match = PRESET.fullmatch(name)
    return presets().get(match[1], papers().get(match[1])) if match else None


@lru_cache(maxsize=256)
def _tree(text: str, name: str) -> tuple[Section, tuple[Fault, ...]]:
    source = make_source(name, text)
    doubts: list[Fault] = []
    tree = parse(text, source, doubts=doubts)
    if not isinstance(tree, Section):
        kind = "a list" if not isinstance(tree, Scalar) else "one value"
        raise SpecError(
            [
                Fault(
                    code="E017",
                    message=f"a spec is a map of keys, but this file is {kind}",
                    place=tree.place,
                    helps=("begin with  spec: 1  and  name: my_net, each on its own line",),
                )
            ]
        )
    tree = upgrade_tree(tree)
    return tree, (*_check_version(tree, source), *doubts)


def _check_version(tree: Section, source: Source) -> Iterator[Fault]:
    """Yields what is wrong with the version, where this one was probably meant.

    Raises:
        SpecError: The file is of a newer version, so nothing more can be told of it (E018).
    """
    place = Place(source, 1, 1, len(source.lines[0]) or 1)
    version = tree.entries.get("spec")
    help_ = f"write  spec: {VERSION}  as the first line"
    if version is None:
        fact = "the key 'spec' is missing: it names the version of the language"
        yield Fault(code="E106", message=fact, place=place, helps=(help_,))
        return
    value = version.value if isinstance(version, Scalar) else None
    if value != VERSION or isinstance(value, bool):
        newer = isinstance(value, int) and not isinstance(value, bool) and value > VERSION
        fact = f"this flopwise reads version {VERSION} of the language, not "
        said = f"the text '{value[:40]}'" if isinstance(value, str) else f"version {value}"
        fact += "what stands here" if value is None or isinstance(value, bool) else said
        helps = ("update flopwise",) if newer else (help_,)
        fault = Fault(code="E018", message=fact, place=version.place, helps=helps)
        if newer:
            raise SpecError([fault])
        yield fault


def _follow(files: list[File], root: Path, rows: RowReader) -> tuple[File, ...]:
    while True:
        node = files[-1].tree.entries.get("extends")
        if node is None:
            return tuple(files)
        files.append(_parent(files, node, root, rows))


def _parent(files: Sequence[File], node: Node, root: Path, rows: RowReader) -> File:
    child = files[-1]
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        fact = "'extends' names one file, or std/NAME"
        help_ = "write  extends: ./base.yaml"
        raise SpecError([Fault(code="E201", message=fact, place=node.place, helps=(help_,))])
    if len(files) >= MAX_CHAIN:
        fact = f"more than {MAX_CHAIN} files extend each other"
        raise SpecError([Fault(code="E110", message=fact, place=node.place)])
    value, row = split_row(node.value)
    name, wanted = _display(child, value), _wanted(child, value, root, node, "extends")
    for at, file in enumerate(files):
        if file.path and _real(file.path) == _real(wanted):
            circle = " -> ".join([each.name for each in files[at:]] + [file.name])
            fact = f"files extend each other in a circle: {circle}"
            help_ = "delete one of these 'extends'"
            raise SpecError([Fault(code="E110", message=fact, place=node.place, helps=(help_,))])
    file = _read(wanted, name, _key(wanted, root, name), Link(node, "extends"))
    if not row:
        return file
    return rows(_follow([*files, file], root, rows)[len(files) :], row, node)


def _wanted(child: File, value: str, root: Path, node: Scalar, key: str) -> Path:
    """Returns the path that a value names, if it is allowed to."""
    if value.startswith("std/"):
        found = _preset(value)
        if found is None:
            raise SpecError([no_preset(value, node.place)])
        return found
    folder = child.path.parent if child.path else Path.cwd()
    wanted = folder / value
    shipped = child.path is not None and child.path.is_relative_to(ZOO)
    border = ZOO if shipped else root
    if Path(value).is_absolute() or not _real(wanted).is_relative_to(border.resolve()):
        raise SpecError(
            [
                Fault(
                    code="E110",
                    message=f"'{value}' leaves the folder of the project",
                    place=node.place,
                    notes=(
                        f"'{key}' may name std/NAME and files below '{os.path.relpath(border)}'",
                    ),
                    helps=("move the file there, or name another root",),
                )
            ]
        )
    return wanted


def _display(child: File, value: str) -> str:
    if value.startswith("std/") or child.path is None:
        return value
    if child.name.startswith("std/"):
        return f"std/{Path(value).stem}"
    return os.path.normpath(Path(child.name).parent / value)


def _read(path: Path, name: str, key: str, link: Link | None) -> File:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is a path with a NUL in it
        raise SpecError([unreadable(path, name, error, link)]) from None
    text = decode(data, name)
    try:
        tree, doubts = _tree(text, name)
        return File(name, key, path, text, tree, doubts=doubts)
    except SpecError as error:
        if link is None:
            raise
        via = (link.said.place, "extended here" if link.key == "extends" else "named here")
        raise SpecError(replace(f, also=(*f.also, via)) for f in error.faults) from None
