"""What a value of the wrong kind was probably meant to be: the help of E201 and E202."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flopwise.dsl.functions import Value, show
from flopwise.dsl.grammar import WrongError, parse
from flopwise.dsl.scalars import DoubtfulError, read_plain, read_quantity

__all__ = ["meant_by_list", "meant_by_text"]

BRACED = re.compile(r"f?[\"']?[{$\s]+([A-Za-z_][\w.]*)[}\s]+[\"']?")
COUNTED = re.compile(r"(\d+(?:\.\d+)?)\s?([KMGT])(?:i?FLOPS?|MACS?|ADDS?|OPS?|PARAMS?|B)\b", re.I)


def meant_by_text(text: str, wanted: str) -> str:
    """Returns what to write for a text where a rule wants another type, or nothing.

    >>> meant_by_text("3", "int"), meant_by_text("2*w", "int"), meant_by_text("4K", "int")
    ('write 3 without quotes', 'write $(2*w)', 'write 4000')
    """
    bare = text.strip().rstrip(",").strip()
    if fits := _plain(bare, wanted):
        return f"write {fits} without " + ("the comma" if bare != text.strip() else "quotes")
    if match := BRACED.fullmatch(bare):
        return f"write ${match[1]}"
    if match := COUNTED.fullmatch(bare):
        return f"write {match[1]}{match[2].upper()}"
    if wanted in ("int", "float") and bare[:1].isdigit():
        if bare.endswith("%") and wanted == "float" and (share := read_quantity(bare[:-1].strip())):
            return f"write {share[0] / 100:g}"
        if quantity := read_quantity(bare):
            return f"write {quantity[0]:.0f}"
    if wanted == "bool" and not _computes(bare.partition("==")[2]):
        bare = re.sub(r"([!=]=\s*)([A-Za-z_]\w*)$", r"\1'\2'", bare)  # a word is mostly a text
    return f"write $({bare})" if _computes(bare) else ""


def meant_by_list(values: Sequence[Value]) -> str:
    """Returns how a single value, or one for each repetition, is written for a list of them.

    >>> meant_by_list([3, 3]), meant_by_list([8, 16])
    ('3', '"$(pick(i, 8, 16))"')
    """
    if len(set(values)) == 1:
        return str(values[0])
    return f'"$(pick(i, {", ".join(map(show, values))}))"'


def _plain(text: str, wanted: str) -> str:
    """Returns the text if it is what is wanted and only quotes make it text."""
    try:
        value = read_plain(text) if text else None
    except DoubtfulError:
        return ""
    if wanted == "bool":
        return text if isinstance(value, bool) else ""
    number = isinstance(value, int if wanted == "int" else int | float)
    return text if number and not isinstance(value, bool) and wanted in ("int", "float") else ""


def _computes(text: str) -> bool:
    """Whether a text is an expression with a name and an operator, without its $( )."""
    try:
        term = parse(text) if len(text) < 100 else None
    except WrongError:
        return False
    return term is not None and term.kind not in ("name", "value", "list")
