"""Merging: a spec on top of the one it extends, and `--set` on top of both.

Maps merge key by key; scalars and lists replace; null removes. A stage given with its `block` is
replaced as a whole and keeps its position; a new stage goes to the end, or where `after` or
`before` says. Every value keeps the place it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flopwise.dsl.files import File
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.paths import keys_in
from flopwise.dsl.tables import TOP
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = [
    "NOT_INHERITED",
    "Change",
    "apply_changes",
    "inherited",
    "merge_files",
    "merges",
    "paths_of",
    "read_sets",
]

NOT_INHERITED = (
    "spec", "name", "doc", "extends", "expect", "inferred", "search", "table", "export",
)  # fmt: skip

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A value for a path of a spec, as a row or `--set` gives it."""

    path: str
    node: Node
    place: Place


def merge_files(files: Sequence[File]) -> Section:
    """Returns what a chain of files says together; the first extends the second, and so on.

    Raises:
        SpecError: Something is removed, placed or left empty that cannot be.
    """
    *_, merged = merges(files)
    return merged


def merges(files: Sequence[File]) -> Iterator[Section]:
    """Yields what the eldest file says, then what each further one makes of it."""
    merger = _Merger()
    merged = Section({}, {}, files[-1].tree.place)
    for file in reversed(files):
        merged = merger.section(inherited(merged), file.tree, ())
        if merger.faults:
            raise SpecError(merger.faults)
        yield merged


def inherited(tree: Section, left: Sequence[str] = NOT_INHERITED) -> Section:
    """Returns what a spec hands on: everything but the keys that are left behind."""
    kept = {name: node for name, node in tree.entries.items() if name not in left}
    return Section(kept, {name: tree.keys[name] for name in kept}, tree.place)


def read_sets(sets: Iterable[tuple[str, str]]) -> tuple[Change, ...]:
    """Reads pairs of a path and a value as YAML, as `--set` takes them.

    Raises:
        SpecError: A value is missing or cannot be read.
    """
    faults: list[Fault] = []
    changes = []
    for path, text in sets:
        try:
            changes.append(_read_set(path, text))
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(faults)
    return tuple(changes)


def _read_set(path: str, text: str) -> Change:
    source = make_source("--set", f"{path}={text}")
    place = Place(source, 1, 1, max(1, len(path)))
    if not text.strip():
        fact = f"there is no value after '{path}='"
        help_ = f"write  {path}=VALUE; null removes"
        raise SpecError([Fault(code="E109", message=fact, place=place, helps=(help_,))])
    return Change(path, parse(" " * (len(path) + 1) + text, source), place)


def apply_changes(
    tree: Section, changes: Iterable[Change], *, what: str = "this spec", closed: Path = ()
) -> Section:
    """Returns the tree with values laid at paths, later ones on top of earlier ones.

    Args:
        tree: A merged spec.
        changes: Paths (a variable, or a dotted place) and their values.
        what: What a message calls the tree.
        closed: Top-level keys that may not be changed.

    Raises:
        SpecError: A path names nothing (E404), or a value cannot be laid there.
    """
    faults: list[Fault] = []
    for change in changes:
        try:
            tree = _apply(tree, change, what, closed)
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(faults)
    return tree


def paths_of(tree: Section) -> Iterator[str]:
    """Yields every address of a spec: variables by name, everything else by dotted path."""
    for name, node in _walk(tree, ""):
        yield name
        if name.startswith("vars."):
            yield name.removeprefix("vars.")
        del node


def _walk(tree: Section, prefix: str) -> Iterator[tuple[str, Node]]:
    for name, node in tree.entries.items():
        yield prefix + name, node
        if isinstance(node, Section):
            yield from _walk(node, f"{prefix}{name}.")


def _apply(tree: Section, change: Change, what: str, closed: Path) -> Section:
    parts = keys_in(tree, change.path)
    variables = tree.entries.get("vars")
    if len(parts) == 1 and isinstance(variables, Section) and parts[0] in variables.entries:
        parts = ("vars", *parts)
    elif parts[0] in closed or not _exists(tree, parts):
        raise SpecError([_no_place(tree, change, what)])
    merger = _Merger()
    tree = merger.put(tree, parts, (), change.node, change.place)
    if merger.faults:
        raise SpecError(merger.faults)
    return tree


def _no_place(tree: Section, change: Change, what: str) -> Fault:
    known = list(paths_of(tree))
    inside = next((path for path in known if path.startswith(f"{change.path}.")), None)
    near = inside or nearest(change.path, [each for each in known if each != change.path])
    if f"net.{change.path}" in known:
        near = f"net.{change.path}"
    variables = tree.entries.get("vars")
    names = ", ".join(variables.entries) if isinstance(variables, Section) else ""
    note = f"a name sets a variable ({names or 'there are none'}), a dotted path sets a place"
    return Fault(
        code="E404",
        message=f"'{change.path}' does not exist in {what}",
        place=change.place,
        helps=(f"did you mean '{near}'?",) if near else (),
        notes=(note,),
    )


def _exists(tree: Section, parts: Path) -> bool:
    """Whether a place can be set: sections are made as needed, stages must be there."""
    rule = TOP.get(parts[0])
    if rule is None or not all(parts):
        return False
    if len(parts) == 1:
        return rule.type != "map" and parts[0] not in NOT_INHERITED
    if parts[0] in ("net", "vars") and len(parts) > 2:
        parent = tree.entries.get(parts[0])
        return isinstance(parent, Section) and isinstance(parent.entries.get(parts[1]), Section)
    return True


class _Merger:
    """Merges sections and collects what cannot be merged."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def section(self, base: Section, child: Section, path: Path) -> Section:
        """Returns `child` on top of `base`, both of them at `path`."""
        entries, keys = dict(base.entries), dict(base.keys)
        for name, node in child.entries.items():
            at, place = (*path, name), child.keys[name]
            if not path and (name == "table" or name.startswith("x_")):  # null means null there
                entries[name], keys[name] = node, place
            elif isinstance(node, Scalar) and node.value is None:
                self.remove(entries, keys, name, node, place)
            else:
                old = entries.get(name)
                entries[name] = self.value(old, node, at)
                merged = isinstance(old, Section) and isinstance(node, Section)
                keys[name] = keys[name] if merged and name in keys else place
            if len(path) == 2 and path[0] == "net":
                self.forget_singles(entries, keys, name)
        if path == ("net",):
            entries = self.order(base, entries)
        place = base.place if base.entries and path else child.place  # the root is the child's own
        return Section(entries, keys, place)

    def forget_singles(self, entries: dict[str, Node], keys: dict[str, Place], name: str) -> None:
        """Takes away what single repetitions had of a setting that now holds for all of them."""
        for single in [key for key in entries if key.startswith(f"{name}[")]:
            del entries[single], keys[single]

    def value(self, old: Node | None, new: Node, path: Path) -> Node:
        """Returns what stands at `path` once `new` is laid on `old`."""
        if not isinstance(new, Section):
            return new
        fresh = len(path) == 2 and path[0] == "net" and "block" in new.entries
        if fresh and isinstance(old, Section):
            self.refuse_moves(new, path[-1])
        keep = isinstance(old, Section) and not fresh
        base = old if keep and isinstance(old, Section) else Section({}, {}, new.place)
        if keep and len(path) == 2 and path[0] == "net":
            self.refuse_moves(new, path[-1])
        return self.section(base, new, path)

    def refuse_moves(self, node: Section, name: str) -> None:
        """A stage that exists stays where it is."""
        for word in ("after", "before"):
            if word in node.entries:
                fact = f"stage '{name}' exists already, so '{word}' cannot place it"
                help_ = f"delete '{word}', or give the new stage another name"
                place = node.keys[word]
                self.faults.append(Fault(code="E408", message=fact, place=place, helps=(help_,)))

    def remove(
        self,
        entries: dict[str, Node],
        keys: dict[str, Place],
        name: str,
        node: Scalar,
        place: Place,
    ) -> None:
        """Takes a key away, as null says."""
        line = node.place.text[node.place.column - 1 :]
        if not line.startswith(("null", "~")):
            fact = f"'{name}' has no value"
            help_ = "write a value after the colon, or delete the line; null removes a parent's key"
            if name in TOP and TOP[name].type == "map":
                help_ = f"indent what belongs to '{name}' by 2 spaces, or delete this line"
            self.faults.append(Fault(code="E109", message=fact, place=place, helps=(help_,)))
        elif name not in entries:
            near = nearest(name, entries)
            help_ = f"did you mean '{near}'?" if near else "delete this line"
            if name in ("act", "norm"):
                help_ = f"write  {name}: none"
            fact = f"null removes '{name}', but there is nothing to remove"
            self.faults.append(Fault(code="E405", message=fact, place=place, helps=(help_,)))
        else:
            del entries[name], keys[name]

    def order(self, base: Section, entries: Mapping[str, Node]) -> dict[str, Node]:
        """Moves new stages to where their `after` or `before` says."""
        names = list(entries)
        for name, node in entries.items():
            if isinstance(node, Section) and name not in base.entries:
                self.move(names, name, node)
        return {name: self.bare(entries[name]) for name in names}

    def move(self, names: list[str], name: str, node: Section) -> None:
        """Puts one name behind or before another."""
        wanted = [word for word in ("after", "before") if word in node.entries]
        if len(wanted) == 2:
            fact = f"stage '{name}' has both 'after' and 'before'"
            place = node.keys["before"]
            self.faults.append(Fault(code="E408", message=fact, place=place, helps=("keep one",)))
        for word in wanted[:1]:
            target = node.entries[word]
            value = target.value if isinstance(target, Scalar) else None
            if value not in names or value == name:
                self.faults.append(_no_stage(str(value), [n for n in names if n != name], target))
                continue
            names.remove(name)
            names.insert(names.index(str(value)) + (word == "after"), name)

    def bare(self, node: Node) -> Node:
        """Returns a stage without its `after` and `before`."""
        if not isinstance(node, Section) or not {"after", "before"} & node.entries.keys():
            return node
        kept = {k: v for k, v in node.entries.items() if k not in ("after", "before")}
        return Section(kept, {key: node.keys[key] for key in kept}, node.place)

    def put(self, tree: Section, parts: Path, path: Path, node: Node, place: Place) -> Section:
        """Returns the tree with one value laid at a place below it."""
        name, rest = parts[0], parts[1:]
        if rest:
            below = tree.entries.get(name)
            section = below if isinstance(below, Section) else Section({}, {}, place)
            new: Node = self.put(section, rest, (*path, name), node, place)
            key = tree.keys.get(name, place)
            return Section({**tree.entries, name: new}, {**tree.keys, name: key}, tree.place)
        return self.section(tree, Section({name: node}, {name: place}, place), path)


def _no_stage(name: str, known: Sequence[str], node: Node) -> Fault:
    near = nearest(name, known)
    return Fault(
        code="E104",
        message=f"there is no stage called '{name}'",
        place=node.place,
        helps=(f"did you mean '{near}'?",) if near else (),
        notes=(f"stages: {', '.join(known)}",),
    )
