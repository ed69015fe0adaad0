"""Blocks of one's own: consent, files, and two vocabularies in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flopwise
from flopwise.cli import main
from flopwise.dsl import load, loads
from flopwise.dsl.consent import allow, is_allowed
from flopwise.errors import SpecError

SPEC = """
spec: 1
name: net
use: [./{file}]
input: {{size: 16}}
classes: 4
net:
  stem: {{block: conv, dim: 8}}
  one: {{block: mine, dim: 8}}
  head: {{block: classifier}}
"""
CODE = '''
from flopwise.blocks import Map, Positive, block
from flopwise.blocks.layers import conv

# {remark}


@block
def mine(x: Map, *, dim: Positive = 4) -> Map:
    """Widens."""
    return conv(x, {times} * dim, name="conv", kernel=1)
'''


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def write(text: str, *, file: str = "mine.py", spec: str = "net.yaml") -> Path:
    Path(file).write_text(text, encoding="utf-8")
    Path(spec).write_text(SPEC.format(file=file), encoding="utf-8")
    return Path(spec)


def codes(error: pytest.ExceptionInfo[SpecError]) -> list[str]:
    return [fault.code for fault in error.value.faults]


def test_code_runs_once_it_is_allowed_and_until_it_changes() -> None:
    spec = write(CODE.format(remark="first", times=1))
    with pytest.raises(SpecError) as refused:
        load(spec)
    assert codes(refused) == ["E114"]
    wide = load(spec, allow_code=True).network()
    assert load(spec).network().hash == wide.hash
    write(CODE.format(remark="second", times=2))
    with pytest.raises(SpecError) as again:
        load(spec)
    assert codes(again) == ["E114"]


def test_what_was_allowed_is_remembered_by_its_hash_alone(tmp_path: Path) -> None:
    allow("x = 1\n", "some name")
    (line,) = (tmp_path / "config/flopwise/allowed.txt").read_text().splitlines()
    assert line.endswith(" some name")
    assert is_allowed("x = 1\n")
    assert not is_allowed("x = 2\n")


def test_a_refused_file_is_not_run() -> None:
    spec = write('from pathlib import Path\nPath("ran").touch()\n')
    for options in ({}, {"allow_code": None}):
        with pytest.raises(SpecError):
            load(spec, **options)
    assert not Path("ran").exists()
    assert main(["check", str(spec)]) == 2
    assert main(["check", str(spec), "--no-code"]) == 2
    assert not Path("ran").exists()


def test_without_code_its_blocks_are_unknown_and_that_is_said() -> None:
    spec = write(CODE.format(remark="none", times=1))
    with pytest.raises(SpecError) as error:
        load(spec, allow_code=None)
    assert codes(error) == ["E101"]
    assert "no code was run" in error.value.faults[0].notes[0]


def test_the_command_line_allows_code_for_good(capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(CODE.format(remark="cli", times=1))
    assert main(["check", str(spec)]) == 2
    assert main(["check", str(spec), "--allow-code"]) == 0
    assert main(["check", str(spec)]) == 0
    assert "--allow-code" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("n", 2), ("", 2)])
def test_a_person_at_a_terminal_is_asked_once(answer: str, code: int) -> None:
    spec = write(CODE.format(remark="asked", times=1))
    here, there = os.openpty()
    os.write(here, f"{answer}\n".encode())
    command = [sys.executable, "-m", "flopwise", "check", str(spec)]
    first = subprocess.run(command, stdin=there, stderr=there, stdout=subprocess.PIPE)
    told = os.read(here, 20_000).decode()
    os.close(here), os.close(there)
    assert first.returncode == code
    assert "[y/N]" in told
    again = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert again.returncode == code
    assert "[y/N]" not in again.stderr


def test_two_specs_use_blocks_of_one_name() -> None:
    one = load(write(CODE.format(remark="one", times=1)), allow_code=True)
    two = load(
        write(CODE.format(remark="two", times=3), file="other.py", spec="b.yaml"), allow_code=True
    )
    assert [spec.network().stages[1].block.name for spec in (one, two)] == ["mine", "mine"]
    assert one.network().graph.params != two.network().graph.params
    assert one.set([("net.one.dim", "4")]).network().graph.macs < one.network().graph.macs


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("def mine(:\n    pass\n", "E115", 1),
        ("import math\n\n\nraise SystemExit\n", "E115", 4),
        ("import a_module_that_is_not_there\n", "E115", 1),
        ("from flopwise.blocks import block\n\n\n@block\ndef mine(x):\n    return x\n", "E116", 5),
        (
            "from flopwise.blocks import Map, block\n\n\n@block\ndef mine(*, dim: int) -> Map:\n"
            "    return dim\n",
            "E116",
            5,
        ),
        (
            "from flopwise.blocks import Map, block\n\n\n@block\n"
            "def mine(x: Map, dim: int) -> Map:\n    return x\n",
            "E116",
            5,
        ),
        (
            "from flopwise.blocks import Map, block\n\n\n@block\n"
            "def mine(x: Map, *, dim: int) -> Map:\n    return None\n",
            "E116",
            None,
        ),
    ],
)
def test_a_broken_file_is_told_by_its_own_line(text: str, code: str, line: int | None) -> None:
    with pytest.raises(SpecError) as error:
        load(write(text), allow_code=True)
    (fault,) = error.value.faults
    assert fault.code == code
    assert fault.place is not None
    assert fault.place.source.name == ("mine.py" if line else "net.yaml")
    assert line in (fault.place.line, None)
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "code"),
    [("../out.py", "E110"), ("./gone.py", "E105"), ("./net.yaml", "E105"), ("/etc/x.py", "E110")],
)
def test_only_python_files_of_the_project_can_be_used(value: str, code: str) -> None:
    write(CODE.format(remark="paths", times=1))
    Path("net.yaml").write_text(SPEC.format(file="x").replace("./x", value), encoding="utf-8")
    with pytest.raises(SpecError) as error:
        load("net.yaml", allow_code=True)
    assert codes(error) == [code]


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "project"
    inside.mkdir()
    (tmp_path / "secret.py").write_text(CODE.format(remark="link", times=1), encoding="utf-8")
    (inside / "mine.py").symlink_to(tmp_path / "secret.py")
    (inside / "net.yaml").write_text(SPEC.format(file="mine.py"), encoding="utf-8")
    with pytest.raises(SpecError) as error:
        load(inside / "net.yaml", allow_code=True)
    assert codes(error) == ["E110"]


def test_a_child_uses_what_its_parent_names_relative_to_the_parent() -> None:
    Path("parts").mkdir()
    Path("parts/mine.py").write_text(CODE.format(remark="kin", times=1), encoding="utf-8")
    Path("parts/net.yaml").write_text(SPEC.format(file="mine.py"), encoding="utf-8")
    Path("child.yaml").write_text(
        "spec: 1\nname: child\nextends: ./parts/net.yaml\nnet: {one: {dim: 5}}\n", encoding="utf-8"
    )
    spec = load("child.yaml", allow_code=True)
    assert "parts/mine.py" in spec.sources
    assert spec.network().stages[1].settings[0]["dim"] == 5


def test_the_code_travels_with_the_resolved_spec(tmp_path: Path) -> None:
    from flopwise.search.manifest import write_resolved

    spec = load(write(CODE.format(remark="resolved", times=1)), allow_code=True)
    write_resolved(tmp_path / "study/winner", spec, {})
    again = load(tmp_path / "study/winner/resolved.yaml")
    assert again.network().hash == spec.network().hash
    assert again.network().graph.keys() == spec.network().graph.keys()


def test_designs_take_code_too() -> None:
    spec = write(CODE.format(remark="design", times=1))
    design = flopwise.load(spec, allow_code=True)
    assert design.set({"net.one.dim": 3}).cost().params < design.cost().params
    with pytest.raises(SpecError):
        loads(SPEC.format(file="mine.py").replace("[./mine.py]", "5"))
