"""The loop of a search, with a function in place of trainings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flopwise.dsl import Network, Recipe, Spec, loads
from flopwise.errors import RunError, SpecError
from flopwise.search import (
    Evaluator,
    Measure,
    Outcome,
    TrialRow,
    Watch,
    search,
)
from flopwise.search.evaluator import OnEpoch
from tests.searches import Book, rows_of, tiny

SPEC = tiny("""
vars: {w: 16, d: 2}
search:
  space:
    w: {range: [8, 32], step: 4}
    d: {range: [1, 4]}
  budget: {macs: {min: 100k, max: 700k}}
  trials: 6
  sampler: {kind: tpe, seed: 3}
  final: {top: 1, seeds: 3}
train: {data: digits, epochs: 2}
""")


def spec_with(*changes: tuple[str, str]) -> Spec:
    text = SPEC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return loads(text, name="tiny.yaml")


def test_a_search_ends_with_a_winner_beside_the_baseline(tmp_path: Path) -> None:
    book = Book()
    outcome = search(spec_with(), tmp_path, evaluator=book.evaluator(), command="the command")
    assert [row.number for row in outcome.trials] == list(range(6))
    assert outcome.trials[0].written and not any(row.written for row in outcome.trials[1:])
    assert len({row.identity for row in outcome.trials}) == 6
    assert all(100_000 <= row.costs["macs"] <= 700_000 for row in outcome.trials)
    baseline, top = outcome.finals
    assert (baseline.name, top.name) == ("baseline", "top 1")
    best = max(outcome.trials, key=lambda row: row.scores["top1"])
    assert top.trial == best.number and top.versus is not None and baseline.versus is None
    assert outcome.winner is not None and outcome.winner.picks == best.picks
    assert outcome.winner.search == best.scores and outcome.winner.trials == 6


def test_final_seeds_are_used_by_no_trial_and_each_final_is_judged_once(tmp_path: Path) -> None:
    book = Book()
    outcome = search(spec_with(), tmp_path, evaluator=book.evaluator())
    trial_seeds = {seed for _, seed in book.trained[:6]}
    final_seeds = {seed for _, seed in book.trained[6:]}
    assert len(trial_seeds) == 1 and len(final_seeds) == 3 and not trial_seeds & final_seeds
    assert sorted(book.judged) == sorted(book.trained[6:])
    assert outcome.winner is not None and outcome.winner.seed in final_seeds


def test_the_folder_holds_plain_files(tmp_path: Path) -> None:
    outcome = search(spec_with(), tmp_path, evaluator=Book().evaluator(), command="the command")
    trials, finals = rows_of(tmp_path), rows_of(tmp_path, "finals")
    assert [int(row["number"]) for row in trials] == list(range(6))
    assert {"w", "d", "macs", "params", "activations", "hash", "val_top1"} <= trials[0].keys()
    assert [row["name"] for row in finals] == ["baseline", "top 1"]
    assert loads((tmp_path / "spec.yaml").read_text()).network().hash == spec_with().network().hash
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["sessions"][0]["sampler"]["multivariate"] is True
    assert manifest["sessions"][0]["command"] == "the command"
    winner = json.loads((tmp_path / "winner" / "winner.json").read_text())
    resolved = loads((tmp_path / "winner" / "resolved.yaml").read_text())
    assert outcome.winner is not None
    assert resolved.network().hash == winner["hash"] == outcome.winner.hash


def test_a_finished_search_is_read_and_not_run_again(tmp_path: Path) -> None:
    first = search(spec_with(), tmp_path, evaluator=Book().evaluator())
    book = Book()
    second = search(spec_with(), tmp_path, evaluator=book.evaluator())
    assert book.trained == [] and book.judged == []
    assert second.trials == first.trials and second.finals == first.finals


def test_more_trials_go_on_where_the_last_session_ended(tmp_path: Path) -> None:
    straight = search(spec_with(), tmp_path / "a", trials=9, evaluator=Book().evaluator())
    search(spec_with(), tmp_path / "b", trials=4, evaluator=Book().evaluator())
    book = Book()
    resumed = search(spec_with(), tmp_path / "b", trials=9, evaluator=book.evaluator())
    assert [row.picks for row in resumed.trials] == [row.picks for row in straight.trials]
    assert len([seed for _, seed in book.trained if seed == 0]) == 5


class Ear(Watch):
    """Remembers what it is told."""

    heard: str = ""

    def note(self, text: str) -> None:
        self.heard += text + "\n"


def test_a_written_network_outside_the_budget_is_said_to_be_so_and_stays_the_baseline(
    tmp_path: Path,
) -> None:
    ear = Ear()
    spec = spec_with(("w: 16, d: 2", "w: 8, d: 1"))
    outcome = search(spec, tmp_path, evaluator=Book().evaluator(), watch=ear)
    assert "the written network is no candidate" in ear.heard and "macs 23120" in ear.heard
    assert not any(row.written for row in outcome.trials)
    baseline, top = outcome.finals
    assert baseline.trial is None and baseline.search == {} and len(baseline.tests) == 3
    assert top.versus is not None


class Stopped(BaseException):
    """What kills a session in a test, as Ctrl-C does."""


@pytest.mark.parametrize("when", range(1, 4))
def test_a_stopped_trial_is_taken_back_with_its_picks_and_its_folder(
    tmp_path: Path, when: int
) -> None:
    straight = search(spec_with(), tmp_path / "a", evaluator=Book().evaluator())
    folders: list[Path] = []

    def dies(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        folders.append(folder)
        if len(folders) == when:
            raise Stopped
        return Book().evaluate(network, recipe, folder, on_epoch)

    with pytest.raises(Stopped):
        search(spec_with(), tmp_path / "b", evaluator=Evaluator(evaluate=dies))

    def goes_on(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        folders.append(folder)
        return Book().evaluate(network, recipe, folder, on_epoch)

    resumed = search(spec_with(), tmp_path / "b", evaluator=Evaluator(evaluate=goes_on))
    assert [row.picks for row in resumed.trials] == [row.picks for row in straight.trials]
    assert all(row.state == "done" for row in resumed.trials)
    assert folders[when] == folders[when - 1] and len(folders) == 7


def test_half_a_line_at_the_end_of_the_journal_and_a_stale_lock_do_no_harm(tmp_path: Path) -> None:
    search(spec_with(), tmp_path, trials=2, evaluator=Book().evaluator())
    journal = tmp_path / "study.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    (tmp_path / "study.jsonl.lock").symlink_to(journal)
    outcome = search(spec_with(), tmp_path, trials=4, evaluator=Book().evaluator())
    assert [row.state for row in outcome.trials] == ["done"] * 4


def test_a_failed_training_is_recorded_with_its_reason_and_the_search_goes_on(
    tmp_path: Path,
) -> None:
    def fails(network: Network) -> Exception | None:
        deep = network.graph.macs > 400_000
        return RunError("the loss is nan after epoch 1") if deep else None

    outcome = search(spec_with(), tmp_path, trials=8, evaluator=Book(fails).evaluator())
    failed = [row for row in outcome.trials if row.state == "failed"]
    assert 0 < len(failed) < 8 and len(outcome.trials) == 8
    assert all("the loss is nan after epoch 1" in row.reason for row in failed)
    assert all(not row.scores for row in failed)
    assert rows_of(tmp_path)[failed[0].number]["state"] == "failed"


def test_a_score_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    scores = iter([50.0, float("nan"), 51.0])

    def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        return Measure(scores={"top1": next(scores)})

    outcome = search(spec_with(), tmp_path, trials=3, evaluator=Evaluator(evaluate=evaluate))
    assert [row.state for row in outcome.trials] == ["done", "failed", "done"]
    assert outcome.winner is not None and outcome.winner.trial == 2 and outcome.finals == ()


def test_five_failures_in_a_row_for_one_reason_end_the_search(tmp_path: Path) -> None:
    book = Book(lambda _: MemoryError("no memory"))
    with pytest.raises(RunError, match="5 trials in a row failed for the same reason"):
        search(spec_with(), tmp_path, trials=9, evaluator=book.evaluator())
    assert len(rows_of(tmp_path)) == 5


def test_a_space_with_nothing_left_ends_the_search_and_says_so(tmp_path: Path) -> None:
    ear = Ear()
    tight = spec_with(("max: 700k", "max: 200k"))
    outcome = search(tight, tmp_path, trials=100, evaluator=Book().evaluator(), watch=ear)
    feasible = [
        picks
        for picks in ({"w": w, "d": d} for w in range(8, 33, 4) for d in range(1, 5))
        if 100_000 <= tight.network(picks).graph.macs <= 200_000
    ]
    assert outcome.exhausted and len(outcome.trials) == len(feasible) > 1
    assert f"all {len(feasible)} feasible candidates" in ear.heard


def test_an_impossible_budget_is_told_before_any_training_with_what_was_seen(
    tmp_path: Path,
) -> None:
    book = Book()
    with pytest.raises(SpecError, match="E501") as caught:
        spec = spec_with(("min: 100k, max: 700k", "max: 1k"))
        search(spec, tmp_path, evaluator=book.evaluator())
    assert book.trained == []
    assert any("macs" in note for note in caught.value.faults[0].notes)


def test_the_baseline_that_wins_is_called_the_winner(tmp_path: Path) -> None:
    spec = spec_with(("max: 700k", "max: 250k"), ("top: 1", "top: 2"))
    smaller = spec_with(("w: 16, d: 2", "w: 20, d: 1"), ("max: 700k", "max: 250k"))
    for number, written in enumerate((spec, smaller)):
        outcome = search(written, tmp_path / str(number), trials=20, evaluator=Book().evaluator())
        best = max(outcome.trials, key=lambda row: row.scores["top1"])
        assert outcome.winner is not None
        assert (outcome.winner.name == "baseline") == best.written
        assert [row.name for row in outcome.finals].count("baseline") == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("step: 4", "step: 8"), "space.w"),
        (("max: 700k", "max: 650k"), "budget"),
        (("epochs: 2", "epochs: 3"), "recipe.epochs"),
        (("w: 16, d: 2", "w: 12, d: 2"), "network"),
    ],
)
def test_a_folder_is_not_continued_with_something_else(
    tmp_path: Path, change: tuple[str, str], named: str
) -> None:
    search(spec_with(), tmp_path, trials=1, evaluator=Book().evaluator())
    before = (tmp_path / "study.jsonl").read_bytes()
    with pytest.raises(SpecError, match="E504") as caught:
        search(spec_with(change), tmp_path, trials=2, evaluator=Book().evaluator())
    assert named in str(caught.value) and "cannot continue with" in str(caught.value)
    assert (tmp_path / "study.jsonl").read_bytes() == before


def test_a_folder_is_not_continued_with_other_data(tmp_path: Path) -> None:
    search(spec_with(), tmp_path, trials=1, evaluator=Book().evaluator(digest="aaaa"))
    with pytest.raises(SpecError, match=r"data\.digest \"aaaa\" and cannot .* \"bbbb\""):
        search(spec_with(), tmp_path, trials=2, evaluator=Book().evaluator(digest="bbbb"))


HOLD = """
import sys, time
from pathlib import Path
from flopwise.search.folder import StudyFolder
with StudyFolder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"another process .pid {holder.pid}. is running"):
            search(spec_with(), tmp_path, evaluator=Book().evaluator())
    finally:
        holder.kill()  # as kill -9: the system lets go of the lock
        holder.communicate()
    outcome = search(spec_with(), tmp_path, trials=1, evaluator=Book().evaluator())
    assert len(outcome.trials) == 1


ORPHAN = """
import os, sys, time
from pathlib import Path
from flopwise.search.folder import StudyFolder
with StudyFolder(Path(sys.argv[1])):
    if os.fork() == 0:  # a loader process, which keeps the lock a little longer
        time.sleep(2)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_loader_processes_that_outlive_a_killed_search_do_not_lock_its_successor_out(
    tmp_path: Path,
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    outcome = search(spec_with(), tmp_path, trials=1, evaluator=Book().evaluator())
    assert len(outcome.trials) == 1
    holder.communicate()


def test_every_ended_trial_is_told_once(tmp_path: Path) -> None:
    heard: list[TrialRow] = []
    outcome: Outcome = search(
        spec_with(), tmp_path, evaluator=Book().evaluator(), on_trial=heard.append
    )
    assert tuple(heard) == outcome.trials


def test_training_settings_are_targets_too_and_make_trials_of_their_own(tmp_path: Path) -> None:
    lr = ("d: {range: [1, 4]}", "train.lr: {choice: [0.001, 0.003]}")
    spec = spec_with(lr, ("max: 700k", "max: 2M"))
    seen: list[tuple[str, float]] = []

    def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        seen.append((network.hash, recipe.lr))
        return Measure(scores={"top1": recipe.lr})

    search(spec, tmp_path, trials=8, evaluator=Evaluator(evaluate=evaluate))
    assert len(set(seen)) == len(seen) == 8
    assert len({hash for hash, _ in seen}) < 8
