"""The parameters of a composite block: types, defaults and limits, as fields of a block."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from flopwise.blocks import Field
from flopwise.dsl.checker import Checker
from flopwise.dsl.functions import Value
from flopwise.dsl.tables import NODE, PARAM, RESERVED_VARIABLES
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Rule
from flopwise.errors import Place

__all__ = ["read_params"]

NUMBERS = ("int", "float", "list[int]")
LIMITS = {
    "min": NUMBERS,
    "max": NUMBERS,
    "odd": ("int", "list[int]"),
    "multiple_of": ("int", "list[int]"),
    "choices": ("choice",),
}
"""Which types a limit may stand beside."""


def read_params(
    checker: Checker, section: Section, block: str, ports: Collection[str]
) -> Iterator[tuple[str, Field]]:
    """Yields the parameters of a block by name."""
    for name, node in section.entries.items():
        place = section.keys[name]
        if "." in name or name in RESERVED_VARIABLES or name in NODE or name in ports:
            fact = f"a parameter cannot be called '{name}'"
            why = "this word has a meaning of its own here"
            checker.fault("E108", fact, place, "choose another name", label=why)
        elif field := _param(checker, name, node, place, f"parameter '{name}' of block '{block}'"):
            yield name, field


def _param(checker: Checker, name: str, node: Node, place: Place, what: str) -> Field | None:
    if isinstance(node, Scalar):  # dim: int
        word = checker.literal(node, PARAM["type"], f"the type of {what}")
        if word == "choice":
            help_ = f"write  {name}: {{type: choice, choices: [a, b]}}"
            checker.fault("E106", f"{what} has no 'choices'", node.place, help_)
            return None
        return _field(name, {"type": word}, ()) if word is not None else None
    if not isinstance(node, Section):
        help_ = f"write  {name}: int  or  {name}: {{type: int, default: 64}}"
        checker.fault("E201", f"{what} must be a type, or a map", node.place, help_)
        return None
    before = len(checker.faults)
    found = checker.literals(node, PARAM, what, place)
    choices = tuple(_choices(checker, node, what))
    if len(checker.faults) > before:
        return None
    _check_limits(checker, node, found, what)
    if len(checker.faults) > before:
        return None
    field = _field(name, found, choices)
    if "default" in found:
        at = node.entries["default"].place
        checker.fits(found["default"], field, f"the default of {what}", at, literal=True)
    return field


def _choices(checker: Checker, node: Section, what: str) -> Iterator[str]:
    """Yields the words of a choice."""
    written = node.entries.get("choices")
    if written is None:
        return
    rule = Rule(name="choices", type="text")
    for item in written.items if isinstance(written, Items) else (written,):
        word = checker.literal(item, rule, f"a word of {what}")
        if isinstance(word, str):
            yield word


def _check_limits(checker: Checker, node: Section, found: Mapping[str, Value], what: str) -> None:
    """Checks that each limit means something for the type, and that they leave something."""
    type_ = found["type"]
    for limit, types in LIMITS.items():
        if limit in node.entries and type_ not in types:
            fact = f"'{limit}' means nothing for {what}, which is of type {type_}"
            help_ = f"delete it; it belongs to {' or '.join(types)}"
            checker.fault("E209", fact, node.keys[limit], help_)
    low, high = found.get("min"), found.get("max")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        fact = f"'min' {low:g} of {what} is above 'max' {high:g}"
        checker.fault("E209", fact, node.keys["min"], "swap them")
    if type_ == "choice" and "choices" not in node.entries:
        help_ = "add  choices: [a, b]"
        checker.fault("E106", f"{what} has no 'choices'", node.keys["type"], help_)


def _field(name: str, found: Mapping[str, Value], choices: tuple[str, ...]) -> Field:
    type_ = str(found["type"])
    default = found.get("default")
    return Field(
        name=name,
        type="text" if type_ == "choice" else type_,  # type: ignore[arg-type]
        default=float(default) if type_ == "float" and isinstance(default, int) else default,  # type: ignore[arg-type]
        required="default" not in found,
        choices=choices,
        low=found.get("min"),  # type: ignore[arg-type]
        high=found.get("max"),  # type: ignore[arg-type]
        odd=found.get("odd") is True,
        multiple_of=found.get("multiple_of"),  # type: ignore[arg-type]
        doc=str(found.get("doc", "")),
    )
