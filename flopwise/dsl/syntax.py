"""What a YAML syntax error means in words that help.

libyaml says where it gave up ("did not find expected key"); this module looks at the text there and
says what the writer probably did: an open bracket, a missing comma, a line indented differently.
"""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from flopwise.errors import Fault, Place, Source

__all__ = ["explain"]

CLOSER = {"{": "}", "[": "]"}
OPEN = re.compile(r"""^[^#"']*(?:"[^"]*"[^#"']*|'[^']*'[^#"']*)*[:,\[{]\s*(["'])(?:(?!\1).)*$""")
"""A line whose last value begins with a quote that the line does not close."""
BRACKETS = re.compile(r"""[{}\[\]]|(?<=\s)#|"[^"]*"|'[^']*'""")
MAX_LINE = 1000
QUOTED = 50
"""Lines above a fault in which such a quote is looked for."""


class _Scene:
    """The two places a YAML error knows, and the text around them."""

    def __init__(self, error: yaml.MarkedYAMLError, source: Source, read: str) -> None:
        self.source, self.read = source, read
        self.context, self.problem = error.context or "", error.problem or ""
        self.at = self._place(error.problem_mark or error.context_mark)
        self.start = self._place(error.context_mark) if error.context_mark else self.at

    def _place(self, mark: yaml.Mark | None) -> Place:
        if mark is None:
            return Place(self.source, 1, 1)
        line = min(mark.line, len(self.source.lines) - 1)
        column = mark.column if line == mark.line else len(self.source.lines[line])
        return Place(self.source, line + 1, column + 1)

    def text(self, place: Place) -> str:
        return self.source.lines[place.line - 1]

    def char(self, place: Place) -> str:
        return self.text(place)[place.column - 1 : place.column]

    def line_of(self, place: Place) -> Place:
        """Returns the whole of a line without its indentation."""
        text = self.text(place)
        indent = len(text) - len(text.lstrip())
        return Place(self.source, place.line, indent + 1, max(1, len(text.strip())))

    def above(self, place: Place) -> Place | None:
        """Returns the nearest line above that is neither empty nor a comment."""
        for number in range(place.line - 1, 0, -1):
            text = self.source.lines[number - 1].strip()
            if text and not text.startswith("#"):
                return self.line_of(Place(self.source, number, 1))
        return None


def explain(error: yaml.MarkedYAMLError, source: Source, read: str) -> Fault:
    """Returns the fault that a syntax error of either YAML parser stands for.

    Args:
        error: What the parser says.
        source: The text as it is written.
        read: The text as it was read: some of its lines may have been taken out.
    """
    scene = _Scene(error, source, read)
    if opened := _open_quote(scene):
        return opened
    said = f"{scene.context} {scene.problem}"
    for words, tell in TELLERS:
        if all(word in said for word in words):
            return tell(scene)
    return _fault(scene.at, scene.problem)


def _fault(place: Place, fact: str, *helps: str, label: str = "") -> Fault:
    message = f"this is not YAML: {fact}"
    return Fault(code="E013", message=message, place=place, label=label, helps=helps)


def _also(fault: Fault, place: Place, label: str) -> Fault:
    return replace(fault, also=((place, label),))


def _open_quote(scene: _Scene) -> Fault | None:
    """Returns the fault of a quote that YAML closed at one of a later line, if that went wrong."""
    first = scene.start.line if "flow" in scene.context else max(1, scene.at.line - QUOTED)
    lines = scene.read.split("\n")
    for number in range(first, min(scene.at.line, len(lines) + 1)):
        line = lines[number - 1][:MAX_LINE]
        if match := OPEN.search(line):
            quote, column = match[1], match.start(1) + 1
            place = Place(scene.source, number, column, len(line.rstrip()) - column + 1)
            fact = f"this quote {quote} is not closed on its line"
            return _fault(place, fact, f"add  {quote}  at its end")
    return None


def _flow(scene: _Scene) -> Fault:
    found = scene.char(scene.at)
    if not found and scene.char(scene.start) not in CLOSER:  # the end of the file
        scene.start = _unclosed(scene) or scene.start
    opener = scene.char(scene.start)
    before = scene.text(scene.at)[: scene.at.column - 1]
    expression = before.rfind("$(")
    if expression >= 0 and before.count("(", expression) > before.count(")", expression):
        return _unquoted(scene, expression)
    if before.endswith(("$", 'f"', "f'")) or (opener == "{" and _dollar(scene)):
        return Fault(
            code="E406",
            message="names are not put in braces here",
            place=scene.at if before.endswith("$") else scene.start,
            helps=("write  $w  or  $(2*w)",),
        )
    if scene.at.line != scene.start.line or not found:
        line = scene.start.line
        closer = CLOSER.get(opener, "the bracket")
        help_ = f"add  {closer}  at the end of line {line}, or where it belongs"
        if re.search(rf"\s#.*\{closer}", scene.text(scene.start)[scene.start.column - 1 :]):
            help_ = f"what follows # is a comment: write  {closer}  before it"
        return _fault(scene.start, f"this '{opener}' is never closed", help_)
    if found in "}])" and found != CLOSER.get(opener):
        fact = f"'{opener}' is closed by '{found}'"
        fault = _fault(scene.at, fact, f"write  {CLOSER.get(opener)}  here")
        return _also(fault, scene.start, "opened here")
    if found == ",":
        return _fault(scene.at, "there is nothing before this comma", "delete one comma")
    if found == "[" and before.endswith("list"):
        return _fault(scene.at, "in braces a text with brackets needs quotes", 'write "list[int]"')
    if found == "[":
        help_ = 'a setting of one repetition:  kernel: "$(5 if i == 1 else 3)"'
        return _fault(scene.at, "a key of a stage has no brackets", help_)
    word = re.search(r"[\w.]+\s*$", before) if found == ":" else None
    column = word.start() + 1 if word else scene.at.column
    width = len(word[0].rstrip()) if word else 1
    place = Place(scene.source, scene.at.line, column, width)
    help_ = "separate with commas, as in {block: conv, dim: 64}"
    return _fault(place, "a comma is missing before this", help_)


def _unclosed(scene: _Scene) -> Place | None:
    """Returns where the innermost bracket stands that the text never closes."""
    opened: list[Place] = []
    for number, line in enumerate(scene.read.split("\n")[: scene.at.line], 1):
        for match in BRACKETS.finditer(line[:MAX_LINE]):
            if match[0] in CLOSER:
                opened.append(Place(scene.source, number, match.start() + 1))
            elif match[0] in "}]" and opened:
                opened.pop()
            elif match[0] == "#":
                break
    return opened[-1] if opened else None


def _dollar(scene: _Scene) -> bool:
    return scene.text(scene.start)[: scene.start.column - 1].endswith("$")


def _unquoted(scene: _Scene, start: int) -> Fault:
    return Fault(
        code="E012",
        message="an expression with commas or brackets needs quotes here",
        place=Place(scene.source, scene.at.line, start + 1, scene.at.column - start),
        helps=('quote it, as in  {dim: "$(min(a, b))"}',),
    )


def _colon_in_flow(scene: _Scene) -> Fault:
    return _fault(scene.at, "a value is missing after this colon", "write  key: value")


def _quote(scene: _Scene) -> Fault:
    quote = scene.char(scene.start)
    return _fault(scene.start, f"this quote {quote} is never closed", f"add  {quote}  at its end")


def _escape(scene: _Scene) -> Fault:
    fact = "a backslash means something special in double quotes"
    return _fault(scene.at, fact, "use single quotes, or / instead of the backslash")


def _second_colon(scene: _Scene) -> Fault:
    line = scene.line_of(scene.at)
    key = scene.text(scene.at)[line.column - 1 : scene.at.column - 1]
    if not re.fullmatch(r"[\w.]+", key):
        help_ = (
            "put settings in braces, as in  stem: {block: conv, dim: 64}; quote a text with ': '"
        )
        return _fault(scene.at, "a second colon on this line", help_)
    above = scene.above(scene.at)
    if above and (glued := _glued(scene, above)):
        return glued
    spaces = above.column - 1 if above else 0
    where = f"by {spaces} spaces, like the line above" if spaces else "not at all"
    fault = _fault(
        replace(line, width=len(key)),
        f"'{key}' is indented deeper than the line above, which already has a value",
        f"indent '{key}' {where}",
    )
    return _also(fault, above, "the line above") if above else fault


def _glued(scene: _Scene, line: Place) -> Fault | None:
    """Returns the fault of a `key:value` without its space, if the line is one."""
    match = re.match(r"\s*([A-Za-z_][\w.]*):([^\s:].*)", scene.text(line))
    if not match:
        return None
    return Fault(
        code="E011",
        message="this line looks like 'key:value' without a space after the colon",
        place=line,
        helps=(f"write  {match[1]}: {match[2]}",),
    )


def _no_colon(scene: _Scene) -> Fault:
    line = scene.line_of(scene.start)
    if glued := _glued(scene, line):
        return glued
    text = scene.text(line).strip()
    if match := re.fullmatch(r"([A-Za-z_][\w.]*)\s*=\s*(.*)", text):
        return _fault(
            line, "a key and its value are joined by '='", f"write  {match[1]}: {match[2]}"
        )
    word = re.match(r"[\w.]*", text)
    key = word[0] if word and word[0] else "key"
    below = scene.source.lines[line.line : line.line + 1]
    deeper = below and len(below[0]) - len(below[0].lstrip()) >= line.column
    help_ = f"write  {key}:  with a colon" if deeper else f"write  {key}: value"
    return _fault(line, "this line has no colon, so it is neither a key nor a value", help_)


def _no_key(scene: _Scene) -> Fault:
    found = scene.char(scene.at)
    line = scene.line_of(scene.at)
    if found in ("}", "]"):
        return _fault(scene.at, f"nothing is open that this '{found}' could close", "delete it")
    if found == ",":
        return _fault(scene.at, "a comma outside of brackets", "delete it; a new line is enough")
    if line.column != scene.at.column:
        fact = "something follows the end of this value"
        if found in "/;":
            return _fault(scene.at, fact, "a comment begins with #")
        return _fault(scene.at, fact, "quote the whole text, or delete the rest")
    if found == "-":
        fact = "a list item (-) among keys"
        return _fault(scene.at, fact, "write  name: {...}  instead: stages have names")
    return _misaligned(scene, line)


def _misaligned(scene: _Scene, line: Place) -> Fault:
    above = scene.above(line)
    wanted = f"{above.column - 1} spaces" if above else "the same number of spaces"
    fault = _fault(
        line,
        f"this line is indented by {line.column - 1} spaces, which fits no line above",
        f"indent it by {wanted} to stand beside the line above",
    )
    return _also(fault, above, "the line above") if above else fault


def _no_dash(scene: _Scene) -> Fault:
    fact = "a key among list items (-)"
    return _fault(scene.line_of(scene.at), fact, "write every stage as  name: {...}, without '-'")


def _bad_start(scene: _Scene) -> Fault:
    fact = f"a value cannot begin with '{scene.char(scene.at)}'"
    help_ = "put the text in quotes"
    if scene.text(scene.at).startswith("```"):
        help_ = "delete the lines with ```: they belong to the page this was copied from"
    return _fault(scene.at, fact, help_)


def _list_on_line(scene: _Scene) -> Fault:
    return _fault(scene.at, "a list cannot begin on the line of its key", "write  key: [a, b]")


def _block_text(scene: _Scene) -> Fault:
    fact = "text cannot follow '|' or '>' on the same line"
    return _fault(scene.at, fact, "begin the text on the next line, indented, or quote it")


def _sigil(scene: _Scene) -> Fault:
    fact = "anchors (&), aliases (*) and tags (!) are not part of this language"
    help_ = "quote the text, or give a value a name under 'vars' and write $name"
    line = scene.text(scene.at)
    if path := re.search(r"[\w.]+\[\*?$", line[: scene.at.column - 1]):
        whole = re.match(r"[\w.]+\[\*\][\w.]*", line[path.start() :])
        fact = "in braces, YAML splits a path at its brackets"
        help_ = "write the path on a line of its own: without braces around it no quotes are needed"
        if whole:
            help_ = f"write  {whole[0]}:  on a line of its own, below 'space:'"
        return Fault(code="E012", message=fact, place=scene.at, helps=(help_,))
    return Fault(code="E004", message=fact, place=scene.at, helps=(help_,))


def _second_document(scene: _Scene) -> Fault:
    if scene.text(scene.at)[:1] in ('"', "'"):
        fact = "a text stands where the first key is expected"
        return _fault(scene.line_of(scene.at), fact, "begin a comment with #, or write  doc: ...")
    fact = "a second document begins here"
    help_ = "delete the line '...' above, or put the second spec into a file of its own"
    return Fault(code="E015", message=fact, place=scene.at, helps=(help_,))


def _directive(scene: _Scene) -> Fault:
    fact = "directives (%) are not part of this language"
    return Fault(code="E015", message=fact, place=scene.at, helps=("delete this line",))


# (words that libyaml and PyYAML both say, what it means); the first row that fits is taken.
TELLERS = (
    (("unexpected ':'",), _colon_in_flow),
    (("parsing a flow",), _flow),
    (("quoted scalar", "end of stream"), _quote),
    (("quoted", "escape"), _escape),
    (("mapping values are not allowed",), _second_colon),
    (("sequence entries are not allowed",), _list_on_line),
    (("could not find expected ':'",), _no_colon),
    (("could not found expected ':'",), _no_colon),
    (("parsing a block mapping",), _no_key),
    (("parsing a block collection",), _no_dash),
    (("cannot start any token",), _bad_start),
    (("scanning a block scalar",), _block_text),
    (("scanning an alias",), _sigil),
    (("scanning an anchor",), _sigil),
    (("tag",), _sigil),
    (("<document start>",), _second_document),
    (("directive",), _directive),
    (("incompatible YAML",), _directive),
)
