"""`$name` and `$(expression)`: what they are worth under given names.

The grammar is a small part of Python's: arithmetic, comparisons, `and or not`, `a if c else b`,
lists, and a dozen functions. Types are whole numbers, numbers, true/false, text and lists, and
nothing is converted but a whole number to a number. There is no `eval` and no `ast`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from flopwise.dsl.functions import BINARY, FUNCTIONS, Value, checked, truth
from flopwise.dsl.grammar import BINDING, COMPARE, Term, WrongError, parse
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = ["Expression", "Value", "is_expression", "parse_expression"]

MAX_TEXT = 500

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
    """Whether a text of a spec is `$name` or `$(...)` rather than literal."""
    return text.startswith("$") and len(text) > 1 and (text[1] == "(" or text[1:2].isidentifier())


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


def _evaluate(term: Term, scope: Scope) -> Value:
    kind, _, word = term.kind.partition(" ")
    if kind == "value":
        return term.value
    if kind == "name":
        return _look_up(cast(str, term.value), term, scope)
    if kind in ("if", "and", "or"):
        return _choose(kind, term, scope)
    if kind == "infix" and BINDING[word] == COMPARE:
        _hint_quotes(term, scope)
    values = [_evaluate(part, scope) for part in term.parts]
    operation: Callable[..., Value] = {
        "list": lambda *items: tuple(items),
        "index": BINARY["["],
        "prefix": BINARY["0-"] if word == "-" else BINARY["not"],
        "call": FUNCTIONS.get(word, FUNCTIONS["len"]),
        "infix": BINARY.get(word, BINARY["+"]),
    }[kind]
    try:
        return checked(operation(*values))
    except TypeError:  # the operands' types are checked inside, so their number is wrong
        fact = f"{word}() does not take {len(values)} values"
        raise WrongError("E407", fact, term.at, term.width) from None
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise WrongError("E407", str(error), term.at, term.width) from None


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


def _look_up(name: str, term: Term, scope: Scope) -> Value:
    if name in scope:
        return scope[name]
    near = nearest(name, scope)
    helps = [f"did you mean '{near}'?"] if near else []
    if "." in name and name.partition(".")[0] not in ("input", "net"):
        helps = [
            "one stage cannot read another's settings; give the shared value a name under vars"
        ]
    known = ", ".join(sorted(scope)) or "none"
    helps.append(f"names in scope: {known}")
    raise WrongError("E401", f"unknown name '{name}' in an expression", term.at, term.width, *helps)


def _hint_quotes(term: Term, scope: Scope) -> None:
    """A bare word compared with something is usually a text whose quotes were forgotten."""
    for part in reversed(term.parts):
        if part.kind == "name" and part.value not in scope and not nearest(str(part.value), scope):
            fact = f"unknown name '{part.value}' in an expression"
            help_ = f"for the text put quotes around it: '{part.value}'"
            raise WrongError("E401", fact, part.at, part.width, help_)
