"""Searches of conditional spaces, of lists, of fits, of several objectives and several budgets."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from flopwise.dsl import Spec, loads
from flopwise.errors import SpecError
from flopwise.search import Outcome, Watch, search
from flopwise.search.candidates import grouped, made
from flopwise.search.front import front
from flopwise.search.record import TrialRow
from flopwise.search.view import show
from tests.searches import Book, rows_of

HEAD = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
vars: {w: 16, d: 2, se: false, r: 0.25, used: [a], order: [a, b, c], dims: [16, 32]}
net:
  stem: {block: conv_stem, dim: $w, kernel: 3, stride: 1}
  body: {block: basic, dim: "$(w + 8 * len(used))", depth: $d, se: "$(r if se else 0.0)"}
  last: {block: basic, dim: "$(dims[1] + (8 if order[0] == 'c' else 0))"}
  head: {block: classifier}
train: {data: digits, epochs: 2}
search:
  final: {top: 1, seeds: 2}
"""
LEARNT = {"tpe": 13, "random": 8, "grid": 8, "nsga2": 19}
"""Trials of which the last ones come from what the first have taught."""
MIXED = """
  space:
    se: {choice: [true, false]}
    r: {choice: [0.125, 0.25], when: $se}
    d: {range: [1, 3]}
    net.body[*].kernel: {choice: [3, 5]}
    used: {subset: [a, b], max: 1}
    order: {permutation: [a, b, c]}
    dims: {choice: [[16, 32], [8, 24]]}
"""


def spec_of(section: str, head: str = HEAD) -> Spec:
    return loads(head + section, name="tiny.yaml")


def printed(outcome: Outcome) -> str:
    stream = io.StringIO()
    show(outcome, Console(file=stream, width=160))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["tpe", "random", "grid", "nsga2"])
def test_every_sampler_searches_a_mixed_space(tmp_path: Path, kind: str) -> None:
    spec = spec_of(MIXED + f"  sampler: {{kind: {kind}, seed: 1}}\n")
    outcome = search(spec, tmp_path, trials=LEARNT[kind], evaluator=Book().evaluator())
    assert len({row.identity for row in outcome.trials}) == len(outcome.trials) == LEARNT[kind]
    assert outcome.trials[0].written
    for row in outcome.trials:
        assert ("r" in row.picks) == row.picks["se"]
        assert [f"net.body[{k}].kernel" in row.picks for k in range(3)] == [
            k < row.picks["d"] for k in range(3)
        ]
        assert all(spec.search.space[name].contains(value) for name, value in row.picks.items())
        assert spec.network(row.picks).hash == row.hash
    again = search(spec, tmp_path, trials=LEARNT[kind], evaluator=Book().evaluator())
    assert again.trials == outcome.trials


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_a_mixed_space_goes_on_as_if_it_had_not_stopped(tmp_path: Path, kind: str) -> None:
    spec = spec_of(MIXED + f"  sampler: {{kind: {kind}, seed: 1}}\n")
    most = LEARNT[kind]
    straight = search(spec, tmp_path / "a", trials=most, evaluator=Book().evaluator())
    search(spec, tmp_path / "b", trials=most - 2, evaluator=Book().evaluator())
    resumed = search(spec, tmp_path / "b", trials=most, evaluator=Book().evaluator())
    assert [row.picks for row in resumed.trials] == [row.picks for row in straight.trials]


class Ear(Watch):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


def test_a_grid_takes_every_feasible_point_in_order(tmp_path: Path) -> None:
    section = """
  space: {d: {range: [1, 3]}, w: {choice: [8, 16]}}
  require: [$(w * d != 16)]
  sampler: {kind: grid}
"""
    ear = Ear()
    outcome = search(spec_of(section), tmp_path, evaluator=Book().evaluator(), watch=ear)
    picked = [(row.picks["d"], row.picks["w"]) for row in outcome.trials]
    assert picked == [(2, 16), (1, 8), (3, 8), (3, 16)]  # the written one first
    assert outcome.exhausted and "all 4 feasible candidates" in ear.heard[-1]


FIT = """
  space: {d: {range: [1, 3]}, w: {range: [8, 64], step: 4}, dims: {choice: [[16, 32], [8, 24]]}}
  fit: {vary: w, to: {macs: 1.5M}, within: 8%}
"""


def test_what_a_fit_solves_is_no_parameter_but_stands_in_every_trial(tmp_path: Path) -> None:
    spec = spec_of(FIT)
    outcome = search(spec, tmp_path, trials=5, evaluator=Book().evaluator())
    assert all(1_380_000 <= row.costs["macs"] <= 1_620_000 for row in outcome.trials)
    for row in outcome.trials:
        assert row.picks["w"] == spec.fitted({n: row.picks[n] for n in ("d", "dims")})["w"]
    assert '"param_name": "w"' not in (tmp_path / "study.jsonl").read_text()
    assert {"w", "d", "dims"} <= rows_of(tmp_path)[0].keys()
    assert outcome.winner is not None and "w" in outcome.winner.picks


def test_several_objectives_end_with_a_front(tmp_path: Path) -> None:
    section = MIXED + "  objective: [{maximize: top1}, {minimize: params}]\n"
    spec = spec_of(section, HEAD.replace("top: 1", "top: 2"))
    outcome = search(spec, tmp_path, trials=18, evaluator=Book().evaluator())
    beats = [
        (a.number, b.number)
        for a in outcome.trials
        for b in outcome.front
        if a.scores["top1"] >= b.scores["top1"] and a.costs["params"] < b.costs["params"]
    ]
    assert outcome.front and not beats
    assert [row["number"] for row in rows_of(tmp_path, "front")] == [
        str(row.number) for row in outcome.front
    ]
    scores = [row.scores["top1"] for row in outcome.front]
    assert scores == sorted(scores, reverse=True)
    finalists = [row.trial for row in outcome.finals if row.name != "baseline"]
    assert finalists == [row.number for row in outcome.front[:2] if not row.written]
    assert f"{len(outcome.front)} that no other beats" in printed(outcome)
    resumed = search(spec, tmp_path, trials=19, evaluator=Book().evaluator())
    assert len(resumed.trials) == 19


def test_the_front_is_what_brute_force_finds() -> None:
    objectives = (("maximize", "top1"), ("minimize", "macs"))
    rows = [
        TrialRow(
            number=n,
            state="done" if n % 7 else "failed",
            picks={},
            costs={"macs": (n * 37) % 11},
            hash="",
            identity="",
            scores={"top1": float((n * 53) % 13)},
        )
        for n in range(40)
    ]
    found = front(rows, objectives)
    done = [row for row in rows if row.state == "done"]
    for row in done:
        better = [
            o
            for o in done
            if (o.scores["top1"], -o.costs["macs"]) != (row.scores["top1"], -row.costs["macs"])
            and o.scores["top1"] >= row.scores["top1"]
            and o.costs["macs"] <= row.costs["macs"]
        ]
        assert (row in found) == (not better)


BUDGETS = """
  space: {w: {range: [8, 32], step: 4}, d: {range: [1, 4]}}
  budget: [{macs: {max: 700k}}, {macs: {min: 700k, max: 2M}, params: {max: 60k}}]
  trials: 4
"""


def test_several_budgets_are_a_study_each(tmp_path: Path) -> None:
    ear = Ear()
    outcome = search(spec_of(BUDGETS), tmp_path, evaluator=Book().evaluator(), watch=ear)
    assert [part.folder.name for part in outcome.parts] == ["budget-1", "budget-2"]
    small, large = outcome.parts
    assert all(row.costs["macs"] <= 700_000 for row in small.trials)
    assert all(row.costs["macs"] >= 700_000 for row in large.trials)
    assert all(row.costs["params"] <= 60_000 for row in large.trials)
    rows = rows_of(tmp_path, "budgets")
    assert [row["folder"] for row in rows] == ["budget-1", "budget-2"]
    assert all(row["front"] == "true" for row in rows)
    assert any("w=" in row["picks"] for row in rows)
    assert any("budget 2 of 2" in text for text in ear.heard)
    assert "winners of the budgets" in printed(outcome)
    again = search(spec_of(BUDGETS), tmp_path, evaluator=Book().evaluator())
    assert [p.trials for p in again.parts] == [p.trials for p in outcome.parts]


def test_an_impossible_budget_is_told_before_any_other_is_searched(tmp_path: Path) -> None:
    book = Book()
    spec = spec_of(BUDGETS.replace("params: {max: 60k}", "params: {max: 6}"))
    with pytest.raises(SpecError, match="E501"):
        search(spec, tmp_path, evaluator=book.evaluator())
    assert book.trained == []


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("[a, b], max: 1", "[a, b], max: 2", "space.used"),
        ("{choice: [0.125, 0.25], when: $se}", "{choice: [0.125, 0.25]}", "space.r"),
        ("permutation: [a, b, c]", "permutation: [a, c, b]", "space.order"),
        ("[[16, 32], [8, 24]]", "[[16, 32], [8, 16]]", "space.dims"),
        ("kernel: {choice: [3, 5]}", "kernel: {choice: [3, 7]}", "space.net.body[2].kernel"),
        ("range: [1, 3]", "range: [1, 2]", "space.d"),
    ],
)
def test_a_study_is_not_continued_with_another_space(
    tmp_path: Path, old: str, new: str, part: str
) -> None:
    search(spec_of(MIXED), tmp_path, trials=1, evaluator=Book().evaluator())
    assert old in MIXED
    with pytest.raises(SpecError) as caught:
        search(spec_of(MIXED.replace(old, new)), tmp_path, evaluator=Book().evaluator())
    assert all(fault.code == "E504" for fault in caught.value.faults) and part in str(caught.value)


def test_a_study_is_not_continued_with_another_fit_or_objective(tmp_path: Path) -> None:
    search(spec_of(FIT), tmp_path, trials=1, evaluator=Book().evaluator())
    with pytest.raises(SpecError, match=r"E504.*fit"):
        search(spec_of(FIT.replace("8%", "9%")), tmp_path, evaluator=Book().evaluator())
    both = FIT + "  objective: [{maximize: top1}, {minimize: params}]\n"
    with pytest.raises(SpecError, match=r"E504.*objective"):
        search(spec_of(both), tmp_path, evaluator=Book().evaluator())


UNITS = """
spec: 1
name: units
input: {size: 16, channels: 1}
classes: 10
vars: {w: 8}
net:
  stem: {block: conv_stem, dim: $w, kernel: 3, stride: 1}
"""


@pytest.mark.parametrize("block", ["convnext", "residual"])
def test_five_units_with_a_kernel_and_an_expansion_of_each_layer(
    tmp_path: Path, block: str
) -> None:
    wide = "expand" if block == "convnext" else "hidden"
    sizes = "[3, 4, 6]" if block == "convnext" else "[8, 12, 16]"
    text = UNITS
    for unit in range(1, 6):
        text += f"  unit{unit}: {{block: {block}, depth: 2, dim: $w, {wide}: {sizes[1:2]}}}\n"
    text += "  head: {block: classifier}\nsearch:\n  space:\n"
    for unit in range(1, 6):
        text += f"    net.unit{unit}[*].kernel: {{choice: [3, 5, 7]}}\n"
        text += f"    net.unit{unit}.depth: {{choice: [2, 3, 4]}}\n"
        text += f"    net.unit{unit}[*].{wide}: {{choice: {sizes}}}\n"
    spec = loads(text + "  budget: {macs: {min: 500k, max: 4M}}\n  final: {top: 1, seeds: 1}\n")
    assert spec.search is not None and len(spec.search.space) == 5 * (1 + 4 + 4)
    assert spec.probe(draws=100).feasible > 30
    outcome = search(spec, tmp_path, trials=2, evaluator=Book().evaluator())
    for row in outcome.trials:
        kernels = [name for name in row.picks if name.endswith("kernel")]
        assert len(kernels) == sum(row.picks[f"net.unit{unit}.depth"] for unit in range(1, 6))
    assert outcome.winner is not None
    resolved = loads((tmp_path / "winner" / "resolved.yaml").read_text())
    assert resolved.network().hash == outcome.winner.hash
    assert "net.unit1[*].kernel=" in made(outcome.winner.picks)


def test_picks_of_repetitions_are_spelled_as_one() -> None:
    picks = {"w": 8, "net.s[0].kernel": 3, "net.s[1].kernel": 5, "used": ("a", "b"), "se": True}
    assert grouped(picks) == {"w": "8", "net.s[*].kernel": "3,5", "used": "[a, b]", "se": "true"}
    assert made(picks) == "w=8 net.s[*].kernel=3,5 used=[a, b] se=true"
