"""Text to a checked spec: `load` and `loads`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from flopwise.dsl.audit import check_expect, check_rows, outside, unused
from flopwise.dsl.check import build_plan
from flopwise.dsl.checker import Checker
from flopwise.dsl.exporting import read_export
from flopwise.dsl.files import File, read_chain, read_text, split_row
from flopwise.dsl.idle import idle, unclassified
from flopwise.dsl.merge import merge_files
from flopwise.dsl.origin import Origin, Shelf
from flopwise.dsl.resolve import Resolver
from flopwise.dsl.spec import Sets, Spec
from flopwise.dsl.tables import SEARCH
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.dsl.upgrade import old_version
from flopwise.dsl.uses import Permission, read_uses
from flopwise.errors import Fault, SpecError

__all__ = ["load", "loads", "open_spec"]


def load(
    path: str | Path,
    *,
    sets: Sets = (),
    root: Path | None = None,
    allow_code: bool | None = False,
) -> Spec:
    """Reads and checks a spec.

    Args:
        path: A YAML file, or `std/NAME` for a shipped one.
        sets: Pairs of an address and a value, as `--set` takes them.
        root: The folder that `extends` may not leave; the file's own by default.
        allow_code: Whether Python files named by `use` may run although nobody allowed them before;
            from then on they are. None runs no code at all.

    Raises:
        SpecError: Every fault at once.

    >>> load("std/convnext_tiny").network().graph.macs
    4455531264
    """
    file, row = split_row(str(path))
    shelf = Shelf(root, _permission(allow_code))
    files = read_chain(file if row else path, root, shelf.row_file)
    shipped = file.startswith("std/")
    return _read(files, sets, None if shipped else Path(file), shelf, row)


def loads(
    text: str, *, name: str = "<text>", sets: Sets = (), allow_code: bool | None = False
) -> Spec:
    """Reads and checks a spec that is a text; `extends` starts from the working folder."""
    shelf = Shelf(None, _permission(allow_code))
    return _read(read_text(text, name, shelf.row_file), sets, None, shelf)


def _permission(allow_code: bool | None) -> Permission:
    return Permission(all=allow_code is True, never=allow_code is None)


@dataclass(frozen=True, slots=True)
class _Texts:
    """The files of a spec, equal to others of the same names and texts."""

    key: tuple[tuple[str, str, str], ...]
    files: tuple[File, ...] = field(compare=False)


def _read(
    files: tuple[File, ...], sets: Sets, path: Path | None, shelf: Shelf, row: str = ""
) -> Spec:
    if doubts := [fault for file in files for fault in file.doubts]:
        more = _further(doubts, lambda: _opened(files, sets, path, shelf, row))
        raise SpecError([*doubts, *more])
    if not all(map(_alone, files)):
        return _opened(files, sets, path, shelf, row)
    texts = _Texts(tuple((file.name, file.key, file.text) for file in files), files)
    return _remembered(texts, tuple(sets), path, shelf.root, row)


def _alone(file: File) -> bool:
    """Whether a file brings in none but those it extends: no code, and no row of another."""
    table = file.tree.entries.get("table")
    rows = table.entries.get("rows") if isinstance(table, Section) else None
    each = rows.entries.values() if isinstance(rows, Section) else ()
    outside = any(isinstance(row, Section) and "spec" in row.entries for row in each)
    return file.past is None and "use" not in file.tree.entries and not outside


def _further(doubts: Sequence[Fault], opened: Callable[[], Spec]) -> list[Fault]:
    """Returns what else is wrong with a spec, but nothing at the places that are told already."""
    told = {(each.place.line, each.place.column) for each in doubts if each.place}
    try:
        opened()
    except SpecError as error:
        at = ((each, each.place) for each in error.faults)
        return [each for each, place in at if not place or (place.line, place.column) not in told]
    return []


@lru_cache(maxsize=64)
def _remembered(
    texts: _Texts,
    sets: tuple[tuple[str, str], ...],
    path: Path | None,
    root: Path | None,
    row: str,
) -> Spec:
    """Returns the spec of these texts, read once: nothing else enters it, and it never changes."""
    return _opened(texts.files, sets, path, Shelf(root, _permission(False)), row)


def _opened(
    files: tuple[File, ...], sets: Sets, path: Path | None, shelf: Shelf, row: str = ""
) -> Spec:
    bare = Origin(files=files, tree=files[0].tree, path=path, shelf=shelf)
    origin = replace(bare, tree=bare.pointed(lambda: merge_files(files)))
    if row:
        origin = origin.of_row(row, shelf.trees_with(files, origin.tree, row))
    return open_spec(replace(origin, sets=tuple(sets)))


def open_spec(origin: Origin) -> Spec:
    """Returns the checked spec of an origin."""
    return origin.pointed(lambda: _checked(origin))


def _checked(origin: Origin) -> Spec:
    tree, checker = origin.changed(), Checker()
    spec = _planned(origin, tree, checker)
    network = spec.network()
    if "train" in tree.entries:
        spec.recipe_for({})
    spec.feasible(network, network.graph)  # a requirement of the wrong type shows now
    if not origin.sets:
        check_expect(checker, network.graph, tree.entries.get("expect"))
        if "inferred" in tree.entries:
            from flopwise.dsl.inferred import check_inferred

            check_inferred(checker, network, tree.entries["inferred"])
    checker.stop_if_faulty()
    if spec.table and not origin.sets:
        check_rows(checker, spec.table, spec, spec.row)
        checker.stop_if_faulty()
    if not origin.row:
        checker.warnings += unclassified(network, tree)
    old = [told for file in origin.files for told in old_version(file.tree)]
    more = (*checker.warnings, *outside(spec.search, spec.written), *old)
    return replace(spec, warnings=(*spec.warnings, *more)) if more else spec


def _planned(origin: Origin, tree: Section, checker: Checker) -> Spec:
    """Returns the spec of a tree whose keys and words are right; its numbers are not looked at."""
    shelf = origin.shelf
    uses = tree.entries.get("use")
    codes = read_uses(checker, uses, origin.texts, shelf.root, shelf.permission)
    node = tree.entries.get("search")
    try:
        plan = build_plan(tree, checker)
    except SpecError:
        if isinstance(node, Section):  # what is in it needs the plan
            checker.keys(node, SEARCH, "'search'", tree.keys["search"])
        raise SpecError(checker.faults) from None
    search = None
    if isinstance(node, Section):
        from flopwise.dsl.searching import read_search

        with suppress(SpecError):  # the checker has its faults; those of the table come with them
            search = read_search(node, tree.keys["search"], plan, checker)
    trees = origin.shelf.trees(origin.files, tree, checker)
    export = read_export(tree, checker)
    checker.stop_if_faulty()
    origin = replace(origin, trees=origin.trees if origin.row else trees)
    name, doc = (_text(tree.entries.get(key)) for key in ("name", "doc"))
    return Spec(
        name=name,
        doc=doc,
        path=origin.path,
        sources={**origin.sources, **{code.key: code.text for code in codes}},
        codes=codes,
        warnings=() if origin.row else (*unused(plan, search, tree), *idle(plan, search, tree)),
        search=search,
        export=export,
        table=trees.table if trees else None,
        classes_written="classes" in tree.entries,
        origin=origin,
        plan=plan,
        _open=open_spec,
        _resolver=Resolver(plan, name),
        _targets=search.places if search else {},
    )


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, Scalar) else ""
