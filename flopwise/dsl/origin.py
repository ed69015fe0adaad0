"""Where a spec comes from: files, what they say together, a row of a table, and `--set`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flopwise.dsl.checker import Checker
from flopwise.dsl.files import MAX_CHAIN, File, read_named, split_row
from flopwise.dsl.merge import apply_changes, merge_files, read_sets
from flopwise.dsl.presets import with_preset
from flopwise.dsl.tree import Scalar, Section
from flopwise.errors import Fault, Place, SpecError

if TYPE_CHECKING:  # most specs have neither a table nor code of their own
    from flopwise.dsl.rows import Opened, Row, Trees
    from flopwise.dsl.uses import Permission

__all__ = ["Origin", "RowPast", "Shelf"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a spec comes from.

    Attributes:
        files: The files it was read from, itself first.
        tree: What they say together, in the case of a row with its changes.
        path: The file that was named; None for a text and for a shipped spec.
        shelf: What reads further files.
        sets: What `--set` lays on top.
        row: The row it is, if it is one.
        trees: The rows of the table it belongs to.
        holder: The files of that table, where the row starts from another file.
    """

    files: tuple[File, ...]
    tree: Section
    path: Path | None
    shelf: Shelf
    sets: tuple[tuple[str, str], ...] = ()
    row: Row | None = None
    trees: Trees | None = None
    holder: tuple[File, ...] = ()

    @property
    def sources(self) -> Mapping[str, str]:
        """The texts by the names a study stores them under."""
        return {file.key: file.text for file in self.texts}

    @property
    def texts(self) -> tuple[File, ...]:
        """Every file that was read."""
        return tuple(_all((*self.holder, *self.files)))

    def changed(self) -> Section:
        """Returns the tree with everything that was set, and with what its preset says."""
        return with_preset(apply_changes(self.tree, read_sets(self.sets)))

    def of_row(self, name: str, trees: Trees) -> Origin:
        """Returns the origin of a row."""
        files, tree = trees.row(name)
        return Origin(
            files=files,
            tree=tree,
            path=self.path,
            shelf=self.shelf,
            row=trees.table.rows[name],
            trees=trees,
            holder=() if files == trees.files else trees.files,
        )

    def pointed(self, make: Callable[[], T]) -> T:
        """Adds to every fault the places through which the spec came to say it."""
        try:
            return make()
        except SpecError as error:
            told = SpecError(_through(error.faults, self.files))
            if self.row is None:
                raise told from None
            from flopwise.dsl.rows import in_row

            raise in_row(told, self.row) from None


def _through(faults: Sequence[Fault], files: Sequence[File]) -> list[Fault]:
    """Adds to a fault in a parent the line of the spec that brings the parent in."""
    said = files[0].parent
    names = {file.name for file in _all(files[1:])} - {files[0].name}
    if said is None:
        return list(faults)
    via = (said.place, "inherited through this line")
    return [
        replace(f, also=(*f.also, via))
        if f.place and f.place.source.name in names and via not in f.also
        else f
        for f in faults
    ]


class Shelf:
    """Reads the files that rows start from, each once."""

    def __init__(self, root: Path | None, permission: Permission) -> None:
        """Takes the folder that no named file may leave, and whether code may run."""
        self.root, self.permission = root, permission
        self.held: dict[tuple[str, str], Opened] = {}
        self.rows: dict[tuple[str, str], Trees] = {}
        self.trail: list[Scalar] = []

    def trees(self, files: tuple[File, ...], tree: Section, checker: Checker) -> Trees | None:
        """Returns the rows of a merged spec; None where it has no table, or one with faults."""
        if not {"table", "evaluate"} & tree.entries.keys():
            return None
        from flopwise.dsl.rows import Trees
        from flopwise.dsl.tabling import read_table

        table = read_table(tree, checker)
        return Trees(table, tree, files, lambda said: self.open(said, files)) if table else None

    def trees_with(
        self, files: tuple[File, ...], tree: Section, name: str, place: Place | None = None
    ) -> Trees:
        """Returns the rows of a merged spec, one of which has this name.

        Raises:
            SpecError: The table has faults, or no such row.
        """
        checker = Checker()
        found = self.trees(files, tree, checker)
        checker.stop_if_faulty()
        known = found.table.rows if found else {}
        if found is None or name not in known:
            from flopwise.dsl.rows import no_row

            raise SpecError([no_row(name, known, place, f"'{files[0].name}'")])
        return found

    def open(self, said: Scalar, files: tuple[File, ...]) -> Opened:
        """Returns what the `spec` of a row names: its files and its tree.

        Raises:
            SpecError: It cannot be read, or rows start from each other in a circle.
        """
        value, name = split_row(str(said.value))
        key = (said.place.source.name, value)
        with self.once(said):
            if key not in self.held:
                other = read_named(files, said, self.root, "spec", self.row_file)
                self.held[key] = other, merge_files(other)
            other, tree = self.held[key]
            if not name:
                return other, tree
            if key not in self.rows or name not in self.rows[key].table.rows:
                self.rows[key] = self.trees_with(other, tree, name, said.place)
            row = _as_file(self.rows[key], name)
            return (row,), row.tree

    def row_file(self, files: tuple[File, ...], name: str, said: Scalar) -> File:
        """Returns a row as a file that can be extended.

        Args:
            files: The file that holds the table, and what it extends.
            name: The row.
            said: The value of the `extends` that names it.
        """
        with self.once(said):
            return _as_file(self.trees_with(files, merge_files(files), name, said.place), name)

    @contextmanager
    def once(self, said: Scalar) -> Iterator[None]:
        """Follows what a value names, but not again from within itself."""
        if said in self.trail or len(self.trail) >= MAX_CHAIN:
            raise SpecError([_circle([*self.trail, said])])
        self.trail.append(said)
        try:
            yield
        finally:
            self.trail.pop()


@dataclass(frozen=True, slots=True)
class RowPast:
    """What a row was made of, where another spec starts from it."""

    files: tuple[File, ...]
    trees: Trees
    name: str


def _as_file(trees: Trees, name: str) -> File:
    """Returns a row as a file that says all of it."""
    files, tree = trees.row(name)
    return replace(trees.files[0], tree=tree, past=RowPast(files, trees, name))


def _all(files: Sequence[File]) -> Iterator[File]:
    """Yields files, and those that the rows among them were made of."""
    for file in files:
        yield file
        yield from _all(file.past.files) if file.past else ()


def _circle(trail: Sequence[Scalar]) -> Fault:
    said = trail[-1]
    fact = f"more than {MAX_CHAIN} rows of different files start from each other"
    if said in trail[:-1]:
        circle = " -> ".join(str(each.value) for each in trail[trail.index(said) :])
        fact = f"rows start from each other in a circle: {circle}"
    help_ = "let one of them start from something else"
    return Fault(code="E110", message=fact, place=said.place, helps=(help_,))
