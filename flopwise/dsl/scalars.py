"""What a plain YAML scalar means: YAML 1.2, and an error instead of a guess.

`1e-3` is a number and `2026-11-20` is text here, unlike in YAML 1.1. What two YAML readers would
read differently (`yes`, `0777`, `1_000`, `1:30`) is refused, with what to write instead.
"""

from __future__ import annotations

import re
from math import isfinite

__all__ = ["LARGEST", "DoubtfulError", "read_plain", "read_quantity"]

LARGEST = 2**53  # the largest whole number that every YAML and JSON reader keeps exactly

INT = re.compile(r"[-+]?(0|[1-9]\d*)")
FLOAT = re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?")
BOOLS = re.compile(r"(true|false|yes|no|on|off)", re.IGNORECASE)
BASED = re.compile(
    r"[-+]?0(x(_?[0-9a-f])+|o(_?[0-7])+|b(_?[01])+)", re.IGNORECASE
)  # each of them a number to int(text, 0)
ZEROS = re.compile(r"[-+]?0\d+(\.\d*)?([eE][-+]?\d+)?")
UNDERSCORED = re.compile(r"[-+]?\d+(_\d+)+(\.\d*)?")
CLOCK = re.compile(r"[-+]?\d+(:[0-5]?\d)+(\.\d*)?")
NOT_NUMBERS = re.compile(r"[-+]?\.?(nan|inf|infinity)", re.IGNORECASE)
QUANTITY = re.compile(r"((?:0|[1-9]\d*)(?:\.\d+)?)\s?([KMGT])?", re.IGNORECASE)
SCALES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class DoubtfulError(ValueError):
    """A scalar that two readers would read differently: its code, the fact, what to write.

    `meant` is what it probably says; None where nobody can tell.
    """

    def __init__(
        self, code: str, message: str, help: str, meant: bool | int | float | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.help, self.meant = code, message, help, meant


def read_plain(text: str) -> bool | int | float | str | None:
    """Returns the value of a plain scalar.

    Raises:
        DoubtfulError: The text has two readings or is no usable number.

    >>> read_plain("1e-3"), read_plain("true"), read_plain("bn"), read_plain("~")
    (0.001, True, 'bn', None)
    """
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if text[0].isalpha() or text[0] in "$/_":
        return _word(text)
    if INT.fullmatch(text):
        return _whole(text)
    if any(c.isdigit() for c in text) and FLOAT.fullmatch(text):
        return _decimal(text)
    return _odd_number(text)


def _word(text: str) -> str:
    if BOOLS.fullmatch(text):
        truth = "true" if text.lower() in ("true", "yes", "on") else "false"
        raise DoubtfulError(
            "E006",
            f"'{text}' could mean the text \"{text}\" or {truth}",
            f'write {truth}, or "{text}" with quotes',
            truth == "true",
        )
    if text.lower() == "null":
        raise DoubtfulError(
            "E006",
            f"'{text}' could mean the text \"{text}\" or null",
            f'write null, or "{text}" with quotes',
        )
    if NOT_NUMBERS.fullmatch(text):
        raise _no_number(text)
    return text


def _whole(text: str) -> int:
    digits = len(text.lstrip("+-"))
    if digits > 16 or abs(int(text)) > LARGEST:
        raise DoubtfulError(
            "E010",
            f"this number has {digits} digits; the largest allowed is {LARGEST} (2^53)",
            "for a number of operations or parameters write a quantity such as 4.5G",
        )
    return int(text)


def _decimal(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise _no_number(text)
    return value


def _odd_number(text: str) -> str:
    if BASED.fullmatch(text):
        plain = int(text, 0) if len(text) < 20 else None
        wanted = "a decimal number" if plain is None else plain
        raise DoubtfulError(
            "E007",
            f"'{text}' is a number to some YAML readers and text to others",
            f'write {wanted}, or "{text}" for text',
            plain,
        )
    if ZEROS.fullmatch(text):
        plain_text = re.sub(r"^([-+]?)0+(?=\d)", r"\1", text)
        raise DoubtfulError(
            "E007",
            f"'{text}' could be {plain_text} or, in old YAML, an octal number",
            f'write {plain_text}, or "{text}" for text',
            _small(plain_text),
        )
    if UNDERSCORED.fullmatch(text):
        plain_text = text.replace("_", "")
        raise DoubtfulError(
            "E007",
            f"'{text}' could be {plain_text} or text",
            f'write {plain_text}, or "{text}" for text',
            _small(plain_text),
        )
    if CLOCK.fullmatch(text):
        value = 0.0
        for part in text.lstrip("+-").split(":"):
            value = 60 * value + float(part[:300])
        raise DoubtfulError(
            "E008",
            f"'{text}' is read as {value:g} by some YAML readers",
            f'write {value:g}, or "{text}" for text',
        )
    if NOT_NUMBERS.fullmatch(text):
        raise _no_number(text)
    return text


def _small(text: str) -> int | float | None:
    """Returns the number that a text spells, unless it has more digits than anybody writes."""
    if len(text) > 15:
        return None
    return int(text) if INT.fullmatch(text) else float(text)


def _no_number(text: str) -> DoubtfulError:
    return DoubtfulError(
        "E009",
        f"'{text}' is not a usable number here",
        "leave the key out to use its default, or write a finite number",
    )


def read_quantity(text: str) -> tuple[float, float] | None:
    """Returns the value of `4.5G` and half a unit of its last written digit, or None.

    >>> read_quantity("4.5G"), read_quantity("512K"), read_quantity("big")
    ((4500000000.0, 50000000.0), (512000.0, 500.0), None)
    """
    match = QUANTITY.fullmatch(text)
    if not match or len(text) > 40:
        return None
    scale = SCALES[(match[2] or "").upper()]
    places = len(match[1].partition(".")[2])
    return round(float(match[1]) * scale, 6), 0.5 * scale / 10**places
