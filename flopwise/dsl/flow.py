"""Plain data as text in YAML's flow style, spelt so that every reader reads the same."""

from __future__ import annotations

from collections.abc import Mapping

from flopwise.dsl.expr import is_expression
from flopwise.dsl.scalars import DoubtfulError, read_plain

__all__ = ["flow", "text"]

PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-")


def flow(value: object) -> str:
    """Returns data in flow style.

    >>> flow({"block": "conv", "dim": 64, "norm": "no"})
    '{block: conv, dim: 64, norm: "no"}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return text(value) if isinstance(value, str) else "null" if value is None else str(value)


def text(value: str) -> str:
    """Returns a text, in quotes where it would be read as something else."""
    plain = bool(value) and set(value) <= PLAIN and value[0] not in "-./0123456789"
    try:
        same = plain and read_plain(value) == value and not is_expression(value)
    except DoubtfulError:
        same = False
    if same:
        return value
    body = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{body}"'


def _number(value: float) -> str:
    """Spells a decimal so that YAML 1.1 readers take it for a number too: 1.0e-06."""
    digits = repr(value)
    mantissa, exponent, power = digits.partition("e")
    return f"{mantissa}.0{exponent}{power}" if exponent and "." not in mantissa else digits
