"""Every code that the program can print has a page, and its examples are true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import flopwise
from flopwise.dsl import loads
from flopwise.errors import SpecError
from flopwise.report.pages import Page, page, pages, told

PACKAGE = Path(flopwise.__file__).parent
CODE = re.compile(r"[EW]\d{3}")


def codes() -> set[str]:
    """Returns every text in the source that is a code."""
    trees = (ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py"))
    texts = (
        node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)
    )
    return {text for text in texts if isinstance(text, str) and CODE.fullmatch(text)}


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert set(pages()) == codes()


@pytest.mark.parametrize("each", pages().values(), ids=lambda each: each.code)
def test_a_page_shows_its_fault_and_how_it_is_mended(each: Page) -> None:
    assert each.title[0].islower() or not each.title[0].isalpha() or each.title.split()[0].isupper()
    assert len(each.text) > 50
    if not each.broken:
        return
    assert f"[{each.code}]" in told(each.broken)
    spec = loads(each.mended)  # no fault is left
    assert each.code not in {warning.code for warning in spec.warnings}
    if spec.search and spec.search.budget:
        spec.probe()


def test_a_page_prints_the_example_the_answer_and_the_mend() -> None:
    text = str(page("e303"))
    assert text.startswith("E303: ")
    for part in ("heads: 6", "error[E303]", "nearest that work", "Mended:", "dim: 102"):
        assert part in text


def test_an_unknown_code_is_told_the_codes_there_are() -> None:
    with pytest.raises(SpecError) as caught:
        page("E3031")
    assert "E302, E303" in str(caught.value)
