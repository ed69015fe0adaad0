"""Where a value comes from, and what changes between two networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flopwise
from flopwise.cli import main
from flopwise.errors import SpecError
from flopwise.report.differences import describe_comparison

TABLE = Path(__file__).parents[2] / "examples" / "tables" / "convnext_kernels.yaml"
BASE = """\
spec: 1
name: base
input: {size: 32}
classes: 10
vars: {w: 16, k: 3}
defaults: {kernel: 5, conv: {kernel: $k}}
net:
  stem: {block: conv, dim: $w}
  body: {block: conv, dim: $(w*i + 2*w), depth: 2}
  last: {block: conv, dim: 8, stride: 2}
  head: {block: classifier}
train: {lr: 0.01}
"""
CHILD = """\
spec: 1
name: child
extends: ./base.yaml
vars:
  w: 24
net:
  last: null
  stem: {kernel: 7}
table:
  rows:
    wide: {set: {w: 32}}
    wider: {set: {w: 48, net.body: {block: conv, dim: 64}}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "child.yaml").write_text(CHILD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(spec: str, path: str, **sets: object) -> str:
    return "\n\n".join(map(str, flopwise.load(spec, **sets).explain(path)))


def test_every_place_that_set_a_variable_is_listed_in_order(home: Path) -> None:
    assert told("child.yaml#wider", "w", w=64) == (
        "w = 64\n"
        "  base.yaml:5:11    16\n"
        "  child.yaml:5:6    24\n"
        "  child.yaml:11:21  32   by row 'wide'\n"
        "  child.yaml:12:22  48   by row 'wider'\n"
        "  --set             64"
    )
    assert told("child.yaml", "vars.w") == told("child.yaml", "w")


def test_a_target_of_a_search_is_explained_though_its_name_is_a_path(home: Path) -> None:
    space = "search: {space: {w: {choice: [16, 32]}, net.body.depth: {range: [1, 4]}}}\n"
    (home / "base.yaml").write_text(BASE + space)
    target = "search.space.net.body.depth"
    assert told("base.yaml", target, **{f"{target}.range": [2, 6]}) == (
        f"{target}.range\n  base.yaml:13:65  [1, 4]\n  --set            [2, 6]"
    )


def test_a_computed_value_shows_its_computation_and_what_it_needs(home: Path) -> None:
    assert told("child.yaml", "net.stem.dim") == (
        "net.stem.dim = 24\n  base.yaml:8:28  $w\n  dim = w = 24\n\n"
        "w = 24\n  base.yaml:5:11  16\n  child.yaml:5:6  24"
    )


def test_the_defaults_that_do_not_hold_are_listed_too(home: Path) -> None:
    assert told("child.yaml", "net.stem.kernel") == (
        "net.stem.kernel = 7\n"
        "  child.yaml:8:18  7\n"
        "  defaults.conv.kernel (not used):\n"
        "  base.yaml:6:38   $k\n"
        "  defaults.kernel (not used):\n"
        "  base.yaml:6:20   5"
    )
    assert "  defaults.conv.kernel:\n  base.yaml:6:38  $k" in told("base.yaml", "net.body.kernel")


def test_a_default_of_a_block_or_of_the_language_is_said_to_be_one(home: Path) -> None:
    assert told("base.yaml", "net.stem.groups") == (
        "net.stem.groups = 1\n  the default of block 'conv'"
    )
    assert told("base.yaml", "train.epochs") == "train.epochs = 5\n  the default of the language"
    assert told("base.yaml", "input.channels") == (
        "input.channels = 3\n  the default of the language"
    )
    assert told("base.yaml", "train.lr") == "train.lr = 0.01\n  base.yaml:12:13  0.01"


def test_values_that_differ_between_repetitions_are_all_shown(home: Path) -> None:
    assert told("base.yaml", "net.body.dim").startswith("net.body.dim = 32, 48\n")
    assert told("base.yaml", "net.body[1].dim").startswith("net.body[1].dim = 48\n")


def test_one_repetition_is_explained_before_all_of_them(home: Path) -> None:
    design = flopwise.load("base.yaml", {"net.body[1].kernel": 9})
    single, *_ = design.explain("net.body[1].kernel")
    assert (single.value, single.sources[0].path) == ("9", "net.body[1].kernel")
    assert design.explain("net.body.kernel")[0].value == "3, 9"


def test_what_was_taken_away_is_told(home: Path) -> None:
    assert told("child.yaml", "net.last.dim") == (
        "net.last.dim\n  base.yaml:10:28  8\n  child.yaml:7:3   taken away"
    )
    assert "taken away   by row 'wider'" in told("child.yaml#wider", "net.body.depth")


def test_a_stage_is_explained_setting_by_setting(home: Path) -> None:
    paths = [each.path for each in flopwise.load("base.yaml").explain("net.stem")]
    assert {"net.stem.block", "net.stem.dim", "net.stem.stride", "w", "k"} <= set(paths)
    assert [each.path for each in flopwise.load("base.yaml").explain("vars")] == ["w", "k"]


def test_an_unknown_path_is_told_the_nearest(home: Path) -> None:
    for path, near in (("net.stme.dim", "net.stem.dim"), ("train.lrr", "train.lr")):
        with pytest.raises(SpecError) as caught:
            flopwise.load("base.yaml").explain(path)
        (fault,) = caught.value.faults
        assert (fault.code, fault.helps) == ("E404", (f"did you mean '{near}'?",))


def test_a_row_that_is_extended_is_part_of_the_story(home: Path) -> None:
    (home / "more.yaml").write_text("spec: 1\nname: more\nextends: ./child.yaml#wide\n")
    assert told("more.yaml", "w").splitlines()[-1] == "  child.yaml:11:21  32   by row 'wide'"


def test_the_verb_prints_text_or_json_or_the_page_of_a_code(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "base.yaml", "w"]) == 0
    assert capsys.readouterr().out == "w = 16\n  base.yaml:5:11  16\n"
    assert main(["explain", "base.yaml", "w", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["sources"][0]["steps"] == [
        {"file": "base.yaml", "line": 5, "column": 11, "text": "16", "by": ""}
    ]
    assert main(["explain", "e411"]) == 0
    assert capsys.readouterr().out.startswith("E411: ")
    assert main(["explain", "base.yaml"]) == 2
    assert "there is no path to explain" in capsys.readouterr().err


# --- diff ----------------------------------------------------------------------------------------


def differences(one: str, other: str) -> list[str]:
    found = flopwise.load(one).diff(flopwise.load(other))
    return [str(each) for each in (*found.network, *found.recipe)]


def test_settings_that_change_are_told_with_both_values(home: Path) -> None:
    assert differences("base.yaml", "child.yaml") == [
        "~ net.stem.dim: 16 -> 24",
        "~ net.stem.kernel: 3 -> 7",
        "~ net.body.dim: [32, 48] -> [48, 72]",
        "- net.last",
    ]
    assert differences("child.yaml", "base.yaml")[-1] == (
        "+ net.last: {block: conv, dim: 8, stride: 2}"
    )


def test_what_does_not_change_is_not_told(home: Path) -> None:
    found = flopwise.load("base.yaml").diff(flopwise.load("base.yaml"))
    assert found.same and not found.network and not found.recipe
    assert "are the same network" in describe_comparison(found)


def test_the_same_network_may_be_written_otherwise(home: Path) -> None:
    (home / "other.yaml").write_text(BASE.replace("stem", "first").replace("lr: 0.01", "lr: 0.1"))
    found = flopwise.load("base.yaml").diff(flopwise.load("other.yaml"))
    assert found.same and found.network
    assert [str(each) for each in found.recipe] == ["~ train.lr: 0.01 -> 0.1"]


def test_images_classes_and_what_a_stage_reads_are_compared(home: Path) -> None:
    joined = BASE.replace("  head", "  sum: {block: add, from: [stem, body]}\n  head")
    one = joined.replace(", depth: 2", "").replace("  last: {block: conv, dim: 8, stride: 2}\n", "")
    one = one.replace("$(w*i + 2*w)", "$w")
    (home / "one.yaml").write_text(one)
    (home / "two.yaml").write_text(
        one.replace("size: 32", "size: 48")
        .replace("10", "5")
        .replace("[stem, b", "[input, b")
        .replace("dim: $w", "dim: 3")
    )
    assert differences("one.yaml", "two.yaml") == [
        "~ input.size: [32, 32] -> [48, 48]",
        "~ classes: 10 -> 5",
        "~ net.stem.dim: 16 -> 3",
        "~ net.body.dim: 16 -> 3",
        "~ net.sum.from: stem, body -> input, body",
    ]


def test_the_verb_compares_files_shipped_specs_and_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["diff", "std/convnext_tiny", f"{TABLE}#k11"]) == 0
    out = capsys.readouterr().out
    assert "~ net.stage3.kernel: 7 -> 11\n" in out
    assert "MACs                4.456G  4.610G     +154.4M  +3.5%" in out
    assert main(["diff", f"{TABLE}#k7", "std/convnext_tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["network"]) == (True, [])
    assert found["costs"]["macs"] == [4_455_531_264, 4_455_531_264]
