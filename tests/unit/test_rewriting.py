"""Commands that write a spec anew: resolve, fmt and upgrade."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flopwise
from flopwise.cli import main
from flopwise.dsl.files import VERSION
from flopwise.dsl.format import format_text
from flopwise.dsl.upgrade import STEPS, upgrade_text
from tests.unit.test_tools import GOOD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good specs, not laid out."""
    for name in ("a.yml", "b.yaml", "deep/er/c.yaml"):
        path = tmp_path / "nets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GOOD)
    return tmp_path / "nets"


def test_resolve_prints_or_writes_the_resolved_spec(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = str(folder / "b.yaml"), tmp_path / "resolved.yaml"
    assert main(["resolve", path, "-o", str(out)]) == 0
    assert main(["resolve", path]) == 0
    assert capsys.readouterr().out.endswith(out.read_text())
    assert flopwise.load(out).hash == flopwise.load(path).hash


def test_fmt_rewrites_and_check_only_looks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "b.yaml"
    before = flopwise.load(path).hash
    path.chmod(0o640)
    assert main(["fmt", str(path), "--check"]) == 1
    assert path.read_text() == GOOD
    assert main(["fmt", str(path)]) == 0
    assert path.read_text() == format_text(GOOD, "t") != GOOD
    assert path.stat().st_mode & 0o777 == 0o640
    assert flopwise.load(path).hash == before
    assert main(["fmt", str(path), "--check"]) == 0
    assert list(folder.glob(".b.*")) == []


def test_fmt_of_a_broken_file_leaves_it_and_does_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "broken.yaml"
    broken.write_text("spec: 1\nname: [x\n")
    assert main(["fmt", str(folder)]) == 2
    shown = capsys.readouterr()
    assert broken.read_text() == "spec: 1\nname: [x\n"
    assert "E013" in shown.err and "4 files: 3 changed, 1 with faults" in shown.out


DRAFT = """\
# a draft
name: old   # no version yet
input: {size: 32, channels: 3}
net:
  stem: {block: patchify, patch: 4, dim: 8}
  a:    {block: convnext, dim: 16, downsample: 2}   # halves
  b:
    downsample: $(1+1)
    block: convnext
    dim: 32
  head: {block: classifier, norm: ln}
table:
  rows:
    wide: {set: {net.a.dim: 24, net.a.downsample: 4}}
"""


def test_every_older_version_has_a_step() -> None:
    assert set(STEPS) == set(range(VERSION))


@pytest.mark.parametrize("draft", [DRAFT, DRAFT.replace("name:", "spec: 0\nname:")])
def test_a_draft_is_upgraded_with_its_comments_and_a_proof(
    draft: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(draft)
    before = flopwise.load(path)
    assert [warning.code for warning in before.spec.warnings][-1] == "W120"
    assert main(["upgrade", str(path), "--check"]) == 1
    assert path.read_text() == draft
    capsys.readouterr()
    assert main(["upgrade", str(path)]) == 0
    said = capsys.readouterr().out
    assert "upgraded from version 0" in said
    assert len(re.findall(r"checkpoint keys and hash \w+ before and after", said)) == 2  # and a row
    new = path.read_text()
    assert new == DRAFT.replace("name:", "spec: 1\nname:").replace("downsample", "stride")
    after = flopwise.load(path)
    assert after.spec.warnings == ()
    assert (after.hash, after.row("wide").hash) == (before.hash, before.row("wide").hash)
    assert main(["upgrade", str(path)]) == 0
    assert "newest version already" in capsys.readouterr().out


def test_a_draft_in_braces_and_with_windows_line_breaks() -> None:
    old = "{name: x, net: {a: {block: convnext, downsample: 2}}}"
    assert upgrade_text(old, "t") == "{spec: 1, name: x, net: {a: {block: convnext, stride: 2}}}"
    old = "name: x\r\nnet: {a: {block: convnext, downsample: 2}}\r\n"
    new = "spec: 1\r\nname: x\r\nnet: {a: {block: convnext, stride: 2}}\r\n"
    assert upgrade_text(old, "t") == new


def test_words_of_the_newest_version_are_left_alone() -> None:
    text = "spec: 0\nnet: {a: {block: residual, downsample: shortcut}}\nx_y: {downsample: 2}\n"
    assert upgrade_text(text, "t") == text.replace("spec: 0", "spec: 1")


def test_a_newer_version_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("spec: 7\nname: x\n")
    assert main(["upgrade", str(path)]) == 2
    assert "version 1 of the language, not version 7" in capsys.readouterr().err
