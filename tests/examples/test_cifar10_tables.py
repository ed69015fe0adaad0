"""The tables trained on CIFAR-10: their file holds the planned trainings in order, no others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flopwise.dsl import Spec, load
from flopwise.search.rows import Job, Run, read_runs

HERE = Path(__file__).parents[2] / "examples" / "cifar10_tables"
RUN = (HERE / "run.sh").read_text(encoding="utf-8").replace("\\$", "$")
ROWS = {"convnext_kernels": ["r50_k3", "r50_k5", "r50_k7", "r50_k9", "r50_k11"]}
TABLES = ("convnext_table10", "t2t_table6", "convnext_kernels")
SEEDS = 3


def scaled(name: str) -> dict[str, Spec]:
    """Returns the rows of a table as run.sh trains them."""
    laid = re.findall(r'--set ([\w.]+)=([^\s"]+)', RUN)
    laid += [("train.epochs", *re.findall(r"--epochs (\d+)", RUN)), ("classes", "10")]
    spec = load(f"std/{name}")
    return {row: spec.row(row).set(laid) for row in ROWS.get(name, spec.rows)}


@pytest.fixture(scope="module")
def planned() -> dict[str, dict[tuple[str, int], Job]]:
    """Returns the trainings of each table by row and seed, all rows of a seed before the next."""
    return {
        name: {
            (row, seed): Job(row, spec.network(), replace(spec.recipe, seed=seed))
            for seed in range(SEEDS)
            for row, spec in scaled(name).items()
        }
        for name in TABLES
    }


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Returns what was trained."""
    return list(read_runs(HERE / "results" / "results.jsonl"))


def test_no_training_is_missing_or_chosen(planned: dict[str, dict], runs: list[Run]) -> None:
    assert ",".join(ROWS["convnext_kernels"]) in RUN
    order = [
        job.identity
        for turn in range(SEEDS)
        for jobs in planned.values()
        for (_, seed), job in jobs.items()
        if seed == turn
    ]
    done = [run.identity for run in runs]
    places = [list(dict.fromkeys(order)).index(identity) for identity in done]
    answers = {(run.identity, run.correct) for run in runs}
    assert len(answers) == len({*done}) > 0  # one was trained twice at once, to the same answers
    assert max(places) <= len({*places})  # two processes may have been at work


def test_scores_and_costs_come_from_the_raw_answers(
    planned: dict[str, dict[tuple[str, int], Job]], runs: list[Run]
) -> None:
    networks = {job.identity: job.network for jobs in planned.values() for job in jobs.values()}
    for run in runs:
        graph = networks[run.identity].graph
        assert dict(run.costs) == {name: getattr(graph, name) for name in run.costs}
        if not run.reason:
            assert len(run.answers) == 10_000
            assert 100 * run.answers.mean() == pytest.approx(run.scores["top1"])


@pytest.mark.parametrize("name", TABLES)
def test_a_printed_table_has_the_means_of_its_file(
    name: str, planned: dict[str, dict[tuple[str, int], Job]], runs: list[Run]
) -> None:
    scores = {run.identity: run.scores["top1"] for run in runs if not run.reason}
    page = HERE / "results" / f"{name}.md"
    text = page.read_text(encoding="utf-8").replace("\\_", "_") if page.exists() else ""
    rows = [
        [cell.strip() for cell in line.split("|")[1:]]
        for line in text.splitlines()
        if line[:1] == "|"
    ][2:]
    for row, _, _, seeds, mean, *_ in rows:
        found = [scores[planned[name][row, seed].identity] for seed in range(int(seeds))]
        assert float(mean) == pytest.approx(sum(found) / len(found), abs=0.00501)
    assert not rows or {row[0] for row in rows} == {row for row, _ in planned[name]}
