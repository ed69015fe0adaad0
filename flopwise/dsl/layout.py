"""A file as it is written: keys and values in their spelling, and every comment beside its key.

The marked tree of `tree.py` knows what a file says; this one knows how it says it. It is grown from
the same events of the YAML parser; comments and blank lines are what the events leave uncovered.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from flopwise.dsl.load import events

__all__ = ["Entry", "Form", "Group", "Word", "read_layout"]

HASH = re.compile(r"(?:^|(?<=\s))#")


@dataclass(slots=True)
class Word:
    """A scalar as it is spelt, line by line; `style` is empty, a quote, `|` or `>`."""

    lines: list[str]
    style: str
    column: int  # of the collection around it: what the lines of a block text are indented against


@dataclass(slots=True)
class Group:
    """A map or list; `flow` if it is written in braces or brackets."""

    is_map: bool
    flow: bool
    entries: list[Entry] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)  # comments below the last entry


Form: TypeAlias = Word | Group


@dataclass(slots=True)
class Entry:
    """A key with its value, or an item of a list, and the comments that belong to it."""

    key: str
    value: Form
    above: list[str] = field(default_factory=list)  # own lines; an empty text is a blank line
    beside: str = ""


@dataclass(slots=True)
class _Open:
    """A collection under construction, and the column its keys or dashes stand in."""

    group: Group
    column: int
    holder: Entry | None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class _Remark:
    """A comment, or a blank line if the text is empty."""

    at: int
    line: int
    column: int
    text: str
    alone: bool


def read_layout(text: str) -> Group:
    """Returns the layout of a YAML text that is a map and has no faults.

    Args:
        text: The document, with LF line breaks.
    """
    return _Reader(text).read()


class _Reader:
    """Walks over events and remarks together."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.events = list(events(text))
        self.remarks = deque(self._remarks())
        self.pending: list[_Remark] = []
        self.stack: list[_Open] = []
        self.touched: tuple[Entry | None, int] = (None, -1)
        self.root = Group(is_map=True, flow=False)

    def read(self) -> Group:
        for event in self.events:
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                self._flush(self._at(event.start_mark))
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._flush(self._at(event.end_mark))
                self._close(event)
        self._flush(len(self.text) + 1)
        self.root.foot += _tidy(self.pending)
        return self.root

    def _at(self, mark: Any) -> int:
        line, column = int(mark.line), int(mark.column)
        return self.starts[min(line, len(self.lines))] + column

    def _span(self, event: Any) -> tuple[int, int]:
        """Returns where a scalar begins and ends, blank lines behind a block text left out."""
        start, end = self._at(event.start_mark), self._at(event.end_mark)
        spelt = self.text[start:end]
        if event.style in ("|", ">") and "+" not in spelt.partition("\n")[0].partition("#")[0]:
            end = start + len(spelt.rstrip())
        return start, end

    def _remarks(self) -> Iterator[_Remark]:
        """Yields comments and blank lines, which are what no scalar covers."""
        covered = bytearray(len(self.text) + 1)
        for event in self.events:
            if isinstance(event, yaml.ScalarEvent):
                start, end = self._span(event)
                covered[start:end] = b"\1" * (end - start)
        for number, line in enumerate(self.lines):
            start = self.starts[number]
            if not line.strip() and not covered[start]:
                yield _Remark(start, number, 0, "", True)
            for match in HASH.finditer(line):
                column = match.start()
                if not covered[start + column]:
                    alone = not line[:column].strip()
                    yield _Remark(start + column, number, column, line[column:].rstrip(), alone)
                    break

    def _flush(self, at: int) -> None:
        """Gives the remarks before a position to what they belong to."""
        while self.remarks and self.remarks[0].at < at:
            remark = self.remarks.popleft()
            entry, line = self.touched
            if not remark.alone and entry and line == remark.line:
                entry.beside = f"{entry.beside} {remark.text}".strip()
            else:
                self.pending.append(remark)

    def _enter(self, key: str, value: Form) -> Entry:
        entry = Entry(key=key, value=value, above=_tidy(self.pending))
        self.pending = []
        return entry

    def _scalar(self, event: Any) -> None:
        start, end = self._span(event)
        top = self.stack[-1]
        lines = self.text[start:end].removesuffix("\n").split("\n")
        word = Word(lines, event.style or "", top.column)
        if top.group.is_map and top.key is None:
            top.key = word.lines[0]
            top.group.entries.append(self._enter(top.key, word))
        else:
            self._value(word)
        ended = event.start_mark.line + self.text.count("\n", start, end)
        self.touched = (top.group.entries[-1], ended)

    def _value(self, form: Form) -> Entry | None:
        """Puts a value behind its key, or behind the items before it."""
        if not self.stack:
            return None
        top = self.stack[-1]
        if top.group.is_map:
            top.group.entries[-1].value, top.key = form, None
        else:
            top.group.entries.append(self._enter("", form))
        return top.group.entries[-1]

    def _open(self, event: Any) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        group = Group(is_map=is_map, flow=bool(event.flow_style))
        holder = self._value(group)
        if holder is None:
            self.root = group
        self.stack.append(_Open(group, event.start_mark.column, holder))
        if event.flow_style:
            self.touched = (holder, event.start_mark.line)

    def _close(self, event: Any) -> None:
        top = self.stack.pop()
        if not self.stack and not top.group.flow:
            return  # what follows the last key belongs to the file
        if top.group.flow:
            top.group.foot, self.pending = _tidy(self.pending), []
            self.touched = (top.holder, event.end_mark.line)
            return
        outer = self.stack[-1].column
        border = top.column if top.column > outer else outer + 1
        count = 0
        for number, remark in enumerate(self.pending, 1):
            if remark.text and remark.column < border:
                break
            count = number if remark.text else count
        top.group.foot = _tidy(self.pending[:count])
        self.pending = self.pending[count:]


def _tidy(remarks: list[_Remark]) -> list[str]:
    """Returns the texts of remarks, blank lines in a row as one."""
    texts: list[str] = []
    for remark in remarks:
        if remark.text or not texts or texts[-1]:
            texts.append(remark.text)
    return texts
