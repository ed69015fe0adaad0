"""The command line: what it prints, how it ends, and what it leaves unimported."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flopwise
from flopwise.cli import main, make_parser
from flopwise.cli.parser import VERBS
from tests.searches import from_a_shell

GOLDEN = Path(__file__).parent / "golden" / "help"

SPEC = """\
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8}
net:
  stem:  {block: patchify, patch: 2, dim: $w}
  stage: {block: convnext, depth: 2, kernel: 3}
  head:  {block: classifier, norm: ln}
"""

MALFORMED = {
    "an empty file": "",
    "a list": "- spec: 1\n",
    "no version": SPEC.replace("spec: 1\n", ""),
    "a version from the future": SPEC.replace("spec: 1", "spec: 99"),
    "an unknown section": SPEC + "nett: {}\n",
    "no net": "spec: 1\nname: tiny\n",
    "an unknown block": SPEC.replace("convnext", "convnxt"),
    "an unknown setting": SPEC.replace("kernel: 3", "kernal: 3"),
    "an even kernel": SPEC.replace("kernel: 3", "kernel: 4"),
    "a text for a number": SPEC.replace("kernel: 3", "kernel: large"),
    "a number below its limit": SPEC.replace("depth: 2", "depth: -1"),
    "an unknown variable": SPEC.replace("$w", "$v"),
    "variables in a circle": SPEC.replace("{w: 8}", "{w: $v, v: $w}"),
    "an unfinished expression": SPEC.replace("$w", "$(w +)"),
    "a duplicate key": SPEC + "classes: 10\n",
    "an anchor": SPEC.replace("{w: 8}", "&a {w: 8}"),
    "a tag": SPEC.replace("{w: 8}", "!!python/object:os.system {w: 8}"),
    "a tab": SPEC.replace("  stage:", "\tstage:"),
    "a yes for a truth": SPEC + "train: {flip: yes}\n",
    "unbalanced braces": SPEC.replace("{w: 8}", "{w: 8"),
    "an input from nowhere": SPEC.replace("kernel: 3", "kernel: 3, from: nowhere"),
    "a class token into a convolution": SPEC.replace(
        "  stage:", "  seq: {block: to_tokens}\n  cls: {block: class_token}\n  stage:"
    ),
    "a map that shrinks to nothing": SPEC.replace("patch: 2", "patch: 16"),
    "a domain without values": SPEC + "search: {space: {w: {choice: []}}}\n",
    "a target that does not exist": SPEC + "search: {space: {u: {choice: [1, 2]}}}\n",
    "a parent that does not exist": SPEC + "extends: ./missing.yaml\n",
    "an unknown recipe key": SPEC + "train: {epoch: 3}\n",
}


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flopwise", *words]
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return str(path)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("style", ["long", "short"])
def test_a_malformed_spec_ends_with_2_and_a_pointed_message(
    text: str, style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(text)
    assert main(["check", str(path), "--errors", style]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert re.search(r"E\d\d\d", shown.err)
    assert re.search(r"net\.yaml:\d+:\d+", shown.err), shown.err


def test_all_faults_of_a_file_are_shown_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SPEC.replace("kernel: 3", "kernal: 3").replace("norm: ln", "nrom: ln"))
    assert main(["check", str(path), "--errors", "short"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_faults_are_json_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SPEC.replace("kernel: 3", "kernal: 3"))
    assert main(["check", str(path), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["faults"][0]["line"] == 8


def test_a_good_spec_ends_with_0(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", spec]) == 0
    assert "tiny" in capsys.readouterr().out


def test_a_warning_is_shown_and_the_end_is_still_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SPEC.replace("{w: 8}", "{w: 8, unused: 1}"))
    assert main(["check", str(path)]) == 0
    assert "warning[W401]" in capsys.readouterr().err
    assert main(["check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"][0]["code"] == "W401"


def test_a_missing_file_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "missing.yaml"]) == 2
    assert "missing.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["shwo"], ["show"], ["show", "x.yaml", "--set", "w"], []])
def test_a_mistaken_command_line_is_bad_input(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2


def test_show_json_is_one_object_with_exact_integers(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", spec, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["convention"] == "macs"
    assert re.fullmatch("[0-9a-f]{8,}", answer["hash"])
    for metric in ("macs", "params", "activations"):
        assert type(answer[metric]) is int
        assert answer[metric] == sum(stage[metric] for stage in answer["stages"])
    stem, stage, head = (s for s in answer["stages"] if s["name"] in ("stem", "stage", "head"))
    assert (stem["kernel"], stem["stride"], stem["output"], stem["width"]) == (2, 2, [8, 4, 4], 8)
    assert (stage["block"], stage["depth"], stage["kernel"]) == ("convnext", 2, 3)
    assert head["output"] == [10]


def test_show_prints_a_table_with_totals_and_the_convention(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", spec]) == 0
    text = capsys.readouterr().out
    cost = flopwise.load(spec).cost()
    for word in ("stage", "output", "block", "width", "depth", "kernel", "stride", "activations"):
        assert word in text
    assert f"{cost.macs:,} MACs" in text
    assert "convention" in text


def test_set_changes_a_variable_and_a_place(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", spec, "--json", "--set", "w=16", "--set", "net.stage.depth=3"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["stages"][0]["width"] == 16
    assert answer["stages"][1]["depth"] == 3


def test_a_set_of_something_unknown_is_bad_input(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", spec, "--set", "net.stagee.depth=3"]) == 2
    assert "stagee" in capsys.readouterr().err


def test_a_shipped_network_is_found_by_its_bare_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "resnet18", "--json"]) == 0
    bare = json.loads(capsys.readouterr().out)
    assert main(["show", "std/resnet18", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == bare


@pytest.mark.parametrize("verb", ["check", "show"])
def test_check_and_show_import_nothing_heavy_and_take_less_than_a_second(verb: str) -> None:
    code = (
        "import sys; from flopwise.cli import main; "
        f"code = main(['{verb}', 'std/resnet50']); "
        "heavy = {'torch', 'timm', 'optuna', 'pandas', 'numpy.linalg'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # processor time: what the machine does for others does not count
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_build_prints_the_source_that_the_api_returns(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", spec, "--code"]) == 0
    code = capsys.readouterr().out
    assert code.strip() == flopwise.load(spec).source().strip()
    compile(code, "model.py", "exec")


def test_build_prints_the_module(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", spec]) == 0
    assert "conv_dw" in capsys.readouterr().out


def test_a_closed_pipe_is_no_error(spec: str) -> None:
    command = [sys.executable, "-m", "flopwise", "show", spec]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_text_is_pinned(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"] if verb else ["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text == (GOLDEN / f"{verb or 'flopwise'}.txt").read_text(), (
        "if the new text is meant: COLUMNS=80 flopwise VERB --help > tests/golden/help/VERB.txt"
    )


def test_every_example_in_a_help_text_parses() -> None:
    for path in GOLDEN.glob("*.txt"):
        for line in path.read_text().splitlines():
            if line.startswith("  flopwise "):
                words = line.partition(" >")[0].split()[1:]
                make_parser().parse_args(words)


@pytest.mark.slow
def test_an_interrupted_training_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    words = ["train", str(path), "--epochs", "400", "--out", str(tmp_path / "run")]
    process = from_a_shell(*words, cwd=tmp_path, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout
    while "epoch" not in process.stdout.readline():
        assert process.poll() is None, process.communicate()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: flopwise train" in told
    assert "Traceback" not in told
