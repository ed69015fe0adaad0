"""The grammar of expressions: tokens, and a Pratt parser that turns them into a tree of terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from flopwise.dsl.functions import FUNCTIONS, Value, checked
from flopwise.errors import nearest

__all__ = ["BINDING", "COMPARE", "Term", "WrongError", "parse"]

MAX_TOKENS = 200
MAX_DEPTH = 32

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<text>'[^']*')"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
    r"|(?P<sign>==|!=|<=|>=|//|[-+*/%<>()\[\],]))"
)
BINDING = {
    "if": 1, "or": 2, "and": 3, "==": 5, "!=": 5, "<": 5, "<=": 5, ">": 5, ">=": 5, "in": 5,
    "+": 6, "-": 6, "*": 7, "/": 7, "//": 7, "%": 7, "[": 9,
}  # fmt: skip
NOT, COMPARE, MINUS = 4, 5, 8  # how tightly the prefix operators hold
UNITS = {"k": "e3", "m": "e6", "g": "e9", "t": "e12"}
WORDS = {"if", "else", "and", "or", "not", "in", "true", "false"}


class WrongError(Exception):
    """A fault at an offset of the expression's text."""

    def __init__(self, code: str, message: str, at: int, width: int = 1, *helps: str) -> None:
        super().__init__(message)
        self.code, self.message, self.at, self.width, self.helps = code, message, at, width, helps


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Term:
    """A node of the parsed tree: an operator or leaf, its operands, and where it stands."""

    kind: str
    at: int
    width: int
    value: Value = ""
    parts: tuple[Term, ...] = ()


@lru_cache(maxsize=4096)
def parse(text: str) -> Term:
    """Returns the tree of an expression without its `$( )`.

    Raises:
        WrongError: The text follows no rule of the grammar.
    """
    return _Parser(text).whole()


class _Parser:
    """A Pratt parser: each operator binds its neighbours as tightly as BINDING says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.index = 0
        self.depth = 0

    def whole(self) -> Term:
        term = self.parse(0)
        if self.peek.kind != "end":
            self.refuse(f"'{self.peek.text}' is not expected here", *self.extra())
        return term

    def extra(self) -> Iterator[str]:
        """Yields what to do about a token behind a whole expression."""
        before, token = self.tokens[self.index - 1], self.peek
        unit = UNITS.get(token.text.lower())
        if before.kind == "number" and unit and token.at == before.at + len(before.text):
            yield f"write {before.text}{unit}: units stand only where a key asks for a quantity"
        elif token.text == "is":
            yield "to compare write == or !=; there is no None"
        elif token.text == "for":
            yield "there are no loops: write the values one by one"
        elif token.kind in ("number", "text", "name") or token.text == "(":
            yield "put an operator before it, such as *"

    @property
    def peek(self) -> _Token:
        return self.tokens[self.index]

    def next(self) -> _Token:
        token = self.peek
        self.index += token.kind != "end"
        return token

    def refuse(self, message: str, *helps: str) -> None:
        raise WrongError("E406", message, self.peek.at, len(self.peek.text), *helps)

    def expect(self, sign: str) -> None:
        if self.peek.text != sign or self.peek.kind == "text":
            found = f"'{self.peek.text}'" if self.peek.text else "the end"
            helps = ["write  a if condition else b"] if sign == "else" else []
            if self.peek.text == "for":
                helps = ["there are no loops: write the values one by one"]
            self.refuse(f"'{sign}' is expected here, but this is {found}", *helps)
        self.next()

    def parse(self, floor: int) -> Term:
        """Returns the longest term whose operators all bind tighter than `floor`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.refuse(f"an expression may nest at most {MAX_DEPTH} deep")
        left = self.prefix()
        while (power := self.power()) > floor:
            left = self.infix(left, self.next(), power)
        self.depth -= 1
        return left

    def power(self) -> int:
        return 0 if self.peek.kind == "text" else BINDING.get(self.peek.text, 0)

    def prefix(self) -> Term:
        token = self.next()
        if token.kind == "number":
            return self.number(token)
        if token.kind == "text":
            return Term("value", token.at, len(token.text), token.text[1:-1])
        if token.kind == "name" and token.text not in WORDS:
            return self.call(token) if self.peek.text == "(" else self.name(token)
        if token.text in ("true", "false"):
            return Term("value", token.at, len(token.text), token.text == "true")
        if token.text in ("not", "-"):
            part = self.parse(NOT if token.text == "not" else MINUS)
            return Term(f"prefix {token.text}", token.at, len(token.text), "", (part,))
        if token.text == "(":
            inner = self.parse(0)
            self.expect(")")
            return inner
        if token.text == "[":
            return Term("list", token.at, 1, "", self.arguments("]"))
        self.index -= token.kind != "end"
        what = f"'{token.text}'" if token.text else "the end"
        power = token.text == "*" == self.tokens[self.index - 1].text
        helps = ["there is no power sign; write w*w or pow(w, 2)"] if power else []
        if token.text and token.text in "<>" and token.text == self.tokens[self.index - 1].text:
            helps = ["numbers are not shifted by bits: write 2*w or w // 2"]
        return self.fail(f"a value is expected here, but this is {what}", *helps)

    def fail(self, message: str, *helps: str) -> Term:
        self.refuse(message, *helps)
        raise AssertionError

    def number(self, token: _Token) -> Term:
        plain = token.text.isdigit()
        value = int(token.text[:30]) if plain else float(token.text)
        return Term("value", token.at, len(token.text), _bounded(value, token.at, len(token.text)))

    def name(self, token: _Token) -> Term:
        if token.text in FUNCTIONS:
            raise WrongError("E406", f"'{token.text}' is a function", token.at, len(token.text),
                         f"write {token.text}(...)")  # fmt: skip
        return Term("name", token.at, len(token.text), token.text)

    def call(self, token: _Token) -> Term:
        if token.text not in FUNCTIONS:
            near = nearest(token.text.rpartition(".")[2], FUNCTIONS)
            help_ = f"did you mean '{near}'?" if near else f"functions: {', '.join(FUNCTIONS)}"
            raise WrongError(
                "E401", f"unknown function '{token.text}'", token.at, len(token.text), help_
            )
        self.next()
        parts = self.arguments(")")
        return Term(f"call {token.text}", token.at, len(token.text), "", parts)

    def arguments(self, closer: str) -> tuple[Term, ...]:
        parts: list[Term] = []
        while self.peek.text != closer:
            parts.append(self.parse(0))
            if self.peek.text != closer:
                self.expect(",")
        self.expect(closer)
        return tuple(parts)

    def infix(self, left: Term, token: _Token, power: int) -> Term:
        if token.text == "if":
            condition = self.parse(power)
            self.expect("else")
            return Term("if", token.at, 2, "", (condition, left, self.parse(0)))
        if token.text == "[":
            index = self.parse(0)
            self.expect("]")
            return Term("index", token.at, 1, "", (left, index))
        right = self.parse(power)
        if power == COMPARE and self.power() == COMPARE:
            self.refuse("comparisons cannot be chained", "write  a < b and b < c")
        kind = token.text if token.text in ("and", "or") else f"infix {token.text}"
        return Term(kind, token.at, len(token.text), "", (left, right))


def _tokens(text: str) -> Iterator[_Token]:
    at = count = 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        start = at + len(text[at:]) - len(text[at:].lstrip())
        if not match or (count := count + 1) > MAX_TOKENS:
            raise (
                _unreadable(text, start)
                if not match
                else WrongError(
                    "E406", f"an expression may have at most {MAX_TOKENS} words and signs", start
                )
            )
        kind = match.lastgroup or ""
        yield _Token(kind, match[kind], match.start(kind))
        at = match.end()
    yield _Token("end", "", len(text.rstrip()))


def _unreadable(text: str, at: int) -> WrongError:
    helps = {
        '"': "put text in single quotes, as in 'conv'",
        "'": "this quote is never closed",
        "=": "to compare write ==",
        "&": "write 'and'",
        "|": "write 'or'",
        "!": "write 'not', or != to compare",
        "^": "there is no power sign; write w*w or pow(w, 2)",
        "$": "inside $( ... ) names stand without $",
        "{": "lists are written [a, b], and names stand without braces",
        "?": "write  a if condition else b",
        **dict.fromkeys("\u2018\u2019\u201c\u201d", "write straight quotes, as in 'conv'"),
    }
    help_ = helps.get(text[at])
    return WrongError(
        "E406", f"'{text[at]}' means nothing in an expression", at, 1, *([help_] if help_ else [])
    )


def _bounded(value: Value, at: int, width: int) -> Value:
    try:
        return checked(value)
    except ValueError as error:
        raise WrongError("E407", str(error), at, width) from None
