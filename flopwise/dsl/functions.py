"""What the operators and functions of expressions compute, and on which types.

Every function raises `ValueError` with a sentence for the user when its operands make no sense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, floor, isfinite, log, sqrt
from typing import TypeAlias

from flopwise.blocks.parts import divisible
from flopwise.dsl.scalars import LARGEST, read_quantity

__all__ = ["BINARY", "FUNCTIONS", "Value", "checked", "kind_of", "show", "truth", "unwritten"]

Value: TypeAlias = "bool | int | float | str | tuple[Value, ...]"
Number: TypeAlias = int | float


def kind_of(value: object) -> str:
    """Names the type of a value in the words of the language."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, tuple) else "nothing"


def checked(value: Value) -> Value:
    """Returns the value if it is one that every step can hold exactly."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("the result is not a finite number")
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise ValueError("the result is larger than 2^53")
    if isinstance(value, str | tuple) and len(value) > 1000:
        raise ValueError("the result is longer than 1000")
    return value


def _number(value: Value) -> Number:
    """Returns the value if it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        share = read_quantity(value[:-1]) if isinstance(value, str) and value[-1:] == "%" else None
        instead = f": write {share[0] / 100:g}" if share else ""
        fact = f"a number is needed, but this is {kind_of(value)} ({show(value)})"
        raise ValueError(fact + instead)
    return value


def truth(value: Value) -> bool:
    """Returns the value if it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"true or false is needed, but this is {kind_of(value)} ({show(value)})")
    return value


def unwritten(name: str) -> str:
    """Says what holds where a setting without a default is not written."""
    return "as its input" if name == "dim" else "left out"


def show(value: Value) -> str:
    """Spells a value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    return f"'{value}'" if isinstance(value, str) else repr(value)


def _listed(value: Value) -> tuple[Value, ...]:
    """Returns the value if it is a list."""
    if not isinstance(value, tuple):
        raise ValueError(f"a list is needed, but this is {kind_of(value)} ({show(value)})")
    return value


def _divide(a: Value, b: Value) -> Value:
    """`a / b`: a whole number when it comes out even."""
    x, y = _number(a), _number(b)
    if y == 0:
        raise ValueError("division by zero")
    if isinstance(x, int) and isinstance(y, int) and x % y == 0:
        return x // y
    return x / y


def _whole_divide(a: Value, b: Value) -> Value:
    """`a // b`: rounded down."""
    if _number(b) == 0:
        raise ValueError("division by zero")
    return _number(a) // _number(b)


def _remainder(a: Value, b: Value) -> Value:
    """`a % b`: what `//` leaves."""
    if _number(b) == 0:
        raise ValueError("division by zero")
    return _number(a) % _number(b)


def _equal(a: Value, b: Value) -> bool:
    """`a == b`, of two values of the same type."""
    plain = [int if type(v) in (int, float) else type(v) for v in (a, b)]
    if plain[0] is not plain[1]:
        raise ValueError(f"{kind_of(a)} ({show(a)}) is compared with {kind_of(b)} ({show(b)})")
    return a == b


def _contains(a: Value, b: Value) -> bool:
    """`a in b`, where b is a list."""
    return any(type(a) is type(item) and a == item for item in _listed(b)) or (
        not isinstance(a, bool) and isinstance(a, int | float) and a in _listed(b)
    )


def _item(a: Value, i: Value) -> Value:
    """`a[i]`, counted from 0."""
    items = _listed(a)
    if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < len(items):
        raise ValueError(f"index {show(i)} is not in a list of {len(items)} (counted from 0)")
    return items[i]


def _multiple(x: Value, m: Value) -> int:
    """Rounds to a multiple of m, half up, at least m."""
    step = _step(m, "multiple")
    return max(step, floor(_number(x) / step + 0.5) * step)


def _divisible(x: Value, m: Value) -> int:
    """The same, but one step more where that is below 90 % of x: the widths of MobileNets."""
    return divisible(_number(x), _step(m, "divisible"))


def _step(value: Value, name: str) -> int:
    """Returns the argument if it is a whole number above 0."""
    step = _number(value)
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"{name}() needs a whole number above 0, but this is {show(value)}")
    return step


def _pick(index: Value, *choices: Value) -> Value:
    """`pick(i, a, b, c)` is a for i = 0, b for i = 1, and so on."""
    if isinstance(index, int) and not isinstance(index, bool) and index >= len(choices):
        raise ValueError(
            f"pick() has {len(choices)} values, but {index} asks for number {index + 1}: "
            "write one for each repetition"
        )
    return _item(choices, index)


def _power(x: Value, y: Value) -> Number:
    """`pow(x, y)`: whole when both are and y is not negative, as far as that is exact."""
    base, exponent = _number(x), _number(y)
    if base == 0 and exponent < 0:
        raise ValueError("division by zero")
    try:
        found = float(base) ** exponent  # overflows where a whole number would grow for ever
    except OverflowError:
        raise ValueError("the result is larger than 2^53") from None
    if isinstance(found, complex):
        raise ValueError(f"a root of the negative number {show(x)} is not real")
    exact = isinstance(base, int) and isinstance(exponent, int) and exponent >= 0
    return base**exponent if exact and abs(found) <= LARGEST else found


def _above_zero(x: Value, name: str) -> Number:
    """Returns the argument if it is a number above 0."""
    if _number(x) <= 0:
        raise ValueError(f"{name}() needs a number above 0, but this is {show(x)}")
    return _number(x)


def _root(x: Value) -> float:
    """Returns the square root."""
    return sqrt(_number(x)) if _number(x) == 0 else sqrt(_above_zero(x, "sqrt"))


def _numbers(values: tuple[Value, ...]) -> list[Number]:
    """Returns the arguments, or the items of a single list, as numbers."""
    single = values[0] if len(values) == 1 and isinstance(values[0], tuple) else values
    if not single:
        raise ValueError("at least one number is needed")
    return [_number(value) for value in single]


BINARY: Mapping[str, Callable[..., Value]] = {
    "+": lambda a, b: _number(a) + _number(b),
    "-": lambda a, b: _number(a) - _number(b),
    "*": lambda a, b: _number(a) * _number(b),
    "/": _divide,
    "//": _whole_divide,
    "%": _remainder,
    "==": _equal,
    "!=": lambda a, b: not _equal(a, b),
    "<": lambda a, b: _number(a) < _number(b),
    "<=": lambda a, b: _number(a) <= _number(b),
    ">": lambda a, b: _number(a) > _number(b),
    ">=": lambda a, b: _number(a) >= _number(b),
    "in": _contains,
    "[": _item,
    "0-": lambda a: -_number(a),
    "not": lambda a: not truth(a),
}
"""Operators; `0-` is the sign and `[` the index."""

FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "min": lambda *values: min(_numbers(values)),
    "max": lambda *values: max(_numbers(values)),
    "abs": lambda x: abs(_number(x)),
    "floor": lambda x: floor(_number(x)),
    "ceil": lambda x: ceil(_number(x)),
    "round": lambda x: round(_number(x)),
    "len": lambda x: len(_listed(x)),
    "sum": lambda *values: sum(_numbers(values)),
    "pow": _power,
    "sqrt": _root,
    "log": lambda x: log(_above_zero(x, "log")),
    "multiple": _multiple,
    "divisible": _divisible,
    "pick": _pick,
}
"""Functions; `round` takes the even neighbour of a half, as Python's does."""
