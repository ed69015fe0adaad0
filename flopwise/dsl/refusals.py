"""What is told about YAML that this language does not take."""

from __future__ import annotations

import re

from flopwise.errors import Fault, Place

__all__ = ["bad_key", "balanced", "cut_expression", "is_key", "refused", "written_twice"]

MAX_KEY = 200
DASHES = " -:\u2013\u2014"
LISTED = re.compile(r"([\w.*\[\]]+): *\(?([^{}()\[\]:]+), *$")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+(\[([0-9]{1,4}|\*)\](?=\.))?)*")


def is_key(name: str) -> bool:
    """Whether a name may be a key: an identifier, or a path such as `net.stage1[2].kernel`."""
    return len(name) <= MAX_KEY and KEY.fullmatch(name) is not None


def refused(what: str, place: Place, help: str, *, code: str = "E004") -> Fault:
    """Refuses a feature of YAML."""
    message = f"{what} are not part of this language"
    return Fault(code=code, message=message, place=place, helps=(help,))


def written_twice(name: str, place: Place, first: Place) -> Fault:
    """Refuses a key that stands twice in one map."""
    return Fault(
        code="E003",
        message=f"the key '{name}' is written twice",
        place=place,
        label="second here (plain YAML would silently keep only this one)",
        also=((first, "first here"),),
        helps=("rename one of them or delete one",),
    )


def cut_expression(place: Place) -> Fault:
    """Refuses `$(min(a` of an unquoted `$(min(a, b))`."""
    whole = balanced(place.text[place.column - 1 :])
    return Fault(
        code="E012",
        message="an expression with commas or brackets needs quotes here",
        place=place,
        label="YAML ends the text here",
        helps=(f'quote it: "{whole}"' if whole else 'put the whole expression in "quotes"',),
    )


def balanced(text: str) -> str:
    """Returns the start of `text` up to where its parentheses close."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == ")":
            return text[: at + 1]
    return ""


def _cut_key(name: str, place: Place) -> Fault | None:
    """Refuses what YAML made a key of by cutting a number, a stage or a path in two."""
    line, at = place.text, place.column - 1
    before, behind = line[max(0, at - MAX_KEY) : at], line[at : at + MAX_KEY]
    if name[:1].isdigit() and (number := re.search(r"(?<![\d.])(\d[\d.,]*),$", before)):
        whole = number[1] + "," + (re.match(r"[\d.,]+[a-zA-Z]?", behind) or [name])[0].rstrip(",")
        return Fault(
            code="E014",
            message=f"the comma cuts the number {whole[:60]} in two",
            place=place,
            helps=(f"write  {whole[:60].replace(',', '')}",),
        )
    if name[:1].isdigit() and (listed := LISTED.search(before)):
        rest = re.match(r"[^{}()\[\]:]*", behind)
        items = [*listed[2].split(","), *(rest[0] if rest else name).split(",")]
        line = f"write  {listed[1]}: [{', '.join(item.strip() for item in items if item.strip())}]"
        fact = f"several values of '{listed[1]}' need brackets"
        return Fault(code="E014", message=fact, place=place, helps=(line,))
    if cut := re.match(r"(\w+)\s*\{", name):
        return Fault(
            code="E014",
            message=f"a colon is missing after '{cut[1]}'",
            place=place,
            helps=(f"write  {cut[1]}: {{ ... }}",),
        )
    if re.search(r"\.\*|\[\w*:\w*\]", name):
        return Fault(
            code="E014",
            message=f"'{name[:40]}' cannot be a key: a path names one place",
            place=place,
            helps=("write a line for each, or [*] for every repetition of a stage",),
        )
    return None


def bad_key(name: str, place: Place) -> Fault:
    """Refuses a text that is no key, and says what it was probably meant to be."""
    name = " ".join(name.split("\n"))  # YAML folds a text over several lines into one
    word, colon, rest = name.partition(":")
    if colon and rest and is_key(word):
        return Fault(
            code="E011",
            message="this looks like 'key:value' without a space after the colon",
            place=place,
            label=f'YAML reads a key named "{name[:40]}"',
            helps=(f"write  {word}: {rest}",),
        )
    if cut := _cut_key(name, place):
        return cut
    for sign, fact in (
        ("=", "a key and its value are joined by '='"),
        (" ", f"'{name[:40]}' cannot be a key; a colon or a comma may be missing"),
    ):
        word, found, rest = name.partition(sign)
        if found and is_key(word.strip()):
            help_ = f"write  {word.strip()}: {rest.strip(DASHES)}"
            if sign == " " and is_key(joined := "_".join(name.split())):
                help_ += f"  or  {joined}"
            return Fault(code="E014", message=fact, place=place, helps=(help_,))
    plain = re.sub(r"\W+", "_", name[:MAX_KEY]).strip("_")
    return Fault(
        code="E014",
        message=f"'{name[:40]}' cannot be a key" if name else "a key is missing before this colon",
        place=place,
        label="a key begins with a letter and has letters, digits and _ only",
        helps=(f"write  {plain if is_key(plain) else f'n{plain}'}",) if name else (),
    )
