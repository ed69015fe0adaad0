"""Cost tables on disk: the same numbers again, and nothing but numbers is ever believed."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flopwise.dsl import Spec, loads
from flopwise.dsl.spent import Unsteady
from flopwise.spaces import CostTables, cost_tables
from flopwise.spaces.draws import every_path
from flopwise.spaces.kept import folder

TEXT = """
spec: 1
name: small
input: {size: 32}
classes: 10
vars: {w: 8, d: 1}
net:
  stem: {block: patchify, patch: 4, dim: $w}
  body: {block: convnext, depth: $d}
  head: {block: classifier, pool: avg, norm: ln}
search:
  space:
    w: {choice: [8, 12, 16]}
    d: {range: [1, 3]}
    net.body.expand: {choice: [2, 4]}
    train.lr: {range: [1.0e-4, 1.0e-2], log: true}
  require: [$(w*d <= 40)]
  budget: {macs: {max: 1G}}
"""


@pytest.fixture(autouse=True)
def all_tables_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("flopwise.spaces.kept.WORTH", 0.0)


def files() -> Iterator[Path]:
    yield from sorted(folder().glob("*.npz"))


def said(tables: CostTables) -> Any:
    codes = every_path(tables)
    batch = tables.batch(codes)
    return tables.decode(codes), batch.costs.tolist(), batch.allowed.tolist(), set(tables.values)


def spec(text: str = TEXT) -> Spec:
    return loads(text)


def test_tables_are_read_as_they_were_filled() -> None:
    first = cost_tables(spec())
    (file,) = files()
    written = file.stat().st_mtime_ns
    again = cost_tables(spec())
    assert said(again) == said(first)
    assert again.compiled.free.keys() == {"train.lr"}
    assert file.stat().st_mtime_ns == written
    assert [path.name for path in folder().iterdir()] == [file.name]


def test_a_budget_changes_no_table_and_a_domain_does() -> None:
    cost_tables(spec())
    cost_tables(spec(TEXT.replace("max: 1G", "max: 2G")))
    assert len([*files()]) == 1
    cost_tables(spec(TEXT.replace("[8, 12, 16]", "[8, 12]")))
    cost_tables(spec(TEXT.replace("size: 32", "size: 64")))
    cost_tables(spec(TEXT.replace("<= 40", "<= 30")))
    assert len([*files()]) == 4


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def noise(file: Path) -> None:
    file.write_bytes(b"no tables at all")


def changed(file: Path, **arrays: Any) -> None:
    held = dict(np.load(file))
    np.savez(file, allow_pickle=True, **{**held, **arrays})


DAMAGES: list[Callable[[Path], None]] = [
    cut,
    noise,
    lambda file: changed(file, said=np.array([{"levels": []}], object)),
    lambda file: changed(file, said=np.frombuffer(b"[1]", np.uint8)),
    lambda file: changed(file, cost0=np.load(file)["cost0"] + 1),
    lambda file: changed(file, next0=np.load(file)["next0"] + 1000),
    lambda file: changed(file, next0=np.load(file)["next0"][:, :1]),
    lambda file: changed(file, built=np.array([0.5, 1.5])),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_what_it_should_be_is_made_anew(
    damage: Callable[[Path], None],
) -> None:
    wanted = said(cost_tables(spec()))
    (file,) = files()
    damage(file)
    assert said(cost_tables(spec())) == wanted
    with np.load(file, allow_pickle=False) as mended:
        assert json.loads(mended["said"].tobytes())["free"] == ["train.lr"]


def test_a_space_without_tables_is_remembered_too() -> None:
    endless = TEXT.replace("w: {choice: [8, 12, 16]}", "w: {range: [8, 4000000]}")
    with pytest.raises(Unsteady, match="3,999,993 values") as first:
        cost_tables(spec(endless))
    assert len([*files()]) == 1
    with pytest.raises(Unsteady) as again:
        cost_tables(spec(endless))
    assert str(again.value) == str(first.value)


def test_a_folder_that_cannot_be_written_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cost_tables(spec()).size == 18


def test_who_comes_second_waits_for_the_first() -> None:
    wanted = said(cost_tables(spec()))
    (file,) = files()
    held = file.read_bytes()
    file.unlink()
    found: list[Any] = []
    second = threading.Thread(target=lambda: found.append(said(cost_tables(spec()))))
    with file.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second.start()
        second.join(0.3)
        assert second.is_alive()
        file.write_bytes(held)
        written = file.stat().st_mtime_ns
    second.join(30)
    assert found == [wanted]
    assert file.stat().st_mtime_ns == written
