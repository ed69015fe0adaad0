"""Scalars, limits and hostile files."""

from __future__ import annotations

from pathlib import Path

import pytest

from flopwise.dsl import load, loads
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.scalars import DoubtfulError, read_plain, read_quantity
from flopwise.dsl.tree import Scalar
from flopwise.errors import SpecError

PLAIN = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
    "0": 0,
    "-7": -7,
    "+7": 7,
    "9007199254740992": 2**53,
    "1.5": 1.5,
    ".5": 0.5,
    "5.": 5.0,
    "1e-3": 1e-3,
    "1E3": 1e3,
    "1.0e+3": 1e3,
    "2026-11-20": "2026-11-20",
    "4.5G": "4.5G",
    "1%": "1%",
    "y": "y",
    "n": "n",
    "None": "None",
    "-": "-",
    ".": ".",
    "+": "+",
    "e5": "e5",
    "1.2.3": "1.2.3",
    "rand-m9-mstd0.5-inc1": "rand-m9-mstd0.5-inc1",
    "info": "info",
    "only": "only",
}
DOUBTFUL = {
    "yes": "E006",
    "NO": "E006",
    "On": "E006",
    "off": "E006",
    "True": "E006",
    "FALSE": "E006",
    "NULL": "E006",
    "0777": "E007",
    "-08": "E007",
    "00.5": "E007",
    "0o17": "E007",
    "0x1F": "E007",
    "0b11": "E007",
    "1_000": "E007",
    "1:30": "E008",
    "-1:30": "E008",
    "12:30:45": "E008",
    ".nan": "E009",
    "nan": "E009",
    "-.inf": "E009",
    "Infinity": "E009",
    "1e999": "E009",
    "9007199254740993": "E010",
    "9" * 5000: "E010",
}


@pytest.mark.parametrize(("text", "value"), PLAIN.items())
def test_a_plain_scalar_is_read_as_yaml_1_2_does(text: str, value: object) -> None:
    read = read_plain(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(("text", "code"), DOUBTFUL.items(), ids=lambda text: text[:20])
def test_a_scalar_with_two_readings_is_refused(text: str, code: str) -> None:
    with pytest.raises(DoubtfulError) as caught:
        read_plain(text)
    assert caught.value.code == code and caught.value.help


@pytest.mark.parametrize("text", ['"yes"', "'0777'", '"1"', "|\n  1:30\n"])
def test_a_quoted_scalar_is_text(text: str) -> None:
    node = parse(text, make_source("t", text))
    assert isinstance(node, Scalar) and isinstance(node.value, str)


@pytest.mark.parametrize(
    ("text", "value"),
    [("4.5G", (4.5e9, 5e7)), ("30M", (3e7, 5e5)), ("0.1k", (100, 50)), ("12", (12, 0.5))],
)
def test_a_quantity_knows_its_precision(text: str, value: tuple[float, float]) -> None:
    assert read_quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "G", "4.5X", "1e3", "-3M", "4.5 GG", "1,5M"])
def test_other_texts_are_no_quantities(text: str) -> None:
    assert read_quantity(text) is None


ATTACKS = {
    "a million brackets": "[" * 1_000_000,
    "nested maps": "{a: " * 2000,
    "block nesting": "\n".join("  " * i + "a:" for i in range(300)),
    "a laugh": "a: &a [x, x]\n" + "\n".join(f"b{i}: [*a, *a]" for i in range(2000)),
    "merge keys": "a: &a {x: 1}\nb:\n  <<: [*a, *a]\n",
    "python objects": "a: !!python/object/apply:os.system [ls]\n",
    "python names": "a: !!python/name:os.system\n",
    "a long scalar": "a: " + "x" * 900_000,
    "many keys": "\n".join(f"k{i}: 1" for i in range(60_000)),
    "many faults": "\n".join(f"k{i}: yes" for i in range(60_000)),
    "many values": "[" + "1," * 300_000 + "1]",
    "a huge file": "a" * (2 << 20),
    "a huge number": "a: " + "9" * 100_000,
    "a huge base": "a: 0x" + "f" * 9_000,
    "a huge clock": "a: " + ":".join(["59"] * 3000),
    "question marks": "? " * 1000,
    "dashes": "- " * 5000,
    "colons": "a: " * 1000,
    "quotes": '"' * 9999,
    "nul": "a: \x00",
    "surrogate": "a: \ud800",
    "line separators": "a: 1\u2028b: 2",
    "expression bomb": "vars: {a: $(" + "-" * 450 + "1)}",
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_hostile_text_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(text)
    assert str(caught.value)


def test_a_bom_and_windows_lines_change_nothing(tmp_path: Path) -> None:
    text = "spec: 1\nname: a\nnet:\n  a: {block: conv, dim: 8}\n  h: {block: classifier}\n"
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    first, second = (load(tmp_path / name) for name in ("a.yaml", "b.yaml"))
    assert first.network().hash == second.network().hash


def test_columns_count_characters_after_emoji() -> None:
    text = 'spec: 1\nname: a\ndoc: "\U0001f600\U0001f600"\nnet: {"a": {block: convv}}\n'
    with pytest.raises(SpecError) as caught:
        loads(text)
    place = caught.value.faults[0].place
    assert (
        place is not None and text.splitlines()[place.line - 1][place.column - 1 :][:5] == "convv"
    )


@pytest.mark.parametrize("name", ["none.yaml", "folder", "folder/", "std/nothing", "a\0b"])
def test_a_file_that_is_not_there_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpecError) as caught:
        load(name)
    assert caught.value.faults[0].code == "E105"


def test_the_nearest_file_or_shipped_spec_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text("")
    for wrong, right in (
        ("tinny.yaml", "'tiny.yaml'"),
        ("tiny", "'tiny.yaml'"),
        ("resnet50", "'std/resnet50'"),
        ("resnet5O.yaml", "'std/resnet50'"),
    ):
        with pytest.raises(SpecError) as caught:
            load(wrong)
        assert right in str(caught.value)
