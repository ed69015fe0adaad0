"""Searches that really train, on images small enough for a test."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flopwise.dsl import Spec, load, loads
from flopwise.errors import RunError
from flopwise.search import search
from flopwise.search.training import trainings
from tests.searches import epochs_of, halved, started, without_clock

SPEC = halved("""
vars: {w: 8, d: 1}
search:
  space:
    w: {range: [8, 16], step: 2}
    d: {range: [1, 2]}
  budget: {macs: {max: 100k}}
  trials: 3
  sampler: {kind: random, seed: 1}
  final: {top: 1, seeds: 2, epochs: 2}
train: {data: digits, epochs: 3, lr: 0.004, crop: 1.0, flip: false}
""")

RUN = """
import sys
from flopwise.dsl import load
from flopwise.search import search

search(load(sys.argv[1]), sys.argv[2])
"""


def pictures(folder: Path, classes: int, count: int, rng: np.random.Generator) -> None:
    for label in range(classes):
        home = folder / f"class{label}"
        home.mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 80, (8, 8), dtype=np.uint8) + np.uint8(80 * label)
            Image.fromarray(pixels).save(home / f"{index}.png")


def session(spec: Path, folder: Path, *, kill_at: int | None = None) -> None:
    """Runs a search in a process of its own, killed as soon as that many epochs are on disk."""
    process = started(RUN, spec, folder)
    while kill_at is not None and process.poll() is None and epochs_of(folder) < kill_at:
        time.sleep(0.002)
    if kill_at is not None:
        process.kill()
    _, errors = process.communicate(timeout=300)
    assert kill_at is not None or process.returncode == 0, errors


@pytest.mark.slow
def test_a_search_killed_twice_ends_with_the_very_scores_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC)
    session(spec, tmp_path / "straight")
    for kill_at in (2, 7):  # inside the first trial, inside the third
        session(spec, tmp_path / "killed", kill_at=kill_at)
        assert epochs_of(tmp_path / "killed") >= kill_at
    session(spec, tmp_path / "killed")
    assert without_clock(tmp_path / "killed") == without_clock(tmp_path / "straight")
    winners = [
        json.loads((tmp_path / name / "winner" / "winner.json").read_text())
        for name in ("straight", "killed")
    ]
    assert winners[0]["test"] == winners[1]["test"] and winners[0]["fresh"] == winners[1]["fresh"]


def test_a_killed_training_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC.replace("trials: 3", "trials: 1").replace("epochs: 3", "epochs: 6"))
    session(spec, tmp_path / "study", kill_at=2)
    (folder,) = (tmp_path / "study" / "trials").iterdir()
    before = (folder / "epochs.jsonl").read_text().splitlines()
    assert 2 <= len(before) < 6, "killed inside the first trial"
    outcome = search(load(spec), tmp_path / "study")
    after = (folder / "epochs.jsonl").read_text().splitlines()
    assert after[: len(before)] == before and len(after) == 6
    assert [row.state for row in outcome.trials] == ["done"]
    assert outcome.winner is not None and outcome.winner.weights is not None
    assert outcome.winner.weights.is_file() and outcome.winner.data["class_names"][3] == "3"
    assert not list((tmp_path / "study").rglob("last.pt")), "finished trainings are tidied up"


def folder_spec(data: Path, **changes: Any) -> Spec:
    text = SPEC.replace("data: digits", f"data: {data}").replace("classes: 10", "classes: 2")
    return loads(text.replace("epochs: 3", "epochs: 1"))


def test_no_trial_reads_a_test_image(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "train", 2, 40, np.random.default_rng(0))
    for label in range(2):
        home = tmp_path / "data" / "test" / f"class{label}"
        home.mkdir(parents=True)
        for index in range(10):
            (home / f"{index}.png").write_bytes(b"whoever reads this finds no image")
    with pytest.raises(RunError, match="every training of the last step failed"):
        search(folder_spec(tmp_path / "data"), tmp_path / "study")
    rows = without_clock(tmp_path / "study")
    assert [row["state"] for row in rows] == ["done"] * 3


def test_the_test_split_is_opened_by_the_last_step_and_not_before(tmp_path: Path) -> None:
    spec, evaluator = trainings(loads(SPEC.replace("epochs: 3", "epochs: 1")))
    assert spec.search is not None
    data = evaluator.evaluate.__self__.images(spec.network(), spec.recipe)  # type: ignore[attr-defined]
    opened: list[bool] = []
    outcome = search(
        spec, tmp_path, evaluator=evaluator, on_trial=lambda _: opened.append(data.test_opened)
    )
    assert opened == [False] * 3 and data.test_opened
    assert all(len(row.tests) == 2 for row in outcome.finals)


def test_a_study_is_not_continued_with_other_images(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "train", 2, 40, np.random.default_rng(0))
    pictures(tmp_path / "data" / "test", 2, 20, np.random.default_rng(1))
    spec = folder_spec(tmp_path / "data")
    search(spec, tmp_path / "study", trials=1)
    pixels = np.zeros((8, 8), dtype=np.uint8)
    for path in (tmp_path / "data" / "train" / "class1").iterdir():
        Image.fromarray(pixels).save(path)
    with pytest.raises(ValueError, match=r"data\.train .* and cannot continue with"):
        search(spec, tmp_path / "study", trials=2)


def test_the_validation_images_and_digests_are_stored_with_the_study(tmp_path: Path) -> None:
    search(loads(SPEC.replace("epochs: 3", "epochs: 1")), tmp_path, trials=1)
    kept = json.loads((tmp_path / "data.json").read_text())
    assert len(kept["validation"]) == kept["images"]["validation"] > 100
    assert kept["digests"].keys() == {"train", "validation"} and not kept["test_opened"]
