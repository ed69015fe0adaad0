"""Every message about a broken spec, word by word.

A message is changed on purpose: run `python tests/golden/test_errors.py`, then read the difference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import mkdtemp

import pytest

import flopwise
from flopwise.dsl import load
from flopwise.errors import SpecError, render
from flopwise.report.warned import warned

FOLDER = Path(__file__).parent / "errors"
BROKEN = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SETS = (
    "hedas=3",
    "net.bdy.mlp=3",
    "nett.body.mlp=3",
    "net.body.mpl=3",
    "net.body.mlp=",
    "net.body.mlp=[1",
    "train.lr=yes",
    "net.bodi=null",
    "dim=$(w*2)",
    "classes=ten",
    "heads=5",
    "heads=null",
    "net.new={block: conv, after: pach}",
    "net.body[12].mlp=3",
    "net.body[0].depth=3",
    "net.patch[1].dim=3",
    "net.body[0].mpl=3",
)


def told(name: str) -> str:
    """Returns what is said about a file of the folder, warnings included."""
    try:
        spec = load(f"{name}.yaml", allow_code=not name.startswith("E114"))
        return f"{render(warned(spec))}\n"
    except SpecError as error:
        return f"{error}\n"


def told_of_set(text: str) -> str:
    path, _, value = text.partition("=")
    with pytest.raises(SpecError) as caught:
        load("std/vit_tiny_patch16_224", sets=[(path, value)])
    return f"$ --set '{text}'\n{caught.value}\n"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_spec_is_told_in_these_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    assert told(name) == (FOLDER / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", BROKEN)
def test_the_name_of_the_file_is_the_first_code_it_shows(name: str) -> None:
    assert f"[{name.partition('_')[0]}]" in (FOLDER / f"{name}.txt").read_text()


def test_a_broken_set_is_told_in_these_words() -> None:
    assert "\n".join(map(told_of_set, SETS)) == (FOLDER / "sets.txt").read_text()


def test_every_code_of_the_language_is_shown_in_some_file() -> None:
    sources = (Path(flopwise.__file__).parent / "dsl").glob("*.py")
    raised = {c for path in sources for c in re.findall(r'"([EW]\d{3})"', path.read_text())}
    shown = {c for path in FOLDER.glob("*.txt") for c in re.findall(r"\[(\w+)\]", path.read_text())}
    # E324 and E505 are asked of a spec that is in order, E121 of a layout: no file is at fault
    assert raised - shown == {"E121", "E324", "E505"}


def write() -> None:
    """Writes down what is said now."""
    os.environ["XDG_CONFIG_HOME"] = mkdtemp()  # where it is kept which code may run
    os.chdir(FOLDER)
    for name in BROKEN:
        (FOLDER / f"{name}.txt").write_text(told(name))
    (FOLDER / "sets.txt").write_text("\n".join(map(told_of_set, SETS)))


if __name__ == "__main__":
    write()
