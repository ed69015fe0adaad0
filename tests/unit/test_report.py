"""The page of a search: its charts hold the rows of `trials.csv`, whatever the search was."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flopwise
from flopwise.cli import main
from flopwise.dsl import Window, load
from flopwise.errors import RunError
from flopwise.report.study_charts import explained
from flopwise.search import search
from tests.searches import rows_of

SPEC = """
spec: 1
name: net
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8}
net:
  body: {block: conv, dim: $w, depth: 1, kernel: 3, act: relu}
  head: {block: classifier}
train: {epochs: 3}
search:
  space:
    w: {range: [4, 16], step: 2}
    net.body.depth: {range: [1, 3]}
    net.body.act: {choice: [relu, gelu]}
  trials: 12
  evaluator: {function: scores.py:score}
"""
SCORES = """
def score(network, recipe):
    if network.graph.macs % 7 == 3:
        raise ValueError("no luck & <no> score")
    return {"top1": 50 + network.graph.macs % 1000 / 25}
"""


class Seen(HTMLParser):
    """A page as a browser reads it: tags that open and close, tables, text."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif "script" not in self.open and "style" not in self.open:
            self.words.append(data.strip())


def charts(text: str) -> list[dict[str, Any]]:
    """Returns what the page tells plotly to draw, traces by their names."""
    found = []
    for start in re.finditer(r"Plotly\.newPlot\(\s*\"chart\d+\",\s*", text):
        traces, at = json.JSONDecoder().raw_decode(text, start.end())
        layout, _ = json.JSONDecoder().raw_decode(text, re.compile(r",\s*").match(text, at).end())  # type: ignore[union-attr]
        found.append({"layout": layout, "traces": {t.get("name"): t for t in traces}})
    return found


def run(folder: Path, extra: str = "") -> Path:
    (folder / "scores.py").write_text(SCORES)
    (folder / "net.yaml").write_text(SPEC + extra)
    search(load(folder / "net.yaml"), folder / "study", allow_code=True)
    return folder / "study"


def test_its_charts_and_tables_hold_every_trial(tmp_path: Path) -> None:
    study = run(tmp_path)
    page = flopwise.report(study)
    text = page.read_text(encoding="utf-8")
    seen = Seen(text)
    assert page == study / "report.html"
    assert not seen.open
    assert not seen.sources, "the page needs no network"
    known = rows_of(study)
    done = {int(row["number"]): row for row in known if row["state"] == "done"}
    failed = [row for row in known if row["state"] == "failed"]
    assert failed, "the function fails for some of this space"
    cost, course, values, spread = charts(text)
    points = {
        (x, y)
        for trace in cost["traces"].values()
        for x, y in zip(trace["x"], trace["y"], strict=True)
    }
    assert points == {(int(r["macs"]), float(r["val_top1"])) for r in done.values()}
    best, so_far = -np.inf, []
    for number in sorted(done):
        best = max(best, float(done[number]["val_top1"]))
        so_far.append(best)
    assert list(course["traces"]["best so far"]["y"]) == so_far
    assert len(course["traces"]["failed or stopped early"]["x"]) == len(failed)
    assert values["layout"]["annotations"]
    assert spread["traces"]["candidates"]["y"][-1] == 1
    table = next(each for each in seen.tables if each[0][0] == "trial")
    assert len(table) == 1 + len(known)
    assert sum("no luck & <no> score" in " ".join(line) for line in table) == len(failed)


def test_several_budgets_are_parts_of_one_page(tmp_path: Path) -> None:
    study = run(tmp_path, "  budget: [{macs: {min: 5K, max: 30K}}, {macs: {min: 30K, max: 90K}}]\n")
    text = flopwise.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    first = charts(text)[0]
    both = [row for n in (1, 2) for row in rows_of(study / f"budget-{n}") if row["state"] == "done"]
    drawn = [x for name, t in first["traces"].items() if "winner" not in name for x in t["x"]]
    assert sorted(drawn) == sorted(int(row["macs"]) for row in both)
    assert [(s["x0"], s["x1"]) for s in first["layout"]["shapes"]] == [
        (5_000, 30_000),
        (30_000, 90_000),
    ]
    assert {"budget 1", "budget 2"} <= set(Seen(text).words)


def test_of_several_objectives_the_front_is_marked(tmp_path: Path) -> None:
    study = run(tmp_path, "  objective: [{maximize: top1}, {minimize: macs}]\n")
    (cost, *_) = charts(flopwise.report(study).read_text(encoding="utf-8"))
    done = [(int(r["macs"]), float(r["val_top1"])) for r in rows_of(study) if r["state"] == "done"]
    best = {
        (x, y) for x, y in done if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in done)
    }
    drawn = cost["traces"]["front"]
    assert set(zip(drawn["x"], drawn["y"], strict=True)) == best


def test_the_verb_writes_it_and_a_mistake_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = run(tmp_path)
    assert main(["report", str(study), "-o", str(tmp_path / "page.html")]) == 0
    assert f"wrote {tmp_path / 'page.html'}" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "nothing")]) == 1
    assert "there is no study in" in capsys.readouterr().err
    with pytest.raises(RunError, match="there is no study"):
        flopwise.report(tmp_path)


def test_the_explained_share_is_the_adjusted_share_of_a_regression_on_the_values() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, 1, size) for mean, size in ((0, 5), (1, 9), (3, 4))]
    scores = np.concatenate(groups)
    members = np.repeat(range(3), [len(each) for each in groups])
    design = np.eye(3)[members]
    rest = scores - design @ np.linalg.lstsq(design, scores)[0]
    share = 1 - (rest @ rest / (len(scores) - 3)) / scores.var(ddof=1)
    assert explained([list(each) for each in groups]) == pytest.approx(share)
    chance = [explained(list(rng.normal(size=(6, 4)))) for _ in range(300)]
    assert np.mean(chance) < 0.12, "six groups of four explain 23 % by chance, not adjusted"


@pytest.mark.parametrize(
    "window", [Window(1, 5), Window(None, 70_000_000), Window(3, None), Window(0, 0)]
)
def test_a_window_is_read_as_it_is_spelled(window: Window) -> None:
    assert Window.read(str(window)) == window
