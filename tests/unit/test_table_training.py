"""Tables whose rows are trained: once each, by one process or two, from the results file alone."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flopwise
from flopwise.cli import main
from flopwise.errors import RunError, SpecError
from flopwise.search.rows import jobs_of, read_runs
from flopwise.train import answer, open_data, train

SPEC = """
spec: 1
name: rows
input: {size: 8, channels: 3}
classes: 1000
vars: {w: 8, small: 1}
train: {epochs: 2, batch: 64, images: 300, lr: 3e-3, crop: 1, flip: false}
net:
  stem: {block: conv, dim: $w, stride: $(4 // small), norm: bn, act: relu}
  body: {block: basic, dim: $(2*w), stride: 2}
  head: {block: classifier}
table:
  columns: [top1]
  rows:
    first: {ref: {top1: 70.0}}
    wide: {set: {w: 16}, from: first, ref: {top1: 75.0}}
    late: {set: {net.body.stride: 1}, ref: {top1: 76.0}}
    printed: {ref: {top1: 50.0}, skip: true}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.yaml"
    path.write_text(SPEC)
    return path


def test_two_processes_share_a_table_and_its_file_is_enough(spec: Path) -> None:
    command = [sys.executable, "-m", "flopwise", "table", str(spec), "--train", "digits"]
    command += ["--seeds", "2", "--json"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (json.loads(each.communicate(timeout=300)[0]) for each in pair)
    assert first == second
    assert [row["name"] for row in first["rows"]] == ["first", "wide", "late"]
    assert first["degrees_of_freedom"] == 3
    assert first["kendall"]["rows"] == 3
    assert [r["versus"] and r["versus"]["row"] for r in first["rows"]] == [None, "first", "wide"]
    results = Path("runs/rows/results.jsonl")
    runs = list(read_runs(results))
    assert len({run.identity for run in runs}) == len(runs) == 6
    for run in runs:
        assert 100 * run.answers.mean() == pytest.approx(run.scores["top1"])
        assert not (Path("runs/rows/trainings") / f"{run.row}-{run.seed}" / "last.pt").exists()

    kept = results.read_text().splitlines(keepends=True)
    shutil.rmtree("runs/rows/trainings")
    results.write_text("".join(kept[:-1]) + kept[-1][:40])  # killed while it wrote the last line
    again = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert json.loads(again.stdout) == first
    assert len(results.read_text().splitlines()) == 7
    assert len(list(Path("runs/rows/trainings").iterdir())) == 1


def test_rows_of_one_network_are_trained_once_by_two_processes(spec: Path) -> None:
    spec.write_text(SPEC.replace("    first:", "    twin: {ref: {top1: 70.0}}\n    first:"))
    command = [sys.executable, "-m", "flopwise", "table", str(spec), "--train", "digits"]
    command += ["--rows", "twin,first", "--seeds", "1", "--epochs", "20", "--json"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(each.communicate(timeout=300)[0]) for each in pair]
    assert told[0] == told[1]
    assert [row["name"] for row in told[0]["rows"]] == ["twin", "first"]
    assert len(list(read_runs(Path("runs/rows/results.jsonl")))) == 1
    assert [each.name for each in Path("runs/rows/trainings").iterdir()] == ["twin-0"]


def test_a_score_is_that_of_the_last_epoch(spec: Path) -> None:
    table = flopwise.load(spec).table()
    found = table.train("digits", seeds=1, rows=["wide"], told=lambda line: None)
    (run,) = found.runs["wide"]
    design = flopwise.load(spec, {"w": 16, "classes": 10, "input.channels": 1})
    recipe = replace(design.spec.recipe, data="digits")
    data = open_data(recipe, size=(8, 8))
    model = design.build(seed=recipe.seed)
    result = train(model, data, recipe, Path("alone"), keep="last")
    assert result.last.epoch == 2
    assert np.array_equal(answer(model, data, "test").correct, run.answers)


def test_rows_are_scaled_to_small_images_and_say_so(spec: Path) -> None:
    table = flopwise.load(spec).table()
    sets = [("train.epochs", "1"), ("train.images", "100"), ("small", "2")]
    quiet = {"seeds": 1, "rows": ["first"], "small": 32, "told": lambda line: None}
    found = table.train("digits", sets=sets, **quiet)  # type: ignore[arg-type]
    (run,) = found.runs["first"]
    scaled = flopwise.load(spec, {"small": 2, "input.size": 32, "input.channels": 1, "classes": 10})
    assert run.hash == scaled.network.hash
    text = found.text()
    assert "laid on every row: input.size=32, small=2, train.epochs=1, train.images=100" in text
    assert "first: net.stem.stride: 4 -> 2" in text
    assert "~ input.size: [8, 8] -> [32, 32]" in found.facts()["rows"][0]["changed"]
    with pytest.raises(RunError, match="32 or 64 pixels, not 48"):
        table.train("digits", small=48)
    spec.write_text(SPEC.replace(", small: 1", "").replace(", stride: $(4 // small)", ""))
    with pytest.raises(RunError, match="row 'first' of 'rows' has no variable 'small'"):
        flopwise.load(spec).table().train("digits", small=64)


def test_differences_stand_beside_the_papers(spec: Path) -> None:
    rows = """
    first: {ref: {top1: 70.0}}
    longer: {ref: {top1: 72.0}}
    wide: {set: {w: 16}, ref: {top1: 75.0}}
    late: {set: {w: 24}, against: longer, ref: {top1: 71.0}}
    last: {set: {w: 32}, ref: {top1: 71.0}}
    end: {set: {w: 40}, against: longer, ref: {top1: 73.0}}
"""
    spec.write_text(SPEC.partition("    first:")[0] + rows)
    whole = flopwise.load(spec).spec
    laid = {name: whole.row(name).set([("train.data", "digits")]) for name in whole.rows}
    right = {"first": 500, "longer": 500, "wide": 700, "late": 800, "last": 501, "end": 200}
    Path("runs/rows").mkdir(parents=True)
    with Path("runs/rows/results.jsonl").open("w") as file:
        for job in jobs_of(laid, 2)[1:]:  # the first row and the second are one training
            count = right[job.row] + job.recipe.seed
            packed = np.packbits(np.arange(1000) < count).tobytes()
            bits = base64.b85encode(zlib.compress(packed)).decode()
            line = {"row": job.row, "seed": job.recipe.seed, "identity": job.identity, "hash": ""}
            line |= {"costs": dict.fromkeys(("macs", "params", "activations"), 1), "epochs": 1}
            line |= {"scores": {"top1": count / 10}, "correct": f"1000:{bits}"}
            file.write(json.dumps(line) + "\n")
    found = flopwise.load(spec).table().train("digits", seeds=2, told=lambda line: None)
    assert found.twins == {"first": "longer"}
    assert found.spread.freedom == 5
    assert {name: each.base for name, each in found.contrasts.items()} == {
        "wide": "longer",
        "late": "longer",
        "last": "late",
        "end": "longer",
    }
    beside = {name: (found.versus(name) or {}).get("beside_paper") for name in right}
    assert beside == {
        "first": None,
        "longer": None,
        "wide": "same",
        "late": "opposite",
        "last": None,
        "end": "opposite",
    }
    text = found.text("markdown")
    assert "- of 3 differences in the paper 1 have the same sign here, 2 the other sign" in text
    assert "- first: the same training as longer, compared once" in text


def test_trainings_of_something_else_are_not_mixed(spec: Path) -> None:
    table = flopwise.load(spec).table()
    quiet = {"seeds": 1, "rows": ["first"], "told": lambda line: None}
    table.train("digits", "here", **quiet)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"row 'first' recipe.lr was 0.003, is 0.1"):
        table.train("digits", "here", sets=[("train.lr", "0.1")], **quiet)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no row called 'frist'"):
        table.train("digits", "here", rows=["frist"])


def test_a_failed_training_is_told_and_the_others_go_on(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SPEC.replace("late: {set: {net.body.stride: 1}", "late: {set: {train.lr: 1e30}")
    spec.write_text(text.replace("lr: 3e-3", "lr: 3e-3, warmup: 0, opt: sgd"))
    assert main(["table", str(spec), "--train", "digits", "--seeds", "1"]) == 0
    out, err = capsys.readouterr()
    assert "late, seed 0 failed: the loss became" in out
    assert "no" not in out.splitlines()[1]
    assert err.count("left") == 3
    assert main(["table", str(spec), "--set", "w=3"]) == 1
    assert main(["table", "--all", "--train", "digits"]) == 1
