"""The marked tree of a file, and the builder that grows it from YAML events.

Every value remembers its place. The builder keeps its own stack, so no input can exhaust Python's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from flopwise.dsl.refusals import bad_key, cut_expression, is_key, refused, written_twice
from flopwise.dsl.scalars import DoubtfulError, read_plain
from flopwise.errors import Fault, Place, Source

__all__ = ["Builder", "Items", "Node", "Scalar", "Section"]

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_SCALAR = 10_000
MAX_FAULTS = 1000
TEMPLATE = re.compile(r"\{\{ ?[A-Za-z_]")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number, a text, true, false or null; `inner` is where the text itself begins."""

    value: bool | int | float | str | None
    place: Place
    inner: Place


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Section:
    """A map; `keys` holds the place of each key."""

    entries: Mapping[str, Node]
    keys: Mapping[str, Place]
    place: Place


Node: TypeAlias = Scalar | Items | Section


class _Open:
    """A map or list under construction."""

    def __init__(self, place: Place, is_map: bool, as_key: bool) -> None:
        self.place, self.is_map, self.as_key = place, is_map, as_key
        self.items: list[Node] = []
        self.entries: dict[str, Node] = {}
        self.keys: dict[str, Place] = {}
        self.key: tuple[str, Place] | None = None


class Builder:
    """Takes events one by one and grows the tree; faults are collected, not raised.

    `doubts` are the faults that leave a whole tree, in which stands what was probably meant.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.doubts: list[Fault] = []
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.count = self.refused = 0
        self.documents = 0
        self.split = False  # an expression was split by a comma or bracket: what follows is noise

    def take(self, event: Any) -> bool:
        """Takes one event; returns True when it makes no sense to go on."""
        match event:
            case yaml.DocumentStartEvent():
                return self._document(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                return self._open(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(event)
            case yaml.ScalarEvent():
                return self._scalar(event)
            case yaml.AliasEvent():
                self._refuse_alias(event)
        return self._too_many(event)

    def fault(self, code: str, message: str, place: Place, label: str = "", *helps: str) -> None:
        """Notes a fault."""
        self.faults.append(Fault(code=code, message=message, place=place, label=label, helps=helps))

    def place(self, event: Any) -> Place:
        """Returns the first line of what an event covers."""
        start, end = event.start_mark, event.end_mark
        line = self.source.lines[start.line] if start.line < len(self.source.lines) else ""
        stop = end.column if end.line == start.line else len(line)
        return Place(self.source, start.line + 1, start.column + 1, max(1, stop - start.column))

    def _too_many(self, event: Any) -> bool:
        self.count += 1
        if self.count > MAX_NODES or self._tells_enough():
            if self.count > MAX_NODES:
                self.fault("E005", f"more than {MAX_NODES} values in one file", self.place(event))
            return True
        return False

    def _tells_enough(self) -> bool:
        return max(self.refused, len(self.faults) + len(self.doubts)) > MAX_FAULTS

    def _document(self, event: Any) -> bool:
        self.documents += 1
        if event.version or event.tags:
            place = Place(self.source, 1, 1)
            told = refused("directives (%)", place, "delete this line", code="E015")
            self.faults.append(told)
            return True
        if self.documents > 1:
            help_ = "put the second spec into a file of its own"
            self.fault("E015", "a second document begins here", self.place(event), "", help_)
            return True
        return False

    def _open(self, event: Any) -> bool:
        place = self.place(event)
        self._refuse_extras(event, place)
        if len(self.stack) >= MAX_DEPTH:
            self.fault("E005", f"nested deeper than {MAX_DEPTH} levels", place)
            return True
        as_key = self._refuse_as_key(place)
        is_map = isinstance(event, yaml.MappingStartEvent)
        if not event.flow_style:  # libyaml ends a block collection wherever the next thing begins
            place = Place(place.source, place.line, place.column)
        self.stack.append(_Open(place, is_map, as_key))
        return self._too_many(event)

    def _close(self, event: Any) -> None:
        top = self.stack.pop()
        if top.as_key:
            return
        start, end = top.place, event.end_mark
        if event.end_mark.line + 1 == start.line and end.column >= start.column:
            start = Place(start.source, start.line, start.column, end.column - start.column + 1)
        if top.is_map:
            self._add(Section(top.entries, top.keys, start))
        else:
            self._add(Items(tuple(top.items), start))

    def _refuse_as_key(self, place: Place) -> bool:
        """Refuses what stands where a key is expected; whether anything does."""
        if self.stack and self.stack[-1].is_map and self.stack[-1].key is None:
            if TEMPLATE.match(place.text, place.column - 2) and not self.split:
                fact = "names are not put in braces here"
                self.fault("E406", fact, place, "", "write  $w  or  $(2*w)")
            elif not self.split:
                fact = "a map or a list cannot be a key"
                self.fault("E014", fact, place, "", "a key is one word")
            self.stack[-1].key = (f"?{self.count}", place)
            return True
        return False

    def _refuse_extras(self, event: Any, place: Place) -> None:
        if event.anchor:
            help_ = "give the value a name under 'vars' and write $name where it is used"
            self.faults.append(refused(f"anchors (&{event.anchor})", place, help_))
        if event.tag and event.tag != "!":
            help_ = "delete the tag; put text in quotes instead"
            self.faults.append(refused("tags (!name)", place, help_))

    def _refuse_alias(self, event: Any) -> None:
        place, name = self.place(event), event.anchor
        help_ = f"give the value a name under 'vars' and write ${name}, or $(4*{name}) to multiply"
        self.faults.append(refused("aliases (*name)", place, help_))
        if not self._refuse_as_key(place):
            self._add(Scalar(None, place, place))

    def _scalar(self, event: Any) -> bool:
        place = self.place(event)
        self._refuse_extras(event, place)
        if len(event.value) > MAX_SCALAR:
            fact = f"this text has {len(event.value)} characters; at most {MAX_SCALAR} are allowed"
            self.fault("E005", fact, Place(place.source, place.line, place.column))
            return True
        top = self.stack[-1] if self.stack else None
        if top and top.is_map and top.key is None:
            self._key(top, event, place)
        else:
            self._add(Scalar(self._value(event, place), place, self._inner(event, place)))
        return self._too_many(event)

    def _inner(self, event: Any, place: Place) -> Place:
        """Returns where the text of a scalar begins, if it stands on one line as written."""
        column = place.column + (event.style in ("'", '"'))
        line = place.text
        if line.startswith(event.value, column - 1):
            return Place(self.source, place.line, column, max(1, len(event.value)))
        return Place(self.source, place.line, place.column, 0)

    def _value(self, event: Any, place: Place) -> bool | int | float | str | None:
        text: str = event.value
        if event.style not in (None, ""):
            return text
        top = self.stack[-1] if self.stack else None
        if top and text.startswith("$(") and text.count("(") > text.count(")"):
            self.split = True
            self.faults.append(cut_expression(place))
            return None
        try:
            return read_plain(text)
        except DoubtfulError as error:
            told = Fault(code=error.code, message=error.message, place=place, helps=(error.help,))
            (self.faults if error.meant is None else self.doubts).append(told)
            return error.meant

    def _key(self, top: _Open, event: Any, place: Place) -> None:
        name: str = event.value
        top.key = (name, place)
        if name == "<<":
            self.faults.append(refused("merge keys (<<)", place, "use 'extends' or 'vars'"))
        elif self.split:
            top.key = (f"?{self.count}", place)
        elif not is_key(name):
            self.refused += 1
            told, before = bad_key(name, place), self.faults[-1] if self.faults else None
            if before is None or (before.helps, before.message) != (told.helps, told.message):
                self.faults.append(told)  # each part of a list without brackets is a key
        elif name in top.keys:
            self.doubts.append(written_twice(name, place, top.keys[name]))
            top.key = (f"?{self.count}", place)

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if not top.is_map:
            top.items.append(node)
        elif top.key is not None:
            (name, place), top.key = top.key, None
            if not name.startswith("?"):  # a key that is a fault already
                top.entries[name], top.keys[name] = node, place
