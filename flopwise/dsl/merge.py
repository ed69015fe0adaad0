"""Merging: a spec on top of the one it extends, and `--set` on top of both.

Maps merge key by key; scalars and lists replace; null removes. A stage given with its `block` is
replaced as a whole and keeps its position; a new stage goes to the end, or where `after` or
`before` says. Every value keeps the place it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from flopwise.dsl.files import File
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = ["NOT_INHERITED", "apply_sets", "merge_files", "paths_of"]

NOT_INHERITED = ("spec", "name", "doc", "extends", "expect", "search", "table", "export")

Path: TypeAlias = tuple[str, ...]


def merge_files(files: Sequence[File]) -> Section:
    """Returns what a chain of files says together; the first extends the second, and so on.

    Raises:
        SpecError: Something is removed, placed or left empty that cannot be.
    """
    merger = _Merger()
    first = files[-1].tree.place
    merged = Section({}, {}, first)
    for file in reversed(files):
        kept = {k: v for k, v in merged.entries.items() if k not in NOT_INHERITED}
        merged = Section(kept, {key: merged.keys[key] for key in kept}, merged.place)
        merged = merger.section(merged, file.tree, ())
        if merger.faults:
            raise SpecError(merger.faults)
    return merged


def apply_sets(tree: Section, sets: Sequence[tuple[str, str]], heads: Sequence[str]) -> Section:
    """Returns the tree with values set at paths, later sets on top of earlier ones.

    Args:
        tree: A merged spec.
        sets: Pairs of a path (a variable, or a dotted place) and a value as YAML.
        heads: The top-level keys of the language.

    Raises:
        SpecError: A path names nothing (E404), or a value cannot be read.
    """
    faults: list[Fault] = []
    for path, text in sets:
        try:
            tree = _apply(tree, path, text, heads)
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


def _apply(tree: Section, path: str, text: str, heads: Sequence[str]) -> Section:
    line = f"{path}={text}"
    source = make_source("--set", line)
    place = Place(source, 1, 1, max(1, len(path)))
    if not text.strip():
        fact = f"there is no value after '{path}='"
        raise SpecError(
            [
                Fault(
                    code="E109",
                    message=fact,
                    place=place,
                    helps=(f"write  {path}=VALUE; null removes",),
                )
            ]
        )
    node = parse(" " * (len(path) + 1) + text, source)
    parts = tuple(path.split("."))
    variables = tree.entries.get("vars")
    if len(parts) == 1 and isinstance(variables, Section) and path in variables.entries:
        parts = ("vars", path)
    elif not _exists(tree, parts, heads):
        raise SpecError([_no_place(tree, path, place)])
    merger = _Merger()
    tree = merger.put(tree, parts, (), node, place)
    if merger.faults:
        raise SpecError(merger.faults)
    return tree


def _no_place(tree: Section, path: str, place: Place) -> Fault:
    near = nearest(path, paths_of(tree))
    variables = tree.entries.get("vars")
    names = ", ".join(variables.entries) if isinstance(variables, Section) else ""
    note = f"a name sets a variable ({names or 'there are none'}), a dotted path sets a place"
    return Fault(
        code="E404",
        message=f"'{path}' does not exist in this spec",
        place=place,
        helps=(f"did you mean '{near}'?",) if near else (),
        notes=(note,),
    )


def _exists(tree: Section, parts: Path, heads: Sequence[str]) -> bool:
    """Whether a place can be set: sections are made as needed, stages must be there."""
    if parts == ("classes",):
        return True
    if len(parts) < 2 or parts[0] not in heads or not all(parts):
        return False
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
            if not path and name.startswith("x_"):
                entries[name], keys[name] = node, place
            elif isinstance(node, Scalar) and node.value is None:
                self.remove(entries, keys, name, node, place)
            else:
                old = entries.get(name)
                entries[name] = self.value(old, node, at)
                merged = isinstance(old, Section) and isinstance(node, Section)
                keys[name] = keys[name] if merged and name in keys else place
        if path == ("net",):
            entries = self.order(base, entries)
        place = base.place if base.entries else child.place
        return Section(entries, keys, place)

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
        line = node.place.source.lines[node.place.line - 1][node.place.column - 1 :]
        if not line.startswith(("null", "~")):
            fact = f"'{name}' has no value"
            help_ = "write a value after the colon, or delete the line; null removes a parent's key"
            self.faults.append(Fault(code="E109", message=fact, place=place, helps=(help_,)))
        elif name not in entries:
            near = nearest(name, entries)
            help_ = f"did you mean '{near}'?" if near else "delete this line"
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
