"""Functions of expressions against Python's own, and against timm's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import make_divisible

from flopwise.dsl.expr import parse_expression
from flopwise.dsl.load import make_source
from flopwise.errors import Place, SpecError


def worth(text: str) -> object:
    return parse_expression(f"$({text})", Place(make_source("t", text), 1, 1)).evaluate({})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pow(2, 10)", 1024),
        ("pow(9, 0.5)", 3.0),
        ("pow(4, 0 - 1)", 0.25),
        ("pow(1.5, 2)", 2.25),
        ("sqrt(2)", math.sqrt(2)),
        ("log(2.5)", math.log(2.5)),
        ("round(log(18) / log(2.25))", round(math.log(18, 2.25))),
    ],
)
def test_powers_and_logarithms_are_pythons(text: str, value: object) -> None:
    assert worth(text) == value and type(worth(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pow(2, 1000000000)", "larger than 2^53"),
        ("pow(2, 60)", "larger than 2^53"),
        ("pow(0 - 1, 0.5)", "not real"),
        ("pow(0, 0 - 1)", "division by zero"),
        ("log(0)", "above 0, but this is 0"),
        ("sqrt(0 - 4)", "above 0, but this is -4"),
    ],
)
def test_what_has_no_value_is_a_fault(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        worth(text)
    assert caught.value.faults[0].code == "E407" and said in str(caught.value)


@given(x=st.integers(1, 10**6) | st.floats(0.01, 10**6), step=st.integers(1, 512))
def test_divisible_rounds_widths_as_timm_does(x: float, step: int) -> None:
    assert worth(f"divisible({x:f}, {step})") == make_divisible(float(f"{x:f}"), step)
