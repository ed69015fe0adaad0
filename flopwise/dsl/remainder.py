"""The faults behind the place where YAML gives up.

A line that is not YAML hides whatever is wrong below it. It is taken out, or its unquoted
expression made harmless, and the rest is read again, so that one run tells all faults of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flopwise.dsl.refusals import balanced
from flopwise.dsl.tree import Builder
from flopwise.errors import Fault

__all__ = ["faults_of_rest"]

READ = 200_000
"""Characters that may be read again; a larger text is told of its first broken line only."""
ROUNDS = 20


def faults_of_rest(
    text: str, faults: Sequence[Fault], built: Callable[[str], tuple[Builder, bool]]
) -> list[Fault]:
    """Returns faults, and those that show once the broken lines are out of the way.

    Args:
        text: A text that is not YAML.
        faults: What is wrong with it up to where YAML gave up.
        built: Reads a text; whether YAML gave up on that too.
    """
    found = {_key(fault): fault for fault in faults}
    lines, new = text.split("\n"), list(faults)
    for _ in range(min(ROUNDS, READ // (len(text) + 1))):
        for fault in new:
            _take_out(lines, fault)
        builder, broken = built("\n".join(lines))
        new = [f for f in (*builder.faults, *builder.doubts) if _key(f) not in found]
        found |= {_key(fault): fault for fault in new}
        if not broken or not new:
            break
    return list(found.values())


def _key(fault: Fault) -> tuple[str, int, int]:
    place = fault.place
    return (fault.code, place.line, place.column) if place else (fault.code, 0, 0)


def _take_out(lines: list[str], fault: Fault) -> None:
    """Empties the line of a fault and those below it that are indented deeper."""
    if fault.place is None or fault.place.line > len(lines):
        return
    at, column = fault.place.line - 1, fault.place.column - 1
    line = lines[at]
    cut = fault.code == "E012" and line.startswith("$(", column)
    whole = balanced(line[column:]) if cut else ""
    if whole:
        lines[at] = f"{line[:column]}${'x' * (len(whole) - 1)}{line[column + len(whole) :]}"
        return
    indent = len(line) - len(line.lstrip())
    lines[at] = ""
    for below in range(at + 1, len(lines)):
        text = lines[below]
        if text.strip() and len(text) - len(text.lstrip()) <= indent:
            return
        lines[below] = ""
