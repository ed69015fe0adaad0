"""Optuna's own dashboard shows a study of ours: asked as its page asks, in this process."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from optuna_dashboard import wsgi

from flopwise.dsl import Network, Recipe, loads
from flopwise.errors import RunError
from flopwise.search import Evaluator, Measure, search
from flopwise.search.evaluator import OnEpoch
from flopwise.search.storage import open_store
from tests.searches import counted, tiny

SPEC = tiny("""
vars: {w: 8, d: 2}
search:
  space:
    w: {range: [8, 32], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 3M}}
  trials: 8
  sampler: {kind: random, seed: 3}
train: {data: digits, epochs: 3}
""")


def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
    if network.graph.macs > 600_000:
        raise RunError("the loss became nan in epoch 1")
    return counted(network, recipe, folder, on_epoch)


def test_the_dashboard_shows_trials_with_their_costs_scores_and_reasons(tmp_path: Path) -> None:
    rows = search(loads(SPEC), tmp_path, evaluator=Evaluator(evaluate=evaluate)).trials
    page = wsgi(open_store(tmp_path / "study.jsonl"))

    def asked(path: str, query: str = "") -> Any:
        told: list[str] = []
        words = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
        place = {"SERVER_NAME": "here", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
        streams = {"wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
        answer = b"".join(page({**words, **place, **streams}, lambda how, *_: told.append(how)))
        assert told == ["200 OK"], answer
        return json.loads(answer)

    studies = {
        each["study_name"]: each["study_id"] for each in asked("/api/studies")["study_summaries"]
    }
    study = asked(f"/api/studies/{studies['search']}", "after=0")
    assert asked(f"/api/studies/{studies['search']}/param_importances", "evaluator=ped-anova")
    assert study["directions"] == ["maximize"] and len(study["trials"]) == len(rows) == 8
    sortable = {each["key"] for each in study["union_user_attrs"] if each["sortable"]}
    assert "macs" in sortable
    states = {"done": "Complete", "failed": "Fail", "stopped": "Pruned"}
    for row, trial in zip(rows, study["trials"], strict=True):
        known = {each["key"]: each["value"] for each in trial["user_attrs"]}
        assert trial["state"] == states[row.state] and int(known["macs"]) == row.costs["macs"]
        assert json.loads(known["picks"]) == row.picks
        assert known.get("reason", "") == row.reason
        if row.state == "done":
            assert trial["values"] == [row.scores["top1"]]
    assert {row.state for row in rows} >= {"done", "failed"}
