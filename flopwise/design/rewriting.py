"""Rewriting the files of specs: their layout, their version of the language, a first one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flopwise.design.checking import find_specs
from flopwise.design.facade import Design
from flopwise.design.loading import load
from flopwise.design.writing import write_new, write_text
from flopwise.dsl.files import VERSION
from flopwise.dsl.format import format_text
from flopwise.dsl.load import decode, make_source, parse
from flopwise.dsl.tree import Section
from flopwise.dsl.upgrade import upgrade_text, version_of
from flopwise.errors import Fault, SpecError

__all__ = [
    "STARTERS",
    "Upgrade",
    "files_of",
    "format_file",
    "read_file",
    "starter",
    "upgrade_file",
    "write_starter",
]

FOLDER = Path(__file__).parent.parent / "starters"
STARTERS = {
    "cnn": "a ConvNeXt",
    "vit": "a vision transformer",
    "hybrid": "convolutions first, then a transformer",
    "search": "a space of networks with a budget",
    "table": "a table of variants beside published figures",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """A file in the newest version of the language.

    Attributes:
        file: Which file.
        version: The version it was written in.
        proof: One line per network of the file that is equal before and after.
    """

    file: Path
    version: int
    proof: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the file was written in an older version."""
        return self.version < VERSION


def files_of(paths: Iterable[str]) -> Iterator[Path]:
    """Yields the files that paths name, and the specs below those that are folders."""
    for path in map(Path, paths):
        yield from map(Path, find_specs(path)[0]) if path.is_dir() else [path]


def read_file(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        SpecError: It cannot be read (E105) or is no text.
    """
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else str(error.strerror).lower()
        fact = f"cannot read '{path}': {reason}"
        raise SpecError([Fault(code="E105", message=fact)]) from None


def format_file(path: Path, *, check: bool = False) -> bool:
    """Gives a file its canonical layout; returns whether it had another one.

    Args:
        path: The file.
        check: Only look.

    Raises:
        SpecError: It has faults of syntax; it is left as it is.
    """
    text = read_file(path)
    new = format_text(text, str(path))
    if new != text and not check:
        write_text(path, new)
    return new != text


def upgrade_file(
    path: Path, *, check: bool = False, read: Callable[[str], Design] = load
) -> Upgrade:
    """Rewrites a file in the newest version of the language, if it is the same network there.

    The old file is read as it is, its words translated in memory; the new one natively. Costs, hash
    and checkpoint keys of the network and of all rows must agree before anything is replaced.

    Args:
        path: The file.
        check: Only look.
        read: How specs are read.

    Raises:
        SpecError: It has faults, or the network would be another one (E122).
    """
    text = read_file(path)
    tree = parse(text, make_source(str(path), text))
    version = version_of(tree) if isinstance(tree, Section) else None
    before = read(str(path))  # tells what is wrong with it, a version too new included
    if version is None or version >= VERSION:
        return Upgrade(file=path, version=VERSION)
    new = upgrade_text(text, str(path))
    with _beside(path, new) as trial:
        after = read(str(trial))
    proof = tuple(_equal(path, before, after))
    if not check:
        write_text(path, new)
    return Upgrade(file=path, version=version, proof=proof)


@contextmanager
def _beside(path: Path, text: str) -> Iterator[Path]:
    """Gives a text a file in the same folder for a while, where its relative paths hold."""
    handle, name = tempfile.mkstemp(
        dir=path.resolve().parent, prefix=f".{path.stem}.", suffix=".yaml"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink()


def _equal(path: Path, before: Design, after: Design) -> Iterator[str]:
    """Yields what is equal, network by network."""
    pairs = [(before, after), *((before.row(row), after.row(row)) for row in before.rows)]
    for old, new in pairs:
        costs = old.cost()
        keys = old.network.graph.keys()
        same = (costs, keys, old.hash) == (new.cost(), new.network.graph.keys(), new.hash)
        if not same:
            fact = f"in the newest version '{path}' would be another network ({old.name})"
            help_ = "the file is left as it is; please report it with the file"
            raise SpecError([Fault(code="E122", message=fact, helps=(help_,))])
        yield (
            f"{old.name}: {costs.macs:,} MACs, {costs.params:,} parameters, "
            f"{len(keys)} checkpoint keys and hash {old.hash[:16]} before and after"
        )


def starter(name: str) -> str:
    """Returns a commented spec to begin with; the names are those of `STARTERS`."""
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def write_starter(name: str, path: Path) -> None:
    """Writes a starter to a new file.

    Raises:
        SpecError: The file exists (E123).
    """
    write_new(path, starter(name))
