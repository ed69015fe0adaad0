"""The canonical layout of a spec: the same meaning and comments, always at the same place.

Two spaces of indentation; top-level keys in the order of the language, with one blank line between
sections; one line per stage where it fits into 100 columns, braces below each other. Scalars keep
their spelling, comments stay with their key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from flopwise.dsl.layout import Entry, Form, Group, Word, read_layout
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.tables import TOP
from flopwise.dsl.tree import Items, Node, Section
from flopwise.errors import Fault, Place, SpecError

__all__ = ["format_text"]

WIDTH = 100
INDENT = 2
HEAD = ("spec", "name", "doc", "extends", "use", "input", "classes")  # no blank lines among these
UNSAFE = re.compile(r"[,\[\]{}?:#]|^$")  # a plain scalar that may mean something else in braces
TABLES = re.compile(r"net|blocks\.\w+\.net|table\.rows")  # maps that have a line per entry
INDICATOR = re.compile(r"([|>])([-+]?)(\d?)([-+]?)(.*)")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of code, and the comment behind it."""

    code: str
    remark: str = ""


def format_text(text: str, name: str) -> str:
    r"""Returns a spec in its canonical layout.

    Args:
        text: The spec.
        name: What faults call it.

    Raises:
        SpecError: The text has faults of syntax, or its layout cannot be changed (E121).

    >>> print(format_text("name: a\nspec:   1 # version\n", "a.yaml"), end="")
    spec: 1  # version
    name: a
    """
    tree = parse(text, make_source(name, text))
    if not isinstance(tree, Section):
        raise SpecError([_impossible(name, text, "it is no map of keys")])
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = list(_top(read_layout(plain)))
    new = "".join(f"{line}\n" for line in _drawn(lines))
    if not _same(tree, new, name) or _remarks(read_layout(new)) != _remarks(read_layout(plain)):
        raise SpecError([_impossible(name, text, "a comment or a text would change")])
    return new.replace("\n", "\r\n") if "\r\n" in text else new


def _impossible(name: str, text: str, why: str) -> Fault:
    return Fault(
        code="E121",
        message=f"the layout of this file cannot be changed: {why}",
        place=Place(make_source(name, text), 1, 1),
        helps=("the file is left as it is; put comments on lines of their own, above a key",),
    )


def _same(tree: Section, new: str, name: str) -> bool:
    """Whether a text says what a tree says; the order counts, but not at the top."""
    try:
        found = parse(new, make_source(name, new))
        assert isinstance(found, Section)
    except SpecError:
        return False
    said, meant = ([(k, _plain(n)) for k, n in t.entries.items()] for t in (found, tree))
    return sorted(said, key=itemgetter(0)) == sorted(meant, key=itemgetter(0))


def _plain(node: Node) -> object:
    """Returns what a tree says."""
    if isinstance(node, Section):
        return [(name, _plain(each)) for name, each in node.entries.items()]
    if isinstance(node, Items):
        return [_plain(item) for item in node.items]
    return (type(node.value).__name__, node.value)


def _remarks(form: Form) -> list[str]:
    """Returns all comments, sorted."""
    if isinstance(form, Word):
        return []
    found = [line for line in form.foot if line]
    for entry in form.entries:
        found += [*filter(None, (*entry.above, entry.beside)), *_remarks(entry.value)]
    return sorted(" ".join(found).split())


def _top(root: Group) -> Iterator[_Line]:
    """Yields the lines of a whole file."""
    header = _header(root.entries)
    if header:
        yield from (_Line(line) for line in header)
        yield _Line("")
    entries = sorted(root.entries, key=_rank)
    for number, entry in enumerate(entries):
        key = _name(entry)
        above = [line for line in entry.above if line]
        before = entries[number - 1]
        if number and (key not in HEAD or _name(before) not in HEAD) and not _keeps(before.value):
            yield _Line("")
        yield from (_Line(line) for line in above)
        yield from _entry(entry, 0, key, 0)
    foot = _trim(root.foot)
    if foot:
        yield from [] if entries and _keeps(entries[-1].value) else [_Line("")]
        yield from (_Line(line) for line in foot)


def _header(entries: Sequence[Entry]) -> list[str]:
    """Takes the comments that stand above everything away from the first key."""
    if not entries:
        return []
    first = entries[0]
    above = first.above
    breaks = [at for at, line in enumerate(above) if not line]
    cut = breaks[-1] if breaks else 0  # a blank line parts what is about the whole file
    if not breaks and _name(first) != min((_name(e) for e in entries), key=_place_of):
        cut = sum(line.startswith("# yaml-language-server:") for line in above[:1])
    first.above = above[cut:]
    return _trim(above[:cut])


def _keeps(form: Form) -> bool:
    """Whether a value ends with a block text to which blank lines below it would belong."""
    if isinstance(form, Word):
        return form.style in ("|", ">") and "+" in form.lines[0].partition("#")[0]
    return bool(form.entries) and not any(form.foot) and _keeps(form.entries[-1].value)


def _trim(lines: Sequence[str]) -> list[str]:
    text = "\n".join(lines).strip("\n")
    return text.split("\n") if text else []


def _name(entry: Entry) -> str:
    return entry.key.strip("'\"")


def _place_of(key: str) -> int:
    order = [*HEAD, *(name for name in TOP if name not in HEAD)]
    return order.index(key) if key in order else len(order)


def _rank(entry: Entry) -> int:
    return _place_of(_name(entry))


def _entry(entry: Entry, indent: int, path: str, column: int) -> Iterator[_Line]:
    """Yields the lines of a key and its value; braces begin at least at `column` behind the key."""
    start = f"{' ' * indent}{entry.key}:"
    value = entry.value
    if isinstance(value, Word):
        yield from _word(start, value, entry.beside, indent)
        return
    flow = _flow(value)
    line = f"{start:<{indent + column}} {flow}" if flow else ""
    if line and len(line) <= WIDTH and _may_flow(value, path):
        yield _Line(line, entry.beside)
        return
    yield _Line(start, entry.beside)
    yield from _block(value, indent + INDENT, path)


def _may_flow(group: Group, path: str) -> bool:
    """Whether a collection is written in braces: as the author did, and every stage."""
    if TABLES.fullmatch(path):
        return not group.entries
    return group.flow or TABLES.fullmatch(path.rpartition(".")[0]) is not None


def _block(group: Group, indent: int, path: str) -> Iterator[_Line]:
    column = _column(group, indent, path)
    for number, entry in enumerate(group.entries):
        above = entry.above if number else _trim(entry.above)
        for line in above:
            yield _Line(f"{' ' * indent}{line}" if line else "")
        if group.is_map:
            below = f"{path}.{_name(entry)}"
            yield from _entry(entry, indent, below, column)
        else:
            yield from _item(entry, indent, path)
    for line in group.foot:
        yield _Line(f"{' ' * indent}{line}" if line else "")


def _column(group: Group, indent: int, path: str) -> int:
    """Returns how wide keys are drawn, so that the braces of a map of maps are aligned."""
    flows = [
        entry
        for entry in group.entries
        if isinstance(entry.value, Group)
        and entry.value.is_map
        and _flow(entry.value)
        and _may_flow(entry.value, f"{path}.{_name(entry)}")
    ]
    maps = all(isinstance(e.value, Group) or e.value.lines == ["null"] for e in group.entries)
    if not group.is_map or not maps:
        return 0
    return max((len(entry.key) + 1 for entry in flows), default=0)


def _item(entry: Entry, indent: int, path: str) -> Iterator[_Line]:
    """Yields the lines of a list's item."""
    start = " " * indent + "-"
    if isinstance(entry.value, Word):
        yield from _word(start, entry.value, entry.beside, indent)
        return
    flow = _flow(entry.value)
    if flow and entry.value.flow and len(start) + 1 + len(flow) <= WIDTH:
        yield _Line(f"{start} {flow}", entry.beside)
        return
    first, *rest = _block(entry.value, indent + INDENT, f"{path}.")
    if entry.beside or not first.code.strip() or first.code.lstrip().startswith("#"):
        yield _Line(start, entry.beside)
        yield first
    else:
        yield replace(first, code=f"{start} {first.code.lstrip()}")
    yield from rest


def _word(start: str, word: Word, beside: str, indent: int) -> Iterator[_Line]:
    """Yields a scalar behind its key; the lines of a long one are indented below it."""
    if word.style in ("|", ">"):
        if beside:
            yield _Line(" " * indent + beside)
        yield from _block_text(start, word, indent)
        return
    lines = [line.strip() for line in word.lines]
    deeper = " " * (indent + INDENT)
    drawn = [f"{start} {lines[0]}".rstrip(), *(deeper + line if line else "" for line in lines[1:])]
    yield from (_Line(line) for line in drawn[:-1])
    yield _Line(drawn[-1], beside)


def _block_text(start: str, word: Word, indent: int) -> Iterator[_Line]:
    header, *lines = word.lines
    match = INDICATOR.fullmatch(header)
    digit = int(match[3]) if match and match[3] else 0
    first = next((line for line in lines if line.strip()), "")
    old = word.column + digit if digit else len(first) - len(first.lstrip(" "))
    new = indent + (digit or INDENT)
    yield _Line(f"{start} {header.rstrip()}")
    for line in lines:
        yield _Line(" " * new + line[old:] if line.strip() or len(line) > old else "")


def _flow(form: Form) -> str:
    """Returns a value in braces on one line, or nothing if it cannot be written so."""
    if isinstance(form, Word):
        return form.lines[0]
    if form.foot and any(form.foot):
        return ""
    parts = []
    for entry in form.entries:
        value = entry.value
        loose = isinstance(value, Word) and not _fits_braces(value, form.flow)
        if loose or any(entry.above) or entry.beside:
            return ""
        inner = _flow(value)
        if not inner and isinstance(value, Group):
            return ""
        parts.append(f"{entry.key}: {inner}" if form.is_map else inner)
    text = ", ".join(parts)
    return f"{{{text}}}" if form.is_map else f"[{text}]"


def _fits_braces(word: Word, flow: bool) -> bool:
    if len(word.lines) > 1 or word.style in ("|", ">"):
        return False
    return flow or bool(word.style) or not UNSAFE.search(word.lines[0])


def _drawn(lines: Iterable[_Line]) -> Iterator[str]:
    """Yields texts; comments behind neighbouring lines begin in the same column."""
    run: list[_Line] = []
    for line in lines:
        if line.remark:
            run.append(line)
            continue
        yield from _aligned(run)
        run = []
        yield line.code
    yield from _aligned(run)


def _aligned(run: Sequence[_Line]) -> Iterator[str]:
    width = max((len(line.code) for line in run), default=0)
    return (f"{line.code:<{width}}  {line.remark}" for line in run)
