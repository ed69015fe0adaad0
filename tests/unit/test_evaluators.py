"""Evaluators in place of trainings: tables, functions, scores; and what a mistake is told."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flopwise.dsl import Spec, load, loads
from flopwise.errors import SpecError
from flopwise.search import search
from tests.searches import rows_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "nas_bench" / "nas_bench_macro.yaml"
SPEC = """
spec: 1
name: net
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8, act: relu}
net:
  body: {block: conv, dim: $w, depth: 1, kernel: 3, act: $act}
  head: {block: classifier}
train: {epochs: 20, seed: 4}
search:
  space:
    w: {choice: [8, 16]}
    net.body.depth: {range: [1, 2]}
    act: {choice: [relu, gelu], when: $(w == 8)}
  trials: 9
"""
POINTS = [(w, d, act) for w in (8, 16) for d in (1, 2) for act in ("relu", "gelu")]


def written(folder: Path, lines: str) -> Spec:
    path = folder / "net.yaml"
    path.write_text(SPEC + "".join(f"  {line.strip()}\n" for line in lines.strip().splitlines()))
    return load(path)


def test_a_search_over_a_table_trains_nothing_and_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from flopwise.cli import main; "
        f"code = main(['search', {str(EXAMPLE)!r}, '--out', {str(tmp_path / 'study')!r}, "
        "'--trials', '15']); "
        "print(code, 'torch' in sys.modules, 'timm' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "0 False False", told.stdout[-2000:]
    rows = rows_of(tmp_path / "study")
    assert len({row["identity"] for row in rows}) == len(rows) == 15
    assert all(47_500_000 <= int(row["macs"]) <= 52_500_000 for row in rows)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_found_by_targets_seeds_and_epochs(form: str, tmp_path: Path) -> None:
    rows = [
        {"width": w, "net.body.depth": d, "act": act, "a": n, "b": 10 + n, "c": 20 + n}
        for n, (w, d, act) in enumerate(POINTS)
    ]
    if form == "json":
        (tmp_path / "t.json").write_text(json.dumps(rows))
    else:
        with (tmp_path / "t.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    key = "key: {w: width, net.body.depth: net.body.depth, act: act}"
    scores = "scores: {top1: {at_12: [a, b, c], at_50: b}, loss: c}"
    spec = written(tmp_path, f"evaluator: {{table: t.{form}, {key}, {scores}}}")
    outcome = search(spec, tmp_path / "study")
    assert len(outcome.trials) == 6 and outcome.exhausted  # act counts for narrow networks only
    for trial in outcome.trials:
        act = trial.picks.get("act", "relu")
        at = POINTS.index((trial.picks["w"], trial.picks["net.body.depth"], act))
        assert trial.scores == {"top1": 10 + at, "loss": 20 + at}  # seed 4 is the second of three
        assert trial.epochs == 12  # of 20 wanted, the most that are known


def test_rows_are_found_by_the_networks_hash(tmp_path: Path) -> None:
    spec = loads(SPEC)
    made = [{"w": w, "net.body.depth": d, "act": act} for w, d, act in POINTS]
    hashes = [spec.network(picks).hash for picks in made]
    lines = [f"{name},{at}" for at, name in enumerate(hashes)]
    (tmp_path / "t.csv").write_text("hash,top\n" + "\n".join(lines) + "\n")
    spec = written(tmp_path, "evaluator: {table: t.csv, key: hash, scores: {top1: top}}")
    for trial in search(spec, tmp_path / "study").trials:
        assert trial.scores["top1"] == hashes.index(trial.hash)


@pytest.mark.parametrize(
    ("text", "evaluator", "code", "word"),
    [
        ("w,x\n8,1\n", "{table: t.csv, key: [w], scores: {top1: top}}", "E528", "no column 'top'"),
        ("w,top\n8,1\n8,2\n", "{table: t.csv, key: [w], scores: {top1: top}}", "E528", "1 differ"),
        ("w,top\n", "{table: t.csv, key: [w], scores: {top1: top}}", "E527", "has no row"),
        ("", "{table: other.csv, scores: {top1: top}}", "E527", "No such file"),
        ("", "{function: ./no.py:score}", "E526", "cannot be read"),
        ("", "{function: json:dumbs}", "E526", "did you mean 'dumps'?"),
        ("", "{function: no_such_package:score}", "E526", "cannot be imported"),
    ],
)
def test_what_is_wrong_with_an_evaluator_is_told_before_the_search(
    text: str, evaluator: str, code: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    spec = written(tmp_path, f"evaluator: {evaluator}")
    with pytest.raises(SpecError) as caught:
        search(spec, tmp_path / "study", allow_code=True)
    assert caught.value.faults[0].code == code and word in str(caught.value)


def test_a_candidate_without_a_row_is_a_recorded_failure(tmp_path: Path) -> None:
    rows = [f"{w},{d},{act},{w * d}" for w, d, act in POINTS if (w, d) != (8, 2)]
    (tmp_path / "t.csv").write_text("w,net.body.depth,act,top\n" + "\n".join(rows) + "\n")
    spec = written(tmp_path, "evaluator: {table: t.csv, scores: {top1: top}}")
    outcome = search(spec, tmp_path / "study")
    reasons = [trial.reason for trial in outcome.trials if trial.state == "failed"]
    assert len(reasons) == 2 and all("no row for w=8, net.body.depth=2" in r for r in reasons)


def test_a_function_runs_only_when_it_was_allowed(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(
        "def score(network, recipe):\n"
        "    return {'score': network.graph.params / recipe.epochs, 'loss': 1}\n"
    )
    lines = "evaluator: {function: ./f.py:score}\nobjective: {minimize: score}"
    spec = written(tmp_path, lines)
    with pytest.raises(SpecError) as caught:
        search(spec, tmp_path / "study")
    assert caught.value.faults[0].code == "E114"
    outcome = search(spec, tmp_path / "study", allow_code=True)
    best = min(outcome.trials, key=lambda trial: trial.costs["params"])
    assert outcome.winner and outcome.winner.hash == best.hash
    assert all(t.scores["score"] == t.costs["params"] / 20 for t in outcome.trials)
    assert search(spec, tmp_path / "study").winner  # allowed from now on


def test_a_score_is_searched_for_by_who_insists(tmp_path: Path) -> None:
    spec = written(tmp_path, "evaluator: {score: params, insist: true}")
    outcome = search(spec, tmp_path / "study")
    most = max(trial.costs["params"] for trial in outcome.trials)
    assert outcome.winner and outcome.winner.costs["params"] == most


def test_a_table_and_its_columns_are_part_of_a_studys_identity(tmp_path: Path) -> None:
    rows = [f"{w},{d},{act},{w * d},1" for w, d, act in POINTS]
    table = "w,net.body.depth,act,top,other\n" + "\n".join(rows) + "\n"
    (tmp_path / "t.csv").write_text(table)
    spec = written(tmp_path, "evaluator: {table: t.csv, scores: {top1: top}}")
    search(spec, tmp_path / "study", trials=2)
    changes: list[Any] = [[("search.evaluator.scores.top1", "other")], []]
    for sets in changes:
        with pytest.raises(SpecError) as caught:
            search(spec.set(sets) if sets else spec, tmp_path / "study", trials=3)
        assert caught.value.faults[0].code == "E504"
        (tmp_path / "t.csv").write_text(table.replace("relu", "relu", 1) + "\n")
