"""Hostile input is harmless: a network or a list of faults, within a second, never a traceback."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopwise.dsl import load, loads
from flopwise.errors import SpecError

SPEC = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
assert SPEC and SPEC.loader
hostile = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hostile)

MUTATED, GROWN = 15_000, 5_000


@pytest.fixture(autouse=True, scope="module")
def nothing_else_to_collect() -> Iterator[None]:
    """Takes what other tests left out of the collector's sight, whose time would count as ours."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("part", range(10))
def test_mutated_bytes_give_a_network_or_faults(part: int) -> None:
    for number in range(MUTATED // 10):
        data = hostile.mutated(Random(f"{part} {number}"))
        hostile.settle(data)


@given(random=st.randoms(use_true_random=False))
@settings(max_examples=GROWN, deadline=None)
def test_wild_structures_give_a_network_or_faults(random: Random) -> None:
    hostile.settle(hostile.grown(random))


def code_of(text: str | bytes, tmp_path: Path) -> set[str]:
    path = tmp_path / "net.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load(path)
    assert all(len(line) < 400 for line in str(caught.value).splitlines())
    return {fault.code for fault in caught.value.faults}


HEAD = "spec: 1\nname: a\n"
NET = "net:\n  stem: {block: conv, dim: 8}\n  head: {block: classifier}\n"


@pytest.mark.parametrize(
    ("text", "code", "limit"),
    [
        ("[" * 10**6, "E005", "64 levels"),
        ("{a: " * 10**5, "E005", "64 levels"),
        ("- " * 10**5, "E005", "64 levels"),
        (HEAD + "doc: " + "x" * 10**6 + "\n" + NET, "E005", "10000"),
        ("# " + "x" * (2**20 + 10), "E005", "1 MiB"),
        ("a: &a [1]\n" + "b: [*a, *a, *a]\n", "E004", "aliases"),
        ("a: &a {b: 1}\nc:\n  <<: [*a, *a]\n", "E004", "merge keys"),
        (b"spec: 1\x00", "E019", "U+0000"),
        ("spec: 1\nname: \u202eabc", "E019", "U+202E"),
        ("spec: 1\nname: a".encode("utf-16"), "E001", "UTF-8"),
        (HEAD + "vars: {a: $(" + "1+" * 10**5 + "1)}\n" + NET, "E005", "10000"),
        (HEAD + "vars: {a: $(" + "1+" * 240 + "1)}\n" + NET, "E406", "200"),
        (HEAD + "vars: {a: $(" + "-" * 400 + "1)}\n" + NET, "E406", "200"),
        (HEAD + "vars: {a: $(" + "(" * 90 + "1" + ")" * 90 + ")}\n" + NET, "E406", "32"),
        (HEAD + "vars: {a: " + "9" * 5000 + "}\n" + NET, "E010", "2^53"),
        (HEAD + NET.replace("dim: 8", "dim: -8"), "E203", "at least 1"),
        (HEAD + NET.replace("dim: 8", "dim: 8, depth: 1000000000"), "E203", "1000"),
        (HEAD + "net:\n" + "".join(f"  s{i}: {{block: conv, depth: 1000}}\n" for i in range(30)),
         "E005", "20000"),
        (HEAD + "input: {size: 1000000000}\n" + NET, "E203", "65536"),
        (HEAD + "vars: {a: $b, b: $a}\n" + NET, "E403", "a -> b -> a"),
        (HEAD + "extends: net.yaml\n" + NET, "E110", "net.yaml"),
        (HEAD + "extends: ../../../etc/passwd\n" + NET, "E110", "project"),
        (HEAD + "extends: /etc/passwd\n" + NET, "E110", "project"),
    ],
)  # fmt: skip
def test_a_limit_is_named(text: str | bytes, code: str, limit: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load(path)
    told = str(caught.value)
    assert code in {fault.code for fault in caught.value.faults}
    assert limit in told
    assert all(len(line) < 400 for line in told.splitlines())


def test_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    project, outside = tmp_path / "project", tmp_path / "secret.yaml"
    project.mkdir()
    outside.write_text(HEAD + NET)
    (project / "link.yaml").symlink_to(outside)
    (project / "net.yaml").write_text(HEAD + "extends: ./link.yaml\n")
    with pytest.raises(SpecError) as caught:
        load(project / "net.yaml")
    assert caught.value.faults[0].code == "E110"


def test_a_circle_of_files_is_shown(tmp_path: Path) -> None:
    for one, two in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"spec: 1\nname: {one}\nextends: ./{two}.yaml\n")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "a.yaml")
    assert caught.value.faults[0].code == "E110"
    for name in ("a.yaml", "b.yaml", "c.yaml"):
        assert name in str(caught.value)


@pytest.mark.parametrize("count", [2, 3])
def test_a_block_that_contains_itself_is_a_fault(count: int) -> None:
    names = [f"b{number}" for number in range(count)]
    blocks = "".join(
        f"  {name}: {{net: {{x: {{block: {names[(at + 1) % count]}}}}}}}\n"
        for at, name in enumerate(names)
    )
    with pytest.raises(SpecError) as caught:
        loads(f"{HEAD}blocks:\n{blocks}net:\n  a: {{block: b0}}\n  head: {{block: classifier}}\n")
    assert "b0 -> b1" in str(caught.value)
