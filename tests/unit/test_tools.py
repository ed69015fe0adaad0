"""The tools of the language: check folders, show as a paper does, fmt, upgrade, init, schema."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import flopwise
from flopwise.cli import main
from flopwise.design.rewriting import STARTERS, starter
from flopwise.dsl.format import format_text
from flopwise.report.stages import paper_table
from flopwise.report.tables import Table, draw, escape_latex

GOOD = """\
spec: 1
name: good
input: {size: 16, channels: 1}
classes: 10
vars: {w: 8, k: 3}
net:
  stem:  {block: patchify, patch: 2, dim: $w}
  stage: {block: convnext, depth: 2, kernel: $k}
  head:  {block: classifier, norm: ln}
search:
  space:
    w: {range: [8, 32], step: 8}
    k: {choice: [3, 5, 7]}
    net.stage.depth: {range: [1, 4]}
"""
BAD = GOOD.replace("kernel", "kernal").replace("patch:", "ptach:").replace("norm", "nrom")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good specs, one with three faults, and files that are none of either."""
    for name, text in {
        "b.yaml": GOOD,
        "a.yml": GOOD,
        "deep/er/bad.yaml": BAD,
        "data.yaml": "- spec: 1\n  rows: {}\n",
        ".hidden/bad.yaml": BAD,
        ".bad.yaml": BAD,
        "notes.txt": "spec: 1\n",
    }.items():
        path = tmp_path / "nets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "nets"


def test_a_folder_is_checked_file_by_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder), "--errors", "short"]) == 2
    shown = capsys.readouterr()
    names = [line.partition(": ")[0] for line in shown.out.splitlines()]
    assert [name for name in names if name.startswith(str(folder))] == [
        str(folder / "a.yml"),
        str(folder / "b.yaml"),
    ]
    assert shown.out.splitlines()[-1] == (
        "3 specs: 2 fine, 1 with 3 faults; 1 file without 'spec:' left out"
    )
    bad = re.escape(str(folder / "deep/er/bad.yaml"))
    assert len(re.findall(rf"^{bad}:\d+:\d+: E102 ", shown.err, re.MULTILINE)) == 3


def test_a_folder_of_good_specs_ends_with_0(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "deep/er/bad.yaml").unlink()
    assert main(["check", str(folder), "std/resnet18"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 specs: 3 fine; 1 file")


def test_specs_of_a_folder_may_extend_each_other_across_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = folder / "deep/er/bad.yaml"
    child.write_text("spec: 1\nname: child\nextends: ../../b.yaml\nvars: {w: 16}\n")
    assert main(["check", str(folder)]) == 0
    assert main(["check", str(child)]) == 2
    assert "E110" in capsys.readouterr().err
    assert main(["show", str(child), "--root", str(folder)]) == 0


def test_a_folder_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["skipped"]) == (False, 1)
    assert [each["ok"] for each in answer["specs"]] == [True, True, False]
    assert len(answer["specs"][2]["faults"]) == 3


def test_faults_as_json_are_one_list_with_spans(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder), "--errors", "json"]) == 2
    shown = capsys.readouterr()
    first, *_ = faults = json.loads(shown.out)
    assert shown.err == "" and len(faults) == 3
    assert (first["code"], first["line"], first["column"], first["end_column"]) == (
        "E102",
        7,
        28,
        33,
    )
    assert first["help"] == ["did you mean 'patch'?"]
    assert main(["check", str(folder / "b.yaml"), "--errors", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["show", str(folder / "deep/er/bad.yaml"), "--errors", "json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(json.loads(shown.err)) == 3


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for text, code in ((GOOD, 0), (BAD, 2)):
        done = subprocess.run(
            [sys.executable, "-m", "flopwise", "check", "-"],
            input=text,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code
        assert ("<stdin>:" in done.stderr) == (code == 2)


@pytest.mark.parametrize("verb", ["check", "fmt", "upgrade"])
def test_a_folder_without_specs_is_bad_input(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(tmp_path)]) == 2
    assert "E120" in capsys.readouterr().err


def test_a_mistaken_verb_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["chekc", "net.yaml"])
    assert "there is no verb 'chekc'; did you mean 'check'?" in capsys.readouterr().err


def test_a_papers_table_shows_the_values_of_a_search(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(folder / "b.yaml")
    assert main(["show", path, "--style", "paper", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    heads = ["stage", "output", "block", "k", "dim", "depth", "stride", "params", "MACs"]
    assert list(rows[0]) == heads
    stem, stage, head = rows
    assert (stem["k"], stem["dim"], stem["depth"], stem["output"]) == ("2", "8..32/8", "1", "8x8")
    assert (stage["k"], stage["dim"], stage["depth"]) == ("{3,5,7}", "8..32/8", "1..4")
    assert (head["output"], head["block"], head["stride"]) == ("", "classifier", "1")
    cost = flopwise.load(path).cost()
    assert sum(int(row["MACs"]) for row in rows) == cost.macs
    assert sum(int(row["params"]) for row in rows) == cost.params


def test_repetitions_that_vary_share_a_row() -> None:
    text = GOOD.replace("kernel: $k", "kernel: 7").replace(", k: 3", "")
    text = text.replace("    k: {choice", "    net.stage[*].kernel: {choice")
    table = paper_table(flopwise.loads(text).spec)
    assert table.rows[1][3] == "{3,5,7}"


def test_where_two_targets_change_one_number_both_are_looked_at(tmp_path: Path) -> None:
    text = GOOD.replace("dim: $w", "dim: $(w*k)").replace("kernel: $k", "kernel: 3")
    table = paper_table(flopwise.loads(text).spec)
    assert table.rows[0][4] == "24..224"


@pytest.mark.parametrize("form", ["--markdown", "--latex", "--csv"])
@pytest.mark.parametrize("style", ["stages", "paper"])
def test_every_form_has_a_line_per_stage(
    form: str, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "std/resnet18", "--style", style, form]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("stage" in line for line in lines) == 5  # four stages and the head of the table


def test_latex_is_escaped() -> None:
    hostile = '\\ { } $ & # ^ _ ~ % < > | -- [x] " *'
    text = draw(Table(heads=("a",), rows=((hostile,),)), "latex")
    inside = text.splitlines()[4].removesuffix(r" \\")
    bare = re.sub(r"\\text\w+\{\}|\\[{}$&#_%]|\{[-\[\]*]\}", "", inside)
    assert not re.search(r"[\\{}$&#^_~%<>|\"]", bare), bare
    assert escape_latex("50%") == r"50\%"


def test_markdown_keeps_pipes_in_cells() -> None:
    text = draw(Table(heads=("a", "n"), rows=(("x|y", 12_345),)), "markdown")
    assert text.splitlines() == [
        r"| a    |      n |",
        r"| ---- | -----: |",
        r"| x\|y | 12.35K |",
    ]


@pytest.mark.parametrize("name", STARTERS)
def test_a_starter_is_laid_out_loads_without_a_warning_and_builds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", name]) == 0
    path = tmp_path / f"{name}.yaml"
    assert path.read_text() == starter(name) == format_text(starter(name), name)
    design = flopwise.load(path)
    assert design.spec.warnings == ()
    assert sum(p.numel() for p in design.build(device="meta").parameters()) == design.cost().params
    if name == "search":
        assert design.spec.probe(draws=50)
    lines = [line for line in starter(name).splitlines() if line.strip()]
    assert sum("#" in line for line in lines) > len(lines) / 3  # it teaches


@pytest.mark.parametrize("name", STARTERS)
def test_every_command_in_a_starter_parses(name: str) -> None:
    from flopwise.cli import make_parser

    for line in starter(name).splitlines():
        if match := re.match(r"#     flopwise (\S.*?)(\s{2,}|$)", line):
            make_parser().parse_args(match[1].split())


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert main(["init", "cnn", "-o", str(path)]) == 2
    assert path.read_text() == "mine" and "E123" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["init", "cn"])
    assert end.value.code == 2
    assert "did you mean 'cnn'?" in capsys.readouterr().err


def test_schema_prints_what_the_api_returns(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "schema.json"
    assert main(["schema", str(folder / "b.yaml"), "-o", str(out)]) == 0
    assert json.loads(out.read_text()) == flopwise.load(folder / "b.yaml").schema()
    capsys.readouterr()
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("draft-07/schema#")


def long_spec(stages: int) -> str:
    body = "".join(
        f"  s{i}: {{block: convnext, depth: 2, dim: $(w + {i % 7} - {i % 7}), kernel: $k}}\n"
        for i in range(stages)
    )
    return GOOD.partition("search:")[0].replace("  stage:", f"{body}  stage:")


COLD = {
    "check": ["check", "{spec}"],
    "show": ["show", "{spec}", "--style", "paper"],
    "resolve": ["resolve", "{spec}"],
    "schema": ["schema", "{spec}"],
    "fmt": ["fmt", "{spec}"],
    "upgrade": ["upgrade", "{spec}"],
    "init": ["init", "cnn", "-o", "-"],
}


@pytest.mark.parametrize("verb", COLD)
def test_the_tools_import_nothing_heavy(verb: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(GOOD)
    words = [word.format(spec=path) for word in COLD[verb]]
    code = (
        "import sys; from flopwise.cli import main; "
        f"code = main({words!r}); "
        "heavy = {'torch', 'timm', 'optuna', 'pandas', 'numpy', 'networkx', 'rich', 'jsonschema'}; "
        "found = heavy & set(sys.modules); sys.exit(f'imported {found}' if found else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_hundred_lines_are_checked_in_less_than_a_second_of_cpu(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(long_spec(190))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "flopwise", "check", str(path)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    # processor time, with room for slow machines: benchmarks/cold_start.py says how much it is
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
