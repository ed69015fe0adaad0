"""What the README says is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import flopwise
from flopwise.cli import make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for line in README.splitlines() if line.startswith("python3.11 -m venv")]


def fenced(language: str) -> str:
    found = re.search(rf"```{language}\n(spec|import)(.*?)```", README, re.DOTALL)
    assert found
    return found[1] + found[2]


def test_the_first_screen_has_two_commands_of_one_line_each() -> None:
    search, tests = COMMANDS
    assert search.endswith("&& .venv/bin/flopwise search examples/quickstart.yaml")
    assert tests.endswith("&& .venv/bin/pytest -n auto")
    assert all(README.splitlines().index(line) < 20 for line in COMMANDS)


def test_ci_runs_the_tests_as_the_readme_does() -> None:
    script = (ROOT / ".ci/run").read_text()
    mark = re.search(r'grep -m1 -F "(.*)" README\.md', script)
    assert mark
    first = next(line for line in README.splitlines() if mark[1] in line)
    assert first == COMMANDS[1]
    assert ".venv" in first


def test_every_shipped_spec_in_a_command_exists() -> None:
    for path in re.findall(r"examples/[\w/.]+\.yaml", README):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"std/\w+", README):
        flopwise.load(name)


def test_every_verb_of_the_readme_exists() -> None:
    for verb in re.findall(r"\| `flopwise (\w+)", README):
        with pytest.raises(SystemExit) as end:
            make_parser().parse_args([verb, "--help"])
        assert end.value.code == 0


def test_the_spec_of_the_readme_is_valid_and_meets_its_budget() -> None:
    design = flopwise.loads(fenced("yaml"), name="README.md")
    assert design.spec.search is not None
    assert design.spec.feasible(design.network, design.cost()) == []


def test_the_python_of_the_readme_runs() -> None:
    lines = [line for line in fenced("python").splitlines() if "search(" not in line]
    exec("\n".join(lines), {})


@pytest.mark.slow
def test_the_search_of_the_readme_ends_with_an_exported_folder(
    tmp_path: Path,
) -> None:
    words = shlex.split(COMMANDS[0].rpartition("&& ")[2])
    assert words[0] == ".venv/bin/flopwise"
    subprocess.run(
        [sys.executable, "-m", "flopwise", *words[1:], "--out", str(tmp_path / "study")],
        cwd=ROOT,
        check=True,
    )
    assert list(tmp_path.rglob("model.safetensors"))
