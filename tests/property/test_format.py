"""A layout changes neither what a file says nor its comments, and is changed once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import flopwise
from flopwise.dsl.format import format_text
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.errors import SpecError

ROOT = Path(flopwise.__file__).parent
SHIPPED = sorted(path for path in ROOT.rglob("*.yaml") if path.parent.name != "recipes")
SEEDS = [
    *(path.read_text() for path in SHIPPED),
    Path(__file__).with_name("specimen.yaml").read_text(),
    "spec: 1\nname: x\ndoc: |\n  two\n    lines\n\nclasses: 3\n",
    "spec: 1\nname: x\ndoc: >-\n  s\n  t\n\n\nx_l:\n- a\n- b: 1\n  c: 2\n- [d]\n-\n  f: 1\n",
    'spec: 1\nname: x\ndoc: "one\n  two\n\n  three"\nx_a: a plain\n  text\n',
    "{spec: 1, name: x, net: {a: {block: conv, dim: 3}, b: {block: add, from: [a, a]}}}\n",
    "---\nname: x   \nspec: 1\nx_a: |2+\n    deep\n\n\nx_b: 'it''s'\n",
]
WORDS = ["# note", "#", "#!x", "# a: {b", "#: '"]


def plain(node: Node) -> object:
    if isinstance(node, Section):
        return {name: plain(each) for name, each in node.entries.items()}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return (type(node.value).__name__, node.value)


def said(text: str) -> object:
    return plain(parse(text, make_source("t", text)))


def orders(text: str) -> object:
    tree = parse(text, make_source("t", text))
    assert isinstance(tree, Section)
    return {k: list(n.entries) for k, n in tree.entries.items() if isinstance(n, Section)}


@st.composite
def scribbles(draw: st.DrawFn) -> str:
    """A shipped file with comments, blank lines, line breaks and quotes put anywhere."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["above", "beside", "blank", "break", "quote", "spaces"])):
            case "above":
                lines.insert(at, " " * draw(st.integers(0, 7)) + draw(st.sampled_from(WORDS)))
            case "beside":
                lines[at] += " " * draw(st.integers(1, 9)) + draw(st.sampled_from(WORDS))
            case "blank":
                lines[at:at] = [""] * draw(st.integers(1, 3))
            case "break":
                pieces = re.split(r"(?<=[,{])\s", lines[at])
                lines[at : at + 1] = [pieces[0], *(" " * 9 + piece for piece in pieces[1:])]
            case "quote":
                lines[at] = re.sub(
                    r": (\w+)", draw(st.sampled_from([r": '\1'", r': "\1"'])), lines[at]
                )
            case "spaces":
                lines[at] = lines[at].replace(": ", ":   ")
        text = "\n".join(lines)
    return text


@given(text=scribbles())
@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_a_layout_keeps_meaning_order_and_comments_and_is_its_own_layout(text: str) -> None:
    try:
        before = said(text)
    except SpecError:
        assume(False)
    new = format_text(text, "t")
    assert said(new) == before
    assert orders(new) == orders(text)
    assert len(re.findall(r"# note", new)) == len(re.findall(r"# note", text))
    assert format_text(new, "t") == new


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_spec_is_the_same_network_after_it(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    if "extends" in text:
        return
    new = format_text(text, path.name)
    assert flopwise.loads(new).hash == flopwise.loads(text).hash


def test_windows_line_breaks_stay() -> None:
    assert format_text("name: x\r\nspec: 1\r\n", "t") == "spec: 1\r\nname: x\r\n"


def test_a_file_with_a_fault_of_syntax_is_refused() -> None:
    with pytest.raises(SpecError, match="E013"):
        format_text("spec: 1\nname: [x\n", "t")


LAID_OUT = """\
# What this is for.

spec: 1
name: x

# how wide
vars: {w: 8}      # narrow
defaults:
  # everywhere
  norm: bn
  conv: {kernel: 3}

net:
  stem:  {block: conv, dim: $w}  # one
  stage: {block: conv, dim: 16}  # two

  # the end
  head:  {block: classifier}
  # no more stages
# a last word
"""


def test_comments_stay_with_their_keys_when_sections_move() -> None:
    wanted = LAID_OUT.replace("{w: 8}      # narrow", "{w: 8}  # narrow\n").replace(
        "\n# a last word", "\n\n# a last word"
    )
    assert format_text(LAID_OUT, "t") == wanted
    head, rest = LAID_OUT.split("# how wide\n")
    variables, rest = rest.split("defaults:")
    tail = "# a last word\n"
    moved = head + "defaults:" + rest.removesuffix(tail) + "# how wide\n" + variables + tail
    assert format_text(moved, "t") == wanted
