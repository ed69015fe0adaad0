"""A row as the address of a network: `file.yaml#row`, rows of other files, and shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import flopwise
from flopwise.dsl import load
from flopwise.dsl.shipped import presets, shipped_rows
from flopwise.errors import SpecError
from tests.unit.test_rows import HEAD, same


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(HEAD)
    (tmp_path / "road.yaml").write_text(
        "spec: 1\nname: road\nextends: ./base.yaml\ntable:\n  rows:\n"
        "    wide: {set: {w: 32}}\n    large: {set: {k: 5}}\n"
    )
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(f"spec: 1\nname: {path.stem}\n{text}")
    return path


def test_a_row_is_an_address(project: Path) -> None:
    row = load(f"{project / 'road.yaml'}#large")
    assert same(row, ("w", "32"), ("k", "5"))
    assert (row.name, row.path) == ("large", project / "road.yaml")
    assert list(row.sources) == ["road.yaml", "base.yaml"]
    assert flopwise.load(f"{project / 'road.yaml'}#large").hash == row.network().hash
    assert flopwise.load(project / "road.yaml").row("large").hash == row.network().hash
    assert flopwise.load(project / "road.yaml").rows == ("wide", "large")


def test_a_file_may_have_a_hash_sign_in_its_name(project: Path) -> None:
    odd = project / "a.yaml#b"
    odd.write_text(HEAD)
    assert load(odd).rows == ()


def test_an_unknown_row_is_told_with_the_nearest(project: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(f"{project / 'road.yaml'}#lrge")
    (fault,) = caught.value.faults
    assert (fault.code, fault.helps) == ("E410", ("did you mean 'large'?",))
    with pytest.raises(SpecError, match="it has no table"):
        load(f"{project / 'base.yaml'}#large")
    with pytest.raises(SpecError, match="E410"):
        load(project / "road.yaml").row("lrge")


def test_only_the_row_that_is_asked_for_is_built(project: Path) -> None:
    write(project / "half.yaml", "extends: ./base.yaml\ntable: {rows: {a: {}, b: {set: {k: 4}}}}\n")
    assert same(load(f"{project / 'half.yaml'}#a"))
    with pytest.raises(SpecError, match="row 'b' starts from row 'a'"):
        load(project / "half.yaml")


def test_a_row_starts_from_another_file_or_a_row_of_one(project: Path) -> None:
    spec = load(
        write(
            project / "all.yaml",
            "extends: std/resnet18\ntable:\n  rows:\n"
            "    net: {spec: ./base.yaml, set: {w: 8}}\n"
            "    more: {set: {k: 7}}\n"
            "    road: {spec: ./road.yaml#large, set: {w: 64}}\n"
            "    std: {spec: std/resnet34}\n",
        )
    )
    assert same(spec.row("more"), ("w", "8"), ("k", "7"))
    assert same(spec.row("road"), ("w", "64"), ("k", "5"))
    assert spec.row("std").network().hash == load("std/resnet34").network().hash
    assert set(spec.row("road").sources) == {
        "all.yaml",
        "std/resnet18",
        "road.yaml",
        "base.yaml",
    }


def test_a_row_can_be_extended(project: Path) -> None:
    child = load(write(project / "child.yaml", "extends: ./road.yaml#large\nvars: {w: 8}\n"))
    assert same(child, ("w", "8"), ("k", "5"))
    assert (child.name, child.table) == ("child", None)
    assert list(child.sources) == ["child.yaml", "road.yaml", "base.yaml"]


def test_rows_of_several_files_cannot_start_from_each_other_in_a_circle(project: Path) -> None:
    write(project / "a.yaml", "extends: ./b.yaml#r\n")
    write(project / "b.yaml", "extends: ./base.yaml\ntable: {rows: {r: {spec: ./a.yaml}}}\n")
    write(project / "c.yaml", "extends: ./c.yaml#r\ntable: {rows: {r: {}}}\n")
    for name in ("a.yaml", "b.yaml", "b.yaml#r", "c.yaml"):
        with pytest.raises(SpecError, match="in a circle"):
            load(f"{project / name}")


def test_a_table_is_not_inherited(project: Path) -> None:
    assert load(write(project / "child.yaml", "extends: ./road.yaml\n")).table is None


def test_no_row_leaves_the_folder_of_the_project(project: Path) -> None:
    inside = project / "inside"
    inside.mkdir()
    write(inside / "net.yaml", "extends: std/resnet18\ntable: {rows: {r: {spec: ../base.yaml}}}\n")
    with pytest.raises(SpecError, match="leaves the folder"):
        load(inside / "net.yaml")
    assert load(inside / "net.yaml", root=project).rows == ("r",)


def test_every_shipped_name_stands_for_one_network() -> None:
    names = [*presets(), *(row for _, row in shipped_rows())]
    assert sorted(names) == sorted(set(names))


def test_a_shipped_row_is_found_by_its_name() -> None:
    for file, row in shipped_rows():
        spec = load(f"std/{row}")
        assert spec.name == row
        assert spec.network().hash == load(f"std/{file}#{row}").network().hash


def test_a_shipped_row_is_looked_up_without_its_std(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flopwise.dsl import shipped

    write(tmp_path / "wrn.yaml", "extends: std/resnet18\ntable: {rows: {wrn_2: {set: {w: 128}}}}\n")
    monkeypatch.setattr(shipped, "ZOO", tmp_path)
    known = {**shipped.presets(), "wrn": tmp_path / "wrn.yaml"}
    monkeypatch.setattr(shipped, "presets", lambda: known)
    monkeypatch.setattr("flopwise.dsl.files.presets", lambda: known)
    shipped._tables.cache_clear()
    assert shipped.shipped_row("wrn_2") == "wrn"
    assert flopwise.load("std/wrn_2").name == flopwise.load("wrn_2").name == "wrn_2"
    child = write(tmp_path / "child.yaml", "extends: std/wrn_2\n")
    assert load(child).network().hash == load("std/wrn_2").network().hash
    with pytest.raises(SpecError, match="did you mean 'std/wrn_2'"):
        load("std/wrn_3")
    shipped._tables.cache_clear()
