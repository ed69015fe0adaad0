"""How a fault is drawn, and what a misspelt word is taken for."""

from __future__ import annotations

import json

import pytest

from flopwise.errors import Fault, Place, Source, SpecError, nearest, render

SOURCE = Source("nets/tiny.yaml", (*(f"line {i}" for i in range(1, 5)), "  a:", "    kernal: 7"))


def test_the_long_form_is_a_compilers() -> None:
    fault = Fault(
        code="E102",
        message="block 'conv' has no setting 'kernal'",
        place=Place(SOURCE, 6, 5, 6),
        label="unknown setting",
        helps=("did you mean 'kernel'?",),
        notes=("settings of conv: dim, kernel, stride, groups, norm, act",),
    )
    assert str(SpecError([fault])) == (
        "error[E102]: block 'conv' has no setting 'kernal'\n"
        "  --> nets/tiny.yaml:6:5\n"
        "   |\n"
        " 6 |     kernal: 7\n"
        "   |     ^^^^^^ unknown setting\n"
        "   |\n"
        "   = help: did you mean 'kernel'?\n"
        "   = note: settings of conv: dim, kernel, stride, groups, norm, act\n"
        "   = more: flopwise explain E102"
    )
    assert render([fault], "short") == (
        "nets/tiny.yaml:6:5: E102 block 'conv' has no setting 'kernal'"
    )
    assert json.loads(render([fault], "json")) == [
        {
            "code": "E102",
            "message": "block 'conv' has no setting 'kernal'",
            "file": "nets/tiny.yaml",
            "line": 6,
            "column": 5,
            "end_column": 11,
            "label": "unknown setting",
            "help": ["did you mean 'kernel'?"],
            "note": ["settings of conv: dim, kernel, stride, groups, norm, act"],
            "also": [],
        }
    ]


def test_twenty_faults_are_shown_and_the_rest_counted() -> None:
    faults = [Fault(code="E003", message=str(i), place=Place(SOURCE, 1, 1)) for i in range(33)]
    text = render(faults)
    assert text.count("error[E003]") == 20 and text.endswith("and 13 more")


def test_faults_are_sorted_by_place_and_warnings_come_last() -> None:
    places = [Place(SOURCE, line, 1) for line in (3, 1, 2)]
    faults = [Fault(code="W401", message="w", place=Place(SOURCE, 1, 1))]
    faults += [Fault(code="E003", message="e", place=place) for place in places]
    found = [line for line in render(faults).splitlines() if "-->" in line]
    assert [line[-3] for line in found] == ["1", "2", "3", "1"]


def test_a_long_line_is_cut_around_the_caret() -> None:
    line = "a" * 300 + "HERE" + "b" * 300
    text = render([Fault(code="E003", message="m", place=Place(Source("t", (line,)), 1, 301, 4))])
    shown, caret = text.splitlines()[3:5]
    assert "HERE" in shown and max(map(len, text.splitlines())) < 140
    assert shown.index("HERE") == caret.index("^^^^")


def test_other_files_follow_after_colons() -> None:
    base = Source("base.yaml", ("dim: 3",))
    fault = Fault(
        code="E303",
        message="m",
        place=Place(SOURCE, 1, 1),
        also=((Place(base, 1, 6), "from here"),),
    )
    assert "  ::: base.yaml:1:6\n   |\n 1 | dim: 3\n   |      - from here" in render([fault])


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("tranformer", ["performer", "transformer", "vit"], "transformer"),
        ("Conv2d", ["conv", "vit"], "conv"),
        ("num_heads", ["heads", "dim"], "heads"),
        ("layer-scale", ["layer_scale"], "layer_scale"),
        ("ehads", ["heads"], "heads"),
        ("fc", ["conv", "linear"], "linear"),
        ("bathc", ["batch"], "batch"),
        ("completely", ["other", "words"], None),
        ("", ["a"], "a"),
        ("x", [], None),
    ],
)
def test_a_misspelt_word_finds_what_was_meant(
    word: str, known: list[str], meant: str | None
) -> None:
    assert nearest(word, known) == meant
