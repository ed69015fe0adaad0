"""The source of a network that needs nothing of ours: its classes, and the pieces they stand on.

Every piece is the text of this package as it stands, so that nothing is written twice. Of a table
of functions by name, such as that of initial values, only the entries in use are taken.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Alone", "stand_alone"]

OURS = "flopwise."


@dataclass(frozen=True, slots=True)
class Alone:
    """A source that imports nothing of ours.

    Attributes:
        imports: Local name, module, and the name there; no name for a module itself.
        pieces: What the classes stand on, in an order that runs.
        classes: The generated classes, as they were trained.
        names: Everything that pieces and classes define.
    """

    imports: frozenset[tuple[str, str, str]]
    pieces: tuple[str, ...]
    classes: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Statement:
    """A definition at the top of a file, with what is said about it directly behind it."""

    names: frozenset[str]
    text: str
    nodes: tuple[ast.stmt, ...]

    def walk(self) -> Iterator[ast.AST]:
        for node in self.nodes:
            yield from ast.walk(node)

    def reads(self) -> set[str]:
        """Every name in it."""
        return {node.id for node in self.walk() if isinstance(node, ast.Name)}

    def texts(self) -> set[str]:
        """Every text in it."""
        return _texts(self.walk())

    def defaults(self) -> set[str]:
        """The texts among the defaults of its functions."""
        made = (node for node in self.walk() if isinstance(node, ast.arguments))
        return _texts(each for node in made for each in (*node.defaults, *node.kw_defaults) if each)

    def table(self) -> dict[str, str]:
        """Its entries, word -> function, if it is a table of functions; else nothing."""
        value = getattr(self.nodes[0], "value", None)
        if not isinstance(value, ast.Dict):
            return {}
        return {
            key.value: made.id
            for key, made in zip(value.keys, value.values, strict=True)
            if isinstance(key, ast.Constant)
            and isinstance(key.value, str)
            and isinstance(made, ast.Name)
        }

    def only(self, words: set[str]) -> str:
        """The text of a table with these entries alone."""
        value = getattr(self.nodes[0], "value", None)
        assert isinstance(value, ast.Dict) and value.end_lineno
        lines = self.text.splitlines()
        told = {line.strip().partition(":")[0]: line for line in lines[1:]}  # with its comment
        entries = [
            told.get(f'"{word}"', f'    "{word}": {made},')
            for word, made in self.table().items()
            if word in words
        ]
        body = ["{", *entries, "}"] if entries else ["{}"]
        behind = lines[value.end_lineno - value.lineno + 1 :]
        return "\n".join([lines[0].partition("{")[0] + body[0], *body[1:], *behind])


@dataclass(slots=True)
class _File:
    """A file taken apart."""

    statements: list[_Statement] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)

    def find(self, name: str) -> _Statement | None:
        return next((each for each in self.statements if name in each.names), None)


def stand_alone(source: str) -> Alone:
    """Returns a generated source together with everything of ours that it uses.

    Args:
        source: What `nets.source` gives for a network.
    """
    made = _take_apart(source)
    walk = _Walk({word for each in made.statements for word in each.texts()})
    for each in made.statements:
        walk.follow("", made, each.reads())
    walk.fill_tables()
    defined = [name for each in (*made.statements, *walk.taken) for name in each.names]
    names = frozenset(defined)
    assert len(names) == len(defined), "two of our files define one name"
    start = _start(made.statements[0].nodes[0])
    return Alone(
        imports=frozenset(walk.imports),
        pieces=tuple(walk.pieces()),
        classes="\n".join(source.splitlines()[start:]),
        names=names,
    )


@dataclass(slots=True)
class _Walk:
    """What has been found to be needed so far: statements, and the file each stands in."""

    words: set[str]
    taken: dict[_Statement, str] = field(default_factory=dict)
    imports: set[tuple[str, str, str]] = field(default_factory=set)

    def follow(self, home: str, file: _File, names: set[str]) -> None:
        """Takes what these names of a file mean, and what that reads in turn."""
        for name in sorted(names):
            if statement := file.find(name):
                self._take(home, file, statement)
            elif name in file.imports:
                room, its = file.imports[name]
                if room.startswith(OURS):
                    self.follow(room, _file(room), {its})
                else:
                    self.imports.add((name, room, its))

    def _take(self, home: str, file: _File, statement: _Statement) -> None:
        if not home or statement in self.taken:
            return
        self.taken[statement] = home
        self.words |= statement.defaults()
        self.follow(home, file, statement.reads() - {*statement.table().values()})

    def fill_tables(self) -> None:
        """Takes the functions that the entries in use name."""
        for statement, home in list(self.taken.items()):
            kept = {made for word, made in statement.table().items() if word in self.words}
            self.follow(home, _file(home), kept)

    def pieces(self) -> Iterator[str]:
        """Yields the texts, each file in its own order, after the files that it reads."""
        for home in sorted(set(self.taken.values()), key=lambda home: (_height(home), home)):
            for each in _file(home).statements:
                if each in self.taken:
                    yield each.only(self.words) if each.table() else each.text


@cache
def _file(name: str) -> _File:
    spec = find_spec(name)
    assert spec and spec.origin, f"{name} is no file"
    return _take_apart(Path(spec.origin).read_text(encoding="utf-8"))


def _height(name: str) -> int:
    """How many layers of our files lie below a file."""
    below = {room for room, _ in _file(name).imports.values() if room.startswith(OURS)}
    return 1 + max(map(_height, below), default=-1)


def _take_apart(text: str) -> _File:
    file, lines = _File(), text.splitlines()
    body = ast.parse(text).body
    for place, node in enumerate(body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            file.imports |= _bound(node)
        elif names := _defined(node):
            nodes = (node, *_about(body[place + 1 :], names))
            part = "\n".join(lines[_start(node) : nodes[-1].end_lineno])
            file.statements.append(_Statement(names, part, nodes))
    return file


def _start(node: ast.stmt) -> int:
    """How many lines stand before a statement, its decorators included in it."""
    first: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in first)]) - 1


def _bound(node: ast.Import | ast.ImportFrom) -> dict[str, tuple[str, str]]:
    if isinstance(node, ast.ImportFrom):
        room = node.module or ""
        return {alias.asname or alias.name: (room, alias.name) for alias in node.names}
    return {alias.asname or alias.name.partition(".")[0]: (alias.name, "") for alias in node.names}


def _defined(node: ast.stmt) -> frozenset[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return frozenset({node.name})
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return frozenset(each.id for each in targets if isinstance(each, ast.Name)) - {"__all__"}
    return frozenset()


def _about(behind: Sequence[ast.stmt], names: frozenset[str]) -> Iterator[ast.stmt]:
    """Yields the statements right behind a definition that are about it.

    That is the text that documents a constant, and a call that names it, as `torch.fx.wrap` does.
    """
    for node in behind:
        if not isinstance(node, ast.Expr):
            return
        text = isinstance(node.value, ast.Constant)
        if not text and not names & _texts(ast.walk(node)):
            return
        yield node


def _texts(nodes: Iterable[ast.AST]) -> set[str]:
    found = (node.value for node in nodes if isinstance(node, ast.Constant))
    return {value for value in found if isinstance(value, str)}
