"""Training settings that nothing can follow are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.optim import list_optimizers

import flopwise
from flopwise.cli import main
from flopwise.dsl import Recipe
from flopwise.errors import SpecError
from flopwise.train import open_data, wrong_settings
from tests.searches import tiny

SEARCH = tiny("""
vars: {w: 8, d: 1, b: 32}
search:
  space: SPACE
  trials: 4
  final: {top: 1, seeds: 1}
train: {data: digits, images: 100, epochs: 1, batch: $b, mixup: 0.2}
table:
  rows:
    plain: {}
    other: {set: {train.opt: adamx, train.sched: cos}}
    odd: {set: {b: 33}}
""")


def refused(tmp_path: Path, space: str, processes: int = 1) -> list[tuple[str, str, str]]:
    """Returns what a search is refused for: code, message, and the text its caret points at."""
    design = flopwise.loads(SEARCH.replace("SPACE", space))
    with pytest.raises(SpecError) as caught:
        design.search(tmp_path / "study", processes=processes)
    assert not list((tmp_path / "study").glob("trials/*"))
    found = []
    for fault in caught.value.faults:
        place = fault.place
        line = place.source.lines[place.line - 1] if place else ""
        found.append((fault.code, fault.message, line[place.column - 1 :] if place else ""))
    return found


def test_every_value_that_a_search_may_pick_is_looked_at_and_all_faults_come_at_once(
    tmp_path: Path,
) -> None:
    space = "{w: {range: [4, 16]}, train.opt: {choice: [sgd, adamx, lionn]}, b: {choice: [33, 32]}}"
    found = refused(tmp_path, space)
    assert [(code, message.split(",")[0]) for code, message, _ in found] == [
        ("E618", "train.batch is 33"),
        ("E619", "train.opt 'adamx' is not known"),
        ("E619", "train.opt 'lionn' is not known"),
    ]
    assert found[0][2].startswith("$b") and found[1][2].startswith("{choice: [sgd, adamx, lionn]}")


def test_a_sample_that_the_images_cannot_give_is_refused(tmp_path: Path) -> None:
    found = refused(tmp_path, "{train.images: {choice: [100, 4, 958, 959, 0]}}")
    assert [(code, message) for code, message, _ in found] == [
        ("E614", f"train.images is {count}, but there are 958 training images of 10 classes")
        for count in (4, 959)
    ]


def test_settings_that_go_wrong_together_only_are_found(tmp_path: Path) -> None:
    space = "{train.mixup: {choice: [0, 0.5]}, b: {choice: [32, 33]}}"
    assert [code for code, *_ in refused(tmp_path, space)] == ["E618"]
    many = "{train.lr: {range: [0.1, 1.0], step: 0.1}, train.ema: {range: [0.1, 1.0], step: 0.1}"
    assert [c for c, *_ in refused(tmp_path, many + ", b: {choice: [32, 33]}}")] == ["E618"]


@pytest.mark.parametrize(
    ("space", "more"),
    [
        ("{train.mixup: {choice: [0, 0.5]}, b: {choice: [32, 33]}}", "require: [$(b < 33)]"),
        ("{b: {choice: [32, 33], when: $(w > 99)}, w: {choice: [8, 16]}}", "sampler: {kind: tpe}"),
    ],
)
def test_values_that_the_search_rules_out_are_no_faults(
    tmp_path: Path, space: str, more: str
) -> None:
    text = SEARCH.replace("SPACE", space).replace("  trials: 4", f"  trials: 2\n  {more}")
    outcome = flopwise.loads(text).search(tmp_path / "study")
    assert outcome.trials and not [each for each in outcome.trials if each.reason]


def test_of_many_values_the_first_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    space = "{b: {range: [30, 60], step: 2}, train.sched: {choice: [cosine, cos], when: $(w > 99)}}"
    found = refused(tmp_path, space, processes=5)
    assert [code for code, *_ in found] == ["E512"] * 5  # 30, 40, 50 and 60 can be shared
    with pytest.raises(SpecError) as caught:
        flopwise.loads(SEARCH.replace("SPACE", space)).search(tmp_path / "study", processes=5)
    assert "7 more values that may be picked here are wrong as well" in str(caught.value)


def test_what_several_processes_cannot_share_is_refused_before_they_start(tmp_path: Path) -> None:
    space = "{b: {choice: [30, 32]}, train.opt: {choice: [sgd, adahessian]}}"
    found = refused(tmp_path, space, processes=3)
    assert [code for code, *_ in found] == ["E512", "E513"]
    assert "32, which 3 processes cannot share evenly in pairs" in found[0][1]


def test_a_training_and_a_table_are_told_all_that_is_wrong_where_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SEARCH.replace("SPACE", "{train.opt: {choice: [adamw, adamx]}}"))
    words = ["--set", "train.sched=coss", "--set", "train.augment=none", "--gpus", "3"]
    assert main(["train", str(path), "--out", str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr().err
    for code in ("E620", "E617", "E512"):
        assert told.count(f"error[{code}]") == 1
    assert "E619" not in told  # what a search may pick is none of a training's business
    assert "--set:1:13" in told and "'' is none" in told
    path.write_text(SEARCH.replace("SPACE", "{train.opt: {choice: [adamw, lionn]}}"))
    folder = str(tmp_path / "rows")
    assert main(["table", str(path), "--train", "digits", "--folder", folder]) == 2
    told = capsys.readouterr().err
    assert [told.count(f"error[{code}]") for code in ("E619", "E620", "E618")] == [1, 1, 1]
    assert not (tmp_path / "rows").exists() and "lionn" not in told


@pytest.mark.filterwarnings("ignore:It is highly recommended:UserWarning")  # of kron
def test_every_optimizer_and_schedule_of_timm_passes_or_is_refused_as_in_a_training() -> None:
    data = open_data(Recipe(images=100), size=(8, 8))
    before = torch.get_rng_state()
    refused = set()
    for name in list_optimizers():
        faults = dict(wrong_settings(data, Recipe(opt=name)))
        refused |= {name} if faults else set()
        assert set(faults) <= {"train.opt"}
    assert all(name.startswith(("bnb", "fused", "apex")) for name in refused)  # need CUDA or apex
    assert torch.equal(torch.get_rng_state(), before)
