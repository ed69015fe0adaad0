"""Faults: what is wrong, where, and how to mend it.

    FlopwiseError (ValueError)
    ├── SpecError      a file or a value the user wrote: every fault at once (exit 2)
    ├── BlockError     a bare fact about one block or layer; the language adds the address
    └── RunError       a training, search or export that could not go on (exit 1)

Deep code states the bare fact, the border adds the address, and `render` draws the whole in the
manner of a compiler: title, place, excerpt with caret, then what to do about it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flopwise.aliases import ALIASES

__all__ = [
    "BlockError",
    "Fault",
    "FlopwiseError",
    "Place",
    "RunError",
    "Source",
    "SpecError",
    "many",
    "nearest",
    "render",
]

SHOWN = 20  # faults printed in full before "and N more"
COLUMNS = 120  # excerpt lines are cut to this width around the caret


@dataclass(frozen=True, slots=True)
class Source:
    """A text that places point into: its name as shown to the user, and its lines."""

    name: str
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A span of one line of a source; line and column count from 1, in characters."""

    source: Source
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    @property
    def text(self) -> str:
        """The whole line; empty behind the end of the source."""
        lines = self.source.lines
        return lines[self.line - 1] if self.line <= len(lines) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a spec, with everything a newcomer needs to mend it.

    Attributes:
        code: `E` or `W` (a warning) and three digits; fixed for ever.
        message: What is wrong, in one line.
        place: Where the caret points.
        label: A few words beside the caret.
        also: Other places that matter, each with its label.
        helps: What to write instead.
        notes: Facts that explain the fault.
    """

    code: str
    message: str
    place: Place | None = None
    label: str = ""
    also: tuple[tuple[Place, str], ...] = ()
    helps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Keeps every sentence on one line, whatever a quoted text of the user holds."""
        object.__setattr__(self, "message", _visible(self.message))
        object.__setattr__(self, "helps", tuple(map(_visible, self.helps)))
        object.__setattr__(self, "notes", tuple(map(_visible, self.notes)))


class FlopwiseError(ValueError):
    """Anything flopwise tells its user instead of a traceback."""


class SpecError(FlopwiseError):
    """One or more faults of what the user wrote."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return render(self.faults)


class BlockError(FlopwiseError):
    """A block cannot be applied: the bare fact, without an address.

    `setting` names the setting at fault, if one is; the language points at it. `repetition` is the
    one in which it happened, set by the stage.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        setting: str | None = None,
        helps: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.setting = code, message, setting
        self.repetition = 0
        self.helps, self.notes = tuple(helps), tuple(notes)


class RunError(FlopwiseError):
    """Work that was asked for correctly but could not be finished."""


def many(count: int, things: str) -> str:
    """Writes a number of things, which are named in the plural.

    >>> many(1, "trials"), many(1_000, "trials")
    ('1 trial', '1,000 trials')
    """
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that `word` was probably meant to be, if any is near.

    Near is an alias, or at most max(1, len / 3) slips of the finger apart.

    >>> nearest("kernal", ["kernel", "stride"]), nearest("Conv2d", ["conv", "vit"])
    ('kernel', 'conv')
    """
    words = list(dict.fromkeys(known))
    folded = _fold(word)
    for meant in ALIASES.get(word.lower().replace("-", "_"), ()):
        if meant in words:
            return meant
    limit = max(1, len(folded) // 3) if len(folded) != 1 else 0  # one letter is no slip
    ranked = sorted((_slips(folded, _fold(other), limit), other) for other in words)
    return ranked[0][1] if ranked and ranked[0][0] <= limit else None


def _fold(word: str) -> str:
    return word[:80].lower().replace("-", "").replace("_", "")


def _slips(a: str, b: str, limit: int) -> int:
    """Optimal string alignment distance: insert, delete, replace, or swap two neighbours."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, above = above, row
    return above[-1]


def render(faults: Iterable[Fault], style: Literal["long", "short", "json"] = "long") -> str:
    """Draws faults as text: `long` with excerpts, `short` one line each, or `json`.

    `json` is a list of objects with the keys code, message, file, line, column, end_column, label,
    help, note (lists) and also (further places: file, line, column, end_column, label). Lines and
    columns count from 1; end_column is the first column behind the place; a fault without a place
    has null there. All faults are listed, not only the first twenty.
    """
    ordered = sorted(faults, key=_order)
    if style == "json":
        return json.dumps([_plain(fault) for fault in ordered], indent=2)
    shown = [_short(fault) if style == "short" else _long(fault) for fault in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        shown.append(f"and {len(ordered) - SHOWN} more")
    return ("\n" if style == "short" else "\n\n").join(shown)


def _order(fault: Fault) -> tuple[bool, bool, str, int, int]:
    place = fault.place
    warning = fault.code.startswith("W")
    if place is None:
        return (warning, False, "", 0, 0)
    return (warning, True, place.source.name, place.line, place.column)


def _title(fault: Fault) -> str:
    kind = "warning" if fault.code.startswith("W") else "error"
    return f"{kind}[{fault.code}]: {fault.message}"


def _short(fault: Fault) -> str:
    return f"{fault.place}: {fault.code} {fault.message}" if fault.place else _title(fault)


def _plain(fault: Fault) -> dict[str, object]:
    return {
        "code": fault.code,
        "message": fault.message,
        **_span(fault.place),
        "label": fault.label,
        "help": list(fault.helps),
        "note": list(fault.notes),
        "also": [{**_span(place), "label": label} for place, label in fault.also],
    }


def _span(place: Place | None) -> dict[str, object]:
    """Returns a place as plain data; `end_column` is the first column behind it."""
    if place is None:
        return {"file": None, "line": None, "column": None, "end_column": None}
    return {
        "file": place.source.name,
        "line": place.line,
        "column": place.column,
        "end_column": place.column + place.width,
    }


def _long(fault: Fault) -> str:
    marks = [(fault.place, fault.label, "^")] if fault.place else []
    marks += [(place, label, "-") for place, label in fault.also]
    gutter = max((len(str(place.line)) for place, _, _ in marks), default=1) + 1
    lines = [_title(fault)]
    rest = list(marks)
    while rest:
        source = rest[0][0].source
        lines.append(f"{' ' * gutter}{'-->' if len(rest) == len(marks) else ':::'} {rest[0][0]}")
        lines += _excerpt([mark for mark in rest if mark[0].source == source], gutter)
        rest = [mark for mark in rest if mark[0].source != source]
    said = [("help", text) for text in fault.helps] + [("note", text) for text in fault.notes]
    for kind, text in [*said, ("more", f"flopwise explain {fault.code}")]:
        lines += _wrapped(f"{' ' * gutter} = {kind}: ", text)
    return "\n".join(lines)


def _wrapped(head: str, text: str) -> list[str]:
    """Writes a sentence behind its head, over several lines where it is long."""
    return textwrap.wrap(
        head + text,
        COLUMNS,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _excerpt(marks: Sequence[tuple[Place, str, str]], gutter: int) -> list[str]:
    """Draws the marked lines of one source, each with its underlines."""
    bar = f"{' ' * gutter} |"
    drawn: list[str] = []
    last = 0
    for place, label, sign in sorted(marks, key=lambda mark: (mark[0].line, mark[2] != "^")):
        if place.line > len(place.source.lines):
            continue
        text, start, width = _cut(place)
        if place.line != last:
            drawn += [bar + " ..."] if last and place.line > last + 1 else []
            drawn.append(f"{place.line:>{gutter}} | {text}".rstrip())
            last = place.line
        drawn.append(f"{bar} {' ' * start}{sign * width} {label}".rstrip())
    return [bar, *drawn, bar] if drawn else []


def _cut(place: Place) -> tuple[str, int, int]:
    """Returns the excerpt line, visible and at most COLUMNS wide, and the caret's span in it."""
    line = place.text
    start, stop = place.column - 1, place.column - 1 + place.width
    lead, body, tail = (_visible(part) for part in (line[:start], line[start:stop], line[stop:]))
    body_width = max(1, len(body))
    text = lead + body + tail
    if len(text) <= COLUMNS:
        return text, len(lead), body_width
    from_ = max(0, min(len(lead) - COLUMNS // 3, len(text) - COLUMNS))
    head = "..." if from_ else ""
    kept = text[from_ : from_ + COLUMNS]
    end = "..." if from_ + COLUMNS < len(text) else ""
    at = len(head) + len(lead) - from_
    return head + kept + end, at, max(1, min(body_width, len(head) + len(kept) - at))


def _visible(text: str) -> str:
    """Spells characters that a terminal would not show, so that the caret stays true."""
    if text.isprintable():
        return text
    spelt = ("<TAB>" if c == "\t" else c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)
    return "".join(spelt)
