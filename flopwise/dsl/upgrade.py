"""Older versions of the language: what each called otherwise, as edits of the text.

A step turns one version into the next. It names edits by the marks of the tree, and these are made
in two ways that share nothing but the list: on the text, when `flopwise upgrade` rewrites a file,
and on the tree, when an old file is read as it is. That both give the same network is the proof
that a rewritten file means what it meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flopwise.dsl.figures import written
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.refusals import is_key
from flopwise.dsl.scalars import read_plain
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.errors import Fault, Place

__all__ = ["STEPS", "Edit", "old_version", "upgrade_text", "upgrade_tree", "version_of"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Another word at a place; a place without width is where something is put in."""

    place: Place
    new: str


def version_of(tree: Section) -> int | None:
    """Returns the version a spec is written in; None where it does not say and nothing tells.

    Drafts had no `spec` key; they are known by their words.
    """
    node = tree.entries.get("spec")
    if node is None:
        return 0 if any(edit.place.width for edit in _from_drafts(tree)) else None
    value = node.value if isinstance(node, Scalar) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def upgrade_text(text: str, name: str) -> str:
    """Returns a spec in the newest version; comments and spelling stay.

    Raises:
        SpecError: The text has faults of syntax.
    """
    while isinstance(tree := parse(text, make_source(name, text)), Section):
        step = STEPS.get(_known(tree))
        if step is None:
            break
        text = _edited(text, step(tree))
    return text


def upgrade_tree(tree: Section) -> Section:
    """Returns the tree of a spec as the newest version would have it."""
    while step := STEPS.get(_known(tree)):
        edits = {(edit.place.line, edit.place.column): edit for edit in step(tree)}
        tree = _applied(tree, edits)
    return tree


def old_version(tree: Section) -> list[Fault]:
    """Warns of a file that was read as the newest version would have it."""
    node = tree.entries.get("spec")
    if not isinstance(node, Scalar) or written(node) == str(node.value):
        return []
    name = node.place.source.name
    return [
        Fault(
            code="W120",
            message=f"this spec is written in an older version of the language than {node.value}",
            place=node.place,
            helps=(f"flopwise upgrade {name}  rewrites it and proves that it means the same",),
        )
    ]


def _known(tree: Section) -> int:
    version = version_of(tree)
    return -1 if version is None else version


def _edited(text: str, edits: Sequence[Edit]) -> str:
    """Makes edits from the last to the first, so that places stay true."""
    lines = text.splitlines(keepends=True)
    windows = "\r\n" in text
    for edit in sorted(edits, key=lambda e: (e.place.line, e.place.column), reverse=True):
        place = edit.place
        line, start = lines[place.line - 1], place.column - 1
        new = edit.new.replace("\n", "\r\n") if windows else edit.new
        lines[place.line - 1] = line[:start] + new + line[start + place.width :]
    return "".join(lines)


def _applied(tree: Section, edits: Mapping[tuple[int, int], Edit]) -> Section:
    changed = _changed(tree, edits)
    assert isinstance(changed, Section)
    if "spec" in changed.entries:
        return changed
    place = next(iter(tree.keys.values()), tree.place)
    version = Scalar(1, place, place)
    return Section(
        {"spec": version, **changed.entries}, {"spec": place, **changed.keys}, changed.place
    )


def _changed(node: Node, edits: Mapping[tuple[int, int], Edit]) -> Node:
    if isinstance(node, Section):
        names = {key: _new(place, edits, key) for key, place in node.keys.items()}
        entries = {names[key]: _changed(each, edits) for key, each in node.entries.items()}
        return Section(entries, {names[k]: place for k, place in node.keys.items()}, node.place)
    if isinstance(node, Items):
        return Items(tuple(_changed(item, edits) for item in node.items), node.place)
    new = _new(node.place, edits, "")
    return Scalar(read_plain(new), node.place, node.inner) if new else node


def _new(place: Place, edits: Mapping[tuple[int, int], Edit], old: str) -> str:
    edit = edits.get((place.line, place.column))
    return edit.new if edit and edit.place.width else old


def _from_drafts(tree: Section) -> list[Edit]:
    """Version 0, the drafts of the language, to version 1.

    A stage that halves the map says `stride` in every family; drafts said `downsample` in some.
    """
    return [*_version(tree, 1), *_strides(tree, ())]


def _version(tree: Section, number: int) -> Iterator[Edit]:
    node = tree.entries.get("spec")
    if node is not None:
        yield Edit(node.place, str(number))
        return
    place = next(iter(tree.keys.values()), tree.place)
    between = ", " if tree.place.text.lstrip()[:1] == "{" else "\n"
    yield Edit(Place(place.source, place.line, place.column, 0), f"spec: {number}{between}")


def _strides(node: Node, path: tuple[str, ...]) -> Iterator[Edit]:
    """Yields the names of steps that are written as a number; words say how, and stay."""
    if not isinstance(node, Section):
        return
    for name, below in node.entries.items():
        old = isinstance(below, Scalar) and _is_step(below.value)
        last = name.rpartition(".")[2]
        if last == "downsample" and (old or isinstance(below, Section)) and _in_stage(path, name):
            if "stride" not in node.entries:
                yield Edit(node.keys[name], name.removesuffix(last) + "stride")
        else:
            yield from _strides(below, (*path, name))


def _in_stage(path: tuple[str, ...], name: str) -> bool:
    """Whether a key is a stage's: in `net`, in a composite block, or an address of one."""
    addressed = name.startswith("net.") and is_key(name)
    return addressed or "net" in path[-2:-1] or (path[-1:] or ("",))[0].startswith("net.")


def _is_step(value: object) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool)
    return number or (isinstance(value, str) and value.startswith("$"))


STEPS: Mapping[int, Callable[[Section], list[Edit]]] = {
    0: _from_drafts,  # the version it reads
}
