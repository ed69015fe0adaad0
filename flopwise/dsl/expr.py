"""`$name` and `$(expression)`: what they are worth under given names.

The grammar is a small part of Python's: arithmetic, comparisons, `and or not`, `a if c else b`,
lists, and a dozen functions. Types are whole numbers, numbers, true/false, text and lists, and
nothing is converted but a whole number to a number. There is no `eval` and no `ast`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from flopwise.dsl.functions import BINARY, FUNCTIONS, Value, checked, truth
from flopwise.dsl.grammar import BINDING, COMPARE, Term, WrongError, parse
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = ["Expression", "Value", "is_expression", "parse_expression"]

MAX_TEXT = 500
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

Scope: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: its text without `$` and outer parentheses, and the names it uses."""

    text: str
    place: Place
    names: frozenset[str]
    _tree: Term
    _offset: int

    def __str__(self) -> str:
        return self.text

    def unknown(self, known: Collection[str]) -> list[Fault]:
        """Returns a fault for every name that is not among the known ones."""
        found = _unknown(self._tree, known, compared=False)
        return [_fault(error, self.place, self._offset) for error in found]

    def equated(self) -> frozenset[str | float]:
        """Returns the names and decimals that `==`, `!=` and `in` compare directly."""
        return frozenset(_equated(self._tree))

    def compared(self) -> tuple[str, str, Value] | None:
        """Returns name, operator and value where it compares a name with a plain value."""
        kind, _, word = self._tree.kind.partition(" ")
        parts = [part.kind for part in self._tree.parts]
        if kind != "infix" or parts != ["name", "value"]:
            return None
        name, value = self._tree.parts
        return str(name.value), word, value.value

    def evaluate(self, scope: Scope) -> Value:
        """Returns the value under the given names.

        Raises:
            SpecError: A name is unknown (E401) or the operation makes no sense (E407).
        """
        try:
            return _evaluate(self._tree, scope)
        except WrongError as error:
            raise SpecError([_fault(error, self.place, self._offset)]) from None


def is_expression(text: str) -> bool:
    """Whether a text of a spec is meant as `$name` or `$(...)` rather than literally."""
    return text.startswith("$") and len(text) > 1 and (text[1] in "({" or text[1].isidentifier())


def parse_expression(text: str, place: Place) -> Expression:
    """Returns the expression that a text such as `$w` or `$(2 * w)` holds.

    Args:
        text: The scalar, `$` included.
        place: Where the text itself begins (inside its quotes).

    Raises:
        SpecError: The text is no expression (E406).
    """
    bracketed = text.startswith("$(")
    offset = 2 if bracketed else 1
    try:
        if len(text) > MAX_TEXT:
            raise WrongError("E406", f"an expression may have at most {MAX_TEXT} characters", 0)
        if bracketed and not text.endswith(")"):
            raise _unfinished(text, offset)
        if not bracketed and not NAME.fullmatch(text[1:]):
            inner = text[1:].strip("{} ").removeprefix("vars.")
            help_ = f"write  ${inner}" if NAME.fullmatch(inner) else f"write  $({inner})"
            if shell := re.match(r"(\w+):?[-=?+]", inner):
                help_ = f"write  ${shell[1]}  and its value under vars; no environment is read"
            fact = "only a single name may follow $ without parentheses"
            raise WrongError("E406", fact, 0, len(text) - 1, help_)
        body = text[2:-1] if bracketed else text[1:]
        tree = parse(body)
    except WrongError as error:
        raise SpecError([_fault(error, place, offset)]) from None
    return Expression(body.strip(), place, frozenset(_names(tree)), tree, offset)


def _unfinished(text: str, offset: int) -> WrongError:
    if text.count("(") > text.count(")"):
        return WrongError("E406", "')' is missing at the end", len(text) - offset, 1)
    after = text.rfind(")") + 1 - offset
    help_ = "write the whole value inside $( ... )"
    return WrongError("E406", "the text goes on after the expression", after, 1, help_)


def _fault(error: WrongError, place: Place, offset: int) -> Fault:
    if place.width:  # the text stands in the file as it is, so columns can be counted
        column, width = place.column + offset + error.at, max(1, error.width)
        place = Place(place.source, place.line, column, width)
    else:
        place = Place(place.source, place.line, place.column)
    return Fault(code=error.code, message=error.message, place=place, helps=error.helps)


def _names(term: Term) -> Iterator[str]:
    if term.kind == "name":
        yield cast(str, term.value)
    for part in term.parts:
        yield from _names(part)


def _equated(term: Term) -> Iterator[str | float]:
    if term.kind in ("infix ==", "infix !=", "infix in"):
        for part in term.parts:
            if part.kind == "name" or isinstance(part.value, float):
                yield cast(str | float, part.value)
    for part in term.parts:
        yield from _equated(part)


def _unknown(term: Term, known: Collection[str], *, compared: bool) -> Iterator[WrongError]:
    if term.kind == "name" and term.value not in known:
        helps = _meant(str(term.value), known, compared)
        fact = f"unknown name '{term.value}' in an expression"
        yield WrongError("E401", fact, term.at, term.width, *helps)
    compared = term.kind.startswith("infix") and BINDING[term.kind[6:]] == COMPARE
    for part in term.parts:
        yield from _unknown(part, known, compared=compared)


def _meant(name: str, known: Collection[str], compared: bool) -> list[str]:
    """Says what an unknown name may have been meant to be."""
    near = nearest(name, known)
    helps = [f"did you mean '{near}'?"] if near else []
    section, _, last = name.rpartition(".")
    if section == "vars" and last in known:
        return [f"write  {last}  alone"]
    if name in ("i", "n"):
        helps = [f"'{name}' counts repetitions, so only stages know it"]
    elif "." in name and not near:
        helps = ["a stage cannot read another's settings: give the shared value a name under vars"]
    if compared and not near:  # a bare word in a comparison is usually a text without its quotes
        helps = [f"for the text put quotes around it: '{name}'"]
    return [*helps, f"names in scope: {', '.join(sorted(known)) or 'none'}"]


def _evaluate(term: Term, scope: Scope) -> Value:
    kind, _, word = term.kind.partition(" ")
    if kind == "value":
        return term.value
    if kind == "name":
        for error in _unknown(term, scope, compared=False):
            raise error
        return scope[str(term.value)]
    if kind in ("if", "and", "or"):
        return _choose(kind, term, scope)
    values = [_evaluate(part, scope) for part in term.parts]
    try:
        return checked(_operation(kind, word)(*values))
    except TypeError:  # the operands' types are checked inside, so their number is wrong
        fact = f"{word}() does not take {len(values)} values"
        code = getattr(FUNCTIONS.get(word), "__code__", None)
        takes = ", ".join(code.co_varnames[: code.co_argcount]) if code else ""
        helps = [f"write  {word}({takes})"] if takes else []
        helps += ["the logarithm to base 2 is  log(x) / log(2)"] if word == "log" else []
        raise WrongError("E407", fact, term.at, term.width, *helps) from None
    except (ValueError, OverflowError) as error:
        raise WrongError("E407", str(error), term.at, term.width) from None


def _operation(kind: str, word: str) -> Callable[..., Value]:
    if kind == "infix":
        return BINARY[word]
    if kind == "call":
        return FUNCTIONS[word]
    if kind == "prefix":
        return BINARY["0-" if word == "-" else word]
    return BINARY["["] if kind == "index" else lambda *items: items


def _choose(kind: str, term: Term, scope: Scope) -> Value:
    """Evaluates only the branches that are needed, as Python does."""
    first = term.parts[0]
    try:
        met = truth(_evaluate(first, scope))
        if kind == "if":
            return _evaluate(term.parts[1 if met else 2], scope)
        if met == (kind == "or"):
            return met
        return truth(_evaluate(term.parts[1], scope))
    except ValueError as error:
        raise WrongError("E407", f"'{kind}': {error}", term.at, term.width) from None
