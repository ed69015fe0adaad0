"""What a key may hold: types, ranges, choices, quantities, and what to say when it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal, Protocol, TypeAlias

from flopwise.dsl.functions import Value, kind_of, show
from flopwise.dsl.meaning import meant_by_text
from flopwise.dsl.scalars import read_quantity
from flopwise.errors import nearest

__all__ = [
    "Misfit",
    "Rule",
    "RuleLike",
    "RuleType",
    "by_key",
    "fit",
    "read_share",
    "read_window_edge",
]

RuleType: TypeAlias = Literal[
    "int",
    "float",
    "bool",
    "text",
    "list[int]",
    "quantity",
    "percent",
    "size",
    "map",
    "list",
    "any",
    "value",
]
WANTED: Mapping[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "text",
    "list[int]": "a list of whole numbers",
    "quantity": "a quantity such as 4.5G, 30M or 512K",
    "percent": "a share such as 1% or 0.01",
    "size": "one whole number, or [height, width]",
    "map": "a map of keys",
    "list": "a list",
}
EXAMPLES: Mapping[str, str] = {"int": "$(2*w)", "float": "$(w/2)"}


class RuleLike(Protocol):
    """What `fit` reads of a rule; a block's `Field` has it too."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102
    @property
    def odd(self) -> bool: ...  # noqa: D102
    @property
    def multiple_of(self) -> int | None: ...  # noqa: D102
    @property
    def choices(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one key of a section may hold.

    Attributes:
        name: The key.
        type: What kind of value.
        doc: One line of help.
        required: Whether the key must be there.
        example: How the key may be written.
        low: Smallest allowed number.
        high: Largest allowed number.
        odd: Whether even numbers are refused.
        multiple_of: What a number must be a multiple of.
        choices: The allowed texts, if they are closed.
    """

    name: str
    type: RuleType
    doc: str = ""
    required: bool = False
    example: str = ""
    low: float | None = None
    high: float | None = None
    odd: bool = False
    multiple_of: int | None = None
    choices: tuple[str, ...] = ()


def by_key(*rules: Rule) -> Mapping[str, Rule]:
    """Returns rules by the key they are for."""
    return {rule.name: rule for rule in rules}


class Misfit(ValueError):  # noqa: N818  a fact about a value, not a failure of the program
    """Why a value does not fit a rule: code, message, a label for the caret, and the way out."""

    def __init__(self, code: str, message: str, label: str, *helps: str, note: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.label = code, message, label
        self.helps, self.note = helps, note


def fit(value: Value, rule: RuleLike, what: str, *, computed: bool = False) -> Value:
    """Returns the value as its rule wants it: a whole number becomes a number where one is due.

    Args:
        value: A scalar or list.
        rule: What is allowed.
        what: The setting in words, such as `'depth' of block 'conv'`.
        computed: Whether an expression gave the value.

    Raises:
        Misfit: It does not fit.
    """
    if rule.type in ("quantity", "percent", "size", "list[int]"):
        return _fit_special(value, rule, what)
    if not _has_type(value, rule.type):
        raise _wrong_type(value, rule, what, computed)
    if isinstance(value, bool) or not isinstance(value, int | float):
        if rule.choices and value not in rule.choices:
            raise _no_choice(str(value), rule, what)
        return value
    _check_number(value, rule, what)
    return float(value) if rule.type == "float" else value


def _has_type(value: Value, wanted: str) -> bool:
    if wanted == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted == "bool":
        return isinstance(value, bool)
    return isinstance(value, str)


def _wrong_type(value: Value, rule: RuleLike, what: str, computed: bool) -> Misfit:
    label = f"this is {kind_of(value)}"
    if rule.type == "int" and isinstance(value, float):
        code = "E402" if computed else "E202"
        whole = value == int(value)
        fact = f"{value:g} is not a whole number, but {what} must be one"
        if whole:
            fact = f"{value!r} is a decimal number, but {what} must be a whole number"
        help_ = (
            "use // or round()" if computed else f"write {max(round(value), int(rule.low or 0))}"
        )
        return Misfit(code, fact, label, help_)
    if rule.type == "text" and rule.choices:
        return Misfit(
            "E202", f"{what} must be one of its words", label, f"use one of: {_list(rule.choices)}"
        )
    bounds = _bounds(rule)
    helps = [f"write {WANTED[rule.type]}{bounds}"]
    meant = meant_by_text(value, rule.type) if isinstance(value, str) else ""
    if rule.type == "text":
        helps = [f'write text, or "{show(value)}" in quotes']
    elif meant:
        helps = [meant]
    elif isinstance(value, str) and value.isidentifier():
        helps.append(f"if {value} is a variable, write ${value}")
    elif rule.type in EXAMPLES:
        helps.append(f"or an expression such as {EXAMPLES[rule.type]}")
    return Misfit("E202", f"{what} must be {WANTED[rule.type]}", label, *helps)


def _bounds(rule: RuleLike) -> str:
    if rule.low is not None and rule.high is not None:
        return f" from {_plain(rule.low)} to {_plain(rule.high)}"
    if rule.high is not None:
        return f" of at most {_plain(rule.high)}"
    return f" of at least {_plain(rule.low)}" if rule.low is not None else ""


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words)


def _no_choice(value: str, rule: RuleLike, what: str) -> Misfit:
    near = nearest(value, rule.choices)
    helps = [f"did you mean '{near}'?"] if near else []
    fact = f"{what} cannot be '{value}'"
    return Misfit("E204", fact, "unknown word", *helps, note=f"words: {_list(rule.choices)}")


def _check_number(value: float, rule: RuleLike, what: str) -> None:
    _check_range(value, rule, what)
    if rule.odd and value % 2 == 0:
        near = sorted({max(1, int(value) - 1), int(value) + 1})
        raise Misfit(
            "E206",
            f"{what} is {value}, an even number",
            "must be odd",
            f"use {' or '.join(map(str, near))}: only an odd size has a middle",
        )
    if rule.multiple_of and value % rule.multiple_of:
        step = rule.multiple_of
        near = sorted({max(step, int(value // step) * step), (int(value // step) + 1) * step})
        raise Misfit(
            "E207",
            f"{what} is {value}, not a multiple of {step}",
            f"must be a multiple of {step}",
            f"use {' or '.join(map(str, near))}",
        )


def _check_range(value: float, rule: RuleLike, what: str) -> None:
    if rule.low is not None and value < rule.low:
        fact, label = f"{what} must be at least {_plain(rule.low)}, but it is {value}", "too small"
    elif rule.high is not None and value > rule.high:
        fact, label = f"{what} must be at most {_plain(rule.high)}, but it is {value}", "too large"
    else:
        return
    helps = [f"write {WANTED[rule.type]}{_bounds(rule)}"]
    if rule.name == "depth" and value == 0:
        helps.append("to leave the stage out write  when: false")
    raise Misfit("E203", fact, label, *helps)


def _fit_special(value: Value, rule: RuleLike, what: str) -> Value:
    """Fits a quantity, a share or a size, which are written in ways of their own."""
    found: Value | None = None
    if rule.type == "size":
        found = _size(value)
    elif rule.type == "list[int]":
        found = (
            value if isinstance(value, tuple) and all(_has_type(v, "int") for v in value) else None
        )
    elif rule.type == "percent":
        found = read_share(value)
    elif (read := read_window_edge(value, up=False)) is not None:
        found = read
    if found is None:
        label = f"this is {kind_of(value)}"
        meant = meant_by_text(value, rule.type) if isinstance(value, str) else ""
        advice = meant or _advice(rule)
        if rule.type == "size" and isinstance(value, tuple) and len(value) == 3:
            advice = "write height and width, and  channels  beside them"
        raise Misfit("E202", f"{what} must be {WANTED[rule.type]}", label, advice)
    if rule.type == "percent" and found == 1 and not isinstance(value, str):
        fact = f"{what} is 1, which means all of it, not one percent"
        raise Misfit("E203", fact, "too large", "write 1%, or 100% if that is meant")
    for part in found if isinstance(found, tuple) else (found,):
        _check_number(part, rule, what)  # type: ignore[arg-type]
    return found


def _advice(rule: RuleLike) -> str:
    return {
        "list[int]": "write a list such as [64, 128]",
        "size": "write  size: 224  or  size: [192, 256]",
        "percent": "write a share such as 1%",
        "quantity": "write a quantity such as 4.5G (K, M, G, T are 10^3, 10^6, 10^9, 10^12)",
    }[rule.type]


def _size(value: Value) -> Value | None:
    if _has_type(value, "int"):
        return value
    pair = isinstance(value, tuple) and len(value) == 2
    return value if pair and all(_has_type(v, "int") for v in value) else None  # type: ignore[union-attr]


def read_share(value: Value) -> float | None:
    """Returns `1%` as 0.01, and a plain number as it is."""
    if isinstance(value, str) and value.endswith("%"):
        read = read_quantity(value[:-1].strip())
        return read[0] / 100 if read else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_window_edge(value: Value, *, up: bool) -> int | None:
    """Returns a quantity as a whole number, rounded up or down when it has a fraction."""
    if isinstance(value, bool | tuple):
        return None
    read = read_quantity(value) if isinstance(value, str) else None
    plain = read[0] if read else value
    if isinstance(plain, str) or plain < 0:
        return None
    return ceil(plain) if up else floor(plain)
