"""Chains of specs: where a parent may lie, how deep they go, and what is said when they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from flopwise.dsl import load, loads
from flopwise.dsl.files import MAX_CHAIN
from flopwise.errors import Fault, SpecError

HEAD = """\
spec: 1
name: base
input: {size: 32}
classes: 10
vars: {w: 16}
net:
  stem: {block: conv, dim: $w}
  head: {block: classifier}
"""


def child(path: Path, parent: str, more: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"spec: 1\nname: child\nextends: {parent}\n{more}")
    return path


def fault(path: Path, root: Path | None = None) -> Fault:
    with pytest.raises(SpecError) as caught:
        load(path, root=root)
    return caught.value.faults[0]


def width(path: Path, root: Path | None = None) -> object:
    return load(path, root=root).value("w")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(HEAD)
    return tmp_path


def test_a_path_is_relative_to_the_file_that_says_it(home: Path) -> None:
    child(home / "nets" / "one.yaml", "./two.yaml", "vars: {w: 8}\n")
    child(home / "nets" / "two.yaml", "../base.yaml")
    assert width(home / "nets" / "one.yaml", home) == 8
    assert list(load(home / "nets" / "one.yaml", root=home).sources) == [
        "nets/one.yaml",
        "nets/two.yaml",
        "base.yaml",
    ]


def test_files_of_the_same_name_are_told_apart(home: Path) -> None:
    path = child(home / "nets" / "base.yaml", "../base.yaml", "vars: {w: 8}\n")
    spec = load(path, root=home)
    assert spec.value("w") == 8
    assert list(spec.sources) == ["nets/base.yaml", "base.yaml"]
    assert spec.sources["base.yaml"] == HEAD


def test_a_chain_may_be_as_long_as_the_limit(home: Path) -> None:
    (home / "0.yaml").write_text(HEAD)
    for number in range(1, MAX_CHAIN + 1):
        child(home / f"{number}.yaml", f"./{number - 1}.yaml", f"vars: {{w: {number}}}\n")
    assert width(home / f"{MAX_CHAIN - 1}.yaml") == MAX_CHAIN - 1
    told = fault(home / f"{MAX_CHAIN}.yaml")
    assert (told.code, told.message) == ("E110", f"more than {MAX_CHAIN} files extend each other")


def test_a_link_is_followed_inside_the_project(home: Path) -> None:
    (home / "link.yaml").symlink_to(home / "base.yaml")
    assert width(child(home / "net.yaml", "./link.yaml")) == 16


def test_a_link_to_itself_is_a_circle(home: Path) -> None:
    path = child(home / "net.yaml", "./again.yaml")
    (home / "again.yaml").symlink_to(path)
    assert fault(path).code == "E110"


def test_a_linked_project_is_inside_itself(home: Path) -> None:
    child(home / "real" / "net.yaml", "./base.yaml")
    (home / "real" / "base.yaml").write_text(HEAD)
    (home / "linked").symlink_to(home / "real")
    assert width(home / "linked" / "net.yaml") == 16


@pytest.mark.parametrize("parent", ["../base.yaml", "nets/../../base.yaml", "{home}/base.yaml"])
def test_no_parent_outside_the_project(home: Path, parent: str) -> None:
    told = fault(child(home / "nets" / "net.yaml", parent.format(home=home)))
    assert told.code == "E110"
    assert "leaves the folder of the project" in told.message


def test_dots_that_stay_inside_are_fine(home: Path) -> None:
    (home / "nets").mkdir()
    assert width(child(home / "net.yaml", "./nets/../base.yaml")) == 16


@pytest.mark.parametrize(
    ("parent", "said"),
    [
        ("./bsae.yaml", "did you mean './base.yaml'?"),
        ("./base", "did you mean './base.yaml'?"),
        ("nets/base.yml", "did you mean 'nets/base.yaml'?"),
        ("./resnet50.yaml", "did you mean the shipped spec 'std/resnet50'?"),
        ("std/resnet55", "did you mean 'std/resnet50'?"),
        ("./nets", "name a file in it, such as ./nets/base.yaml"),
    ],
)
def test_the_file_that_was_meant_is_named(home: Path, parent: str, said: str) -> None:
    (home / "nets").mkdir()
    (home / "nets" / "base.yaml").write_text(HEAD)
    told = fault(child(home / "net.yaml", parent))
    assert (told.code, told.helps) == ("E105", (said,))
    assert told.place and told.place.line == 3


def test_a_link_that_leads_nowhere_is_told(home: Path) -> None:
    (home / "loop.yaml").symlink_to(home / "loop.yaml")
    (home / "gone.yaml").symlink_to(home / "nowhere.yaml")
    assert fault(child(home / "net.yaml", "./gone.yaml")).code == "E105"
    assert fault(child(home / "net.yaml", "./loop.yaml")).code == "E105"
    assert fault(home / "loop.yaml").code == "E105"
    assert fault(child(home / "net.yaml", '"./a\\0b.yaml"')).code == "E105"


def test_a_file_that_may_not_be_read_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # a root user may read every file
    told = fault(home / "base.yaml")
    assert (told.code, told.message[-33:]) == ("E105", "may not be read (permission denied)"[-33:])


def test_a_parent_is_one_name(home: Path) -> None:
    assert fault(child(home / "net.yaml", "[./base.yaml, ./more.yaml]")).code == "E201"


def test_a_broken_parent_is_told_with_the_line_that_names_it(home: Path) -> None:
    (home / "base.yaml").write_text(HEAD.replace("conv,", "conv"))
    told = fault(child(home / "net.yaml", "./base.yaml"))
    assert told.place and told.place.source.name.endswith("base.yaml")
    assert [label for _, label in told.also] == ["extended here"]


def test_what_only_shows_in_the_parent_names_the_child(home: Path) -> None:
    told = fault(child(home / "net.yaml", "./base.yaml", "vars: {w: 1.5}\n"))
    assert told.place and told.place.source.name.endswith("base.yaml")
    assert "inherited through this line" in [label for _, label in told.also]


def test_a_shipped_spec_stays_in_its_folder() -> None:
    spec = loads("spec: 1\nname: t\nextends: std/t2t_vit_c_14\n")
    assert list(spec.sources) == ["<text>", "std/t2t_vit_c_14", "std/t2t_vit_14"]
