"""Bytes to a marked tree: libyaml's events, an own builder, and limits.

Only maps, lists, scalars and comments are accepted: no anchors, aliases, merge keys, tags or second
documents, no duplicate keys. Every value remembers its place. The builder is iterative, so no input
can exhaust the stack, and `yaml.load` is never called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from flopwise.dsl.syntax import explain
from flopwise.dsl.tree import Builder, Node
from flopwise.errors import Fault, Place, Source, SpecError

__all__ = ["decode", "events", "make_source", "parse"]

MAX_BYTES = 1 << 20

HIDDEN = re.compile("[^\n\r\x20-\x7e]")  # in a text of ASCII characters


@cache
def _hidden() -> re.Pattern[str]:
    """What either parser would refuse or read as a line break, and what hides text from the eye."""
    return re.compile(
        "[^\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    )


def decode(data: bytes, name: str) -> str:
    """Returns the text of a file, without its byte order mark.

    Raises:
        SpecError: It is not UTF-8 (E001) or too large (E005).
    """
    if len(data) > MAX_BYTES:
        fact = f"this file has {len(data)} bytes; the largest allowed is {MAX_BYTES} (1 MiB)"
        raise SpecError([Fault(code="E005", message=fact, place=Place(Source(name, ()), 1, 1))])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([_not_utf8(data, error, name)]) from None


def _not_utf8(data: bytes, error: UnicodeDecodeError, name: str) -> Fault:
    before = data[: error.start].decode("utf-8", "replace")
    source = make_source(name, data.decode("latin-1"))
    byte = data[error.start]
    line_break = before.rfind("\n")
    looks = f" (looks like Latin-1 for '{chr(byte)}')" if byte >= 0xA0 else ""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        looks = " (looks like UTF-16)"
    return Fault(
        code="E001",
        message="this file is not UTF-8 text",
        place=Place(source, before.count("\n") + 1, len(before) - line_break),
        label=f"found byte 0x{byte:02x}{looks}",
        helps=("save the file as UTF-8 in your editor",),
    )


def make_source(name: str, text: str) -> Source:
    """Returns the text as a source that places can point into."""
    return Source(name, tuple(re.split("\r\n|\r|\n", text)))


def parse(
    text: str, source: Source, *, pure: bool = False, doubts: list[Fault] | None = None
) -> Node:
    """Returns the marked tree of a YAML text.

    Args:
        text: The document.
        source: What places point into; usually `make_source(name, text)`.
        pure: Use PyYAML's own parser even where libyaml is at hand.
        doubts: Takes the faults that leave no question what was meant, such as `yes` for true;
            without it they are raised like the others.

    Raises:
        SpecError: Every fault of the text.
    """
    _refuse_characters(text, source)
    builder, broken = _built(text, source, pure)
    faults = [*builder.faults, *builder.doubts]
    if broken:
        from flopwise.dsl.remainder import faults_of_rest

        faults = faults_of_rest(text, faults, lambda rest: _built(rest, source, pure))
    if faults and (doubts is None or builder.faults or builder.root is None):
        raise SpecError(faults)
    if builder.root is None:
        fact = "this file is empty"
        help_ = "a spec begins with  spec: 1  and  name: my_net"
        raise SpecError([Fault(code="E016", message=fact, place=_at(source), helps=(help_,))])
    if doubts is not None:
        doubts += faults
    return builder.root


def _built(text: str, source: Source, pure: bool) -> tuple[Builder, bool]:
    """Returns the builder that read a text, and whether YAML gave up before the end."""
    builder, broken = Builder(source), False
    try:
        for event in events(text, pure=pure):
            if builder.take(event):
                break
    except yaml.MarkedYAMLError as error:
        broken = True
        if not builder.split:
            told = explain(error, source, text)
            lines = {fault.place.line for fault in builder.faults if fault.place}
            if told.place is None or told.place.line not in lines:
                builder.faults.append(told)
    except yaml.YAMLError as error:  # a reader's complaint, without a mark
        builder.faults.append(Fault(code="E013", message=f"this is not YAML: {error}"))
    return builder, broken


def _at(source: Source) -> Place:
    return Place(source, 1, 1)


def _refuse_characters(text: str, source: Source) -> None:
    if len(text) > MAX_BYTES:
        fact = f"this text is longer than {MAX_BYTES} characters"
        raise SpecError([Fault(code="E005", message=fact, place=_at(source))])
    pattern = HIDDEN if text.isascii() else _hidden()  # the latter takes 20 ms to compile
    if not pattern.search(text):
        return
    faults = []
    for number, line in enumerate(source.lines, 1):
        if match := pattern.search(line):
            run = re.compile(re.escape(match[0]) + "+").match(line, match.start())
            width = len(run[0]) if run else 1
            place = Place(source, number, match.start() + 1, width)
            faults.append(_character_fault(match[0], place))
    raise SpecError(
        faults or [Fault(code="E019", message="a control character", place=_at(source))]
    )


def _character_fault(found: str, place: Place) -> Fault:
    if found == "\t":
        return Fault(
            code="E002",
            message="tab character",
            place=place,
            label="YAML cannot be indented with tabs",
            helps=("use two spaces",),
        )
    return Fault(
        code="E019",
        message=f"the invisible character U+{ord(found):04X} is not allowed",
        place=place,
        label="here",
        helps=("delete it; it probably came along with copied text",),
    )


def events(text: str, *, pure: bool = False) -> Iterator[Any]:
    """Yields the events of a YAML text, whose marks say where everything stands."""
    ours = pure or not hasattr(yaml, "CSafeLoader")
    parser: Any = _PureParser(text) if ours else yaml.CSafeLoader(text)  # only its parser is used
    while True:
        event = parser.get_event()
        if event is None:
            return
        yield event


class _PureParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's own parser, for installations without libyaml."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
