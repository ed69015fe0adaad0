"""Several processes on one study: leases, claims, and what becomes of a killed worker's trial."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from flopwise.dsl import load, loads
from flopwise.errors import RunError
from flopwise.search import Evaluator, search, work
from flopwise.search.register import Register
from flopwise.search.status import find, status
from flopwise.search.storage import Patience, open_store
from flopwise.search.workers import Worker
from tests.searches import counted, ended, lines_of, rows_of, started, tiny, until

SPEC = tiny("""
vars: {w: 8, d: 2}
search:
  space:
    w: {range: [4, 64], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 3M}}
  trials: 12
  sampler: {kind: SAMPLER, seed: 3}
  final: {top: 1, seeds: 2}
train: {data: digits, epochs: 3}
""")

# PAUSE seconds an epoch. A file `poison` makes a network deadly.
WORK = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from flopwise.dsl import load
from flopwise.search import search, work
from flopwise.search.evaluator import Verdict
from tests.searches import noted

home, how, pause = Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])

def before(network, folder):
    if (home / "poison").exists() and network.hash == (home / "poison").read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(pause)

def judge(network, recipe, measure):
    return Verdict(scores={"top1": 50.0}, correct=np.ones(10, dtype=bool))

run = search if how == "search" else work
run(load(sys.argv[1]), home, evaluator=noted(home / "notes.txt", before, judge=judge))
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC.replace("SAMPLER", "random"))
    return path


def start(spec: Path, home: Path, how: str, pause: float = 0.02) -> subprocess.Popen[str]:
    return started(WORK, spec, home, how, pause)


def notes(home: Path) -> list[list[str]]:
    return lines_of(home / "notes.txt")


@pytest.mark.parametrize("kind", ["tpe", "grid"])
def test_workers_share_a_study_and_train_nothing_twice(
    spec: Path, tmp_path: Path, kind: str
) -> None:
    spec.write_text(SPEC.replace("SAMPLER", kind))
    home = tmp_path / "run"
    ended(*(start(spec, home, how) for how in ("search", "work", "work")))
    found = rows_of(home)
    assert [row["state"] for row in found] == ["done"] * 12
    assert len({row["identity"] for row in found}) == 12
    epochs = [(place, epoch) for place, epoch, _ in notes(home)]
    assert len(epochs) == len(set(epochs)) == 3 * (12 + 4)  # two entrants, two seeds each
    if kind == "grid":  # workers together take the points in their order
        assert {row["w"] for row in found} == {"4", "8", "12", "16"}


def test_a_killed_worker_gives_its_trial_to_the_others_who_go_on_from_its_last_epoch(
    spec: Path, tmp_path: Path
) -> None:
    home = tmp_path / "run"
    first, second = start(spec, home, "search", 0.2), start(spec, home, "work", 0.2)

    def begun() -> list[str]:
        """Returns the training of which the second worker has done the first epoch only."""
        own = [(place, epoch) for place, epoch, pid in notes(home) if pid == str(second.pid)]
        return [place for place, epoch in own[-1:] if epoch == "1"]

    until(begun, first, second)
    second.kill()
    second.communicate()
    ended(first)
    assert [row["state"] for row in rows_of(home)] == ["done"] * 12
    epochs = [(place, epoch) for place, epoch, _ in notes(home)]
    assert len(epochs) == len(set(epochs)) == 3 * 16
    (lost,) = begun()
    makers = [pid for place, _, pid in notes(home) if place == lost]
    assert makers[0] == str(second.pid) and makers[-1] == str(first.pid)
    assert status(find(home))["workers_lost"] == 1


def test_a_trial_that_takes_its_worker_down_twice_is_a_recorded_failure(
    spec: Path, tmp_path: Path
) -> None:
    home = tmp_path / "run"
    home.mkdir()
    (home / "poison").write_text(load(spec).network().hash)  # the first trial
    for _ in range(2):
        process = start(spec, home, "search")
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    (home / "poison").rename(home / "antidote")
    ended(start(spec, home, "search"))
    failed, *others = rows_of(home)
    assert failed["state"] == "failed" and "twice in epoch 1" in failed["reason"]
    assert [row["state"] for row in others] == ["done"] * 11
    assert failed["identity"] not in {place for place, _, _ in notes(home)}


DEADLY = """
import os, signal, sys
from pathlib import Path
import optuna
from flopwise.dsl import load
from flopwise.search import Evaluator, search
from flopwise.search.storage import open_store
from tests.searches import counted

class Deadly(optuna.samplers.RandomSampler):
    def sample_relative(self, study, trial, space):
        if sys.argv[3] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.number == 1:  # another worker came to its verdict while this one proposed
            store = open_store(Path(sys.argv[2]) / "study.jsonl")
            others = optuna.load_study(study_name=study.study_name, storage=store)
            others.tell(1, state=optuna.trial.TrialState.FAIL)
        return super().sample_relative(study, trial, space)

Deadly.__module__ = "__main__"
spec = load(sys.argv[1])
search(spec, Path(sys.argv[2]), evaluator=Evaluator(evaluate=counted), allow_code=True)
"""


def test_two_workers_may_come_to_the_same_verdict(spec: Path, tmp_path: Path) -> None:
    home = tmp_path / "run"
    spec.write_text(SPEC.replace("kind: SAMPLER", "class: __main__.Deadly"))
    for _ in range(2):  # the first trial is the written network, the second is proposed
        process = started(DEADLY, spec, home, "die")
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    ended(started(DEADLY, spec, home, "live"))
    states = [row["state"] for row in rows_of(home)]
    assert len(states) == 11 and set(states) == {"done"}  # of the other one no picks are known


def register_in(home: Path) -> Register:
    return Register(open_store(home / "study.jsonl"), "search", Patience(lambda text: None))


def test_only_the_first_of_equal_claims_holds_whoever_looks(spec: Path, tmp_path: Path) -> None:
    search(load(spec), tmp_path, trials=1, evaluator=Evaluator(evaluate=counted))
    a, b = register_in(tmp_path), register_in(tmp_path)
    assert a.claim("identity x", "1") == "1" and b.claim("identity x", "2") == "1"
    assert (
        a.claim("identity x", "3") == "1" and register_in(tmp_path).claim("identity x", "4") == "1"
    )


def test_a_lease_passes_on_only_when_its_holder_left_or_counts_as_dead(
    spec: Path, tmp_path: Path
) -> None:
    search(load(spec), tmp_path, trials=1, evaluator=Evaluator(evaluate=counted))

    def worker() -> Worker:
        register = register_in(tmp_path)
        return Worker(register=register, patience=Patience(lambda text: None), grace=30)

    with worker() as first:
        assert first.take("trial 7") and not first.take("trial 7")
        with worker() as second:
            assert not second.take("trial 7")
            assert second._record is not None and first._record is not None
            second.register.bury(first._record)  # what a reaper does
            assert second.take("trial 7") and second.deaths("trial 7")[0][1] == 0
            with pytest.raises(RunError, match="counted as dead"):
                first.told("trial 7", 1)
        with worker() as third:
            assert third.take("trial 7")  # its last holder left


class Slow(Register):
    """The register of a process that is held up each time before it reads it again."""

    meanwhile: Iterator[Callable[[], object]] = iter(())

    def refresh(self) -> None:
        """Reads all that is new, after something else happened."""
        next(self.meanwhile, int)()
        super().refresh()


def test_of_two_that_find_a_holder_dead_at_once_one_gets_the_lease(
    spec: Path, tmp_path: Path
) -> None:
    search(load(spec), tmp_path, trials=1, evaluator=Evaluator(evaluate=counted))
    patience = Patience(lambda text: None)
    with Worker(register=register_in(tmp_path), patience=patience) as dead:
        assert dead.take("trial 7")
    register = Slow(open_store(tmp_path / "study.jsonl"), "search", patience)
    rival = Worker(register=register_in(tmp_path), patience=patience)
    with rival, Worker(register=register, patience=patience) as slow:
        took: list[bool] = []
        # after it looked, and before it claims
        register.meanwhile = iter([int, lambda: took.append(rival.take("trial 7"))])
        assert not slow.take("trial 7") and took == [True]
        assert slow._holders("trial 7") == [dead.name, rival.name]


def test_a_worker_that_gives_no_sign_loses_its_lease_by_the_watchers_own_clock(
    spec: Path, tmp_path: Path
) -> None:
    """The record of a worker elsewhere, whose clock says anything: it is never looked at."""
    search(load(spec), tmp_path, trials=1, evaluator=Evaluator(evaluate=counted))
    elsewhere = register_in(tmp_path)
    about = {"host": "far", "place": "far away", "pid": 1, "start": "0", "clock": "1999-01-01"}
    ghost = elsewhere.join(about)
    elsewhere.claim("trial 7 #0", str(ghost.number))
    register = register_in(tmp_path)
    with Worker(register=register, patience=Patience(lambda text: None), grace=1.2) as watcher:
        for beat in range(1, 5):  # signs of life, further apart than the watcher's own
            elsewhere.note(ghost, "beat", beat)
            time.sleep(0.5)
            assert not watcher.take("trial 7")
        began = time.monotonic()
        while not watcher.take("trial 7"):
            assert time.monotonic() - began < 30
            time.sleep(0.1)
        assert time.monotonic() - began > 0.5


def test_a_worker_of_a_large_crew_gets_the_time_it_asked_for_and_its_end_is_heard_of_by_a_claim(
    spec: Path, tmp_path: Path
) -> None:
    search(load(spec), tmp_path, trials=1, evaluator=Evaluator(evaluate=counted))
    elsewhere = register_in(tmp_path)
    slow, mute = (
        elsewhere.join({"host": "far", "place": "far away", "pid": n, "start": "0"}) for n in (1, 2)
    )
    elsewhere.note(slow, "apart", 100.0)  # gives signs less often than the watcher's own grace
    for number, ghost in enumerate((slow, mute)):
        elsewhere.claim(f"trial {7 + number} #0", str(ghost.number))
    register = register_in(tmp_path)
    with Worker(register=register, patience=Patience(lambda text: None), grace=0.6) as watcher:
        began = time.monotonic()
        while not watcher.take("trial 8"):
            assert time.monotonic() - began < 30
            time.sleep(0.05)
        assert not watcher.take("trial 7")
    elsewhere.hear()  # claims alone: the records of workers are not read again
    assert not elsewhere.lives(str(mute.number))
    assert elsewhere.lives(str(slow.number))


def test_status_tells_of_a_study_from_elsewhere(spec: Path, tmp_path: Path) -> None:
    home = tmp_path / "run"
    process = start(spec, home, "search", 0.5)
    until(lambda: len(notes(home)) >= 4, process)
    words = [sys.executable, "-m", "flopwise", "status", str(home), "--json"]
    facts = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert facts["trials"]["wanted"] == 12 and facts["trials"]["done"] >= 1
    assert facts["workers"][0]["pid"] == process.pid and facts["best"]["scores"]["top1"] > 0
    assert facts["seconds_left"] > 0 and facts["feasible_share"] > 0
    after = status(find(home))
    assert after["workers"] == [] and after["workers_lost"] == 0  # asked to end, it left


def test_every_trial_keeps_what_made_it(spec: Path, tmp_path: Path) -> None:
    evaluator = Evaluator(evaluate=counted)
    search(load(spec), tmp_path, trials=2, evaluator=evaluator, command="the command")
    studies = open_store(tmp_path / "study.jsonl")
    for trial in optuna.load_study(study_name="search", storage=studies).trials:
        about = trial.user_attrs["about"]
        assert about["made"]["command"] == "the command" and "optuna" in about["made"]["versions"]
        assert len(about["spec"]) == 16 and about["seed"] == 0
        assert loads(about["resolved"]).network().hash == about["hash"]


def test_a_worker_without_a_search_says_how_to_start_one(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["flopwise.search.folder"], "WAITS", 1)
    with pytest.raises(RunError, match="flopwise search SPEC --out"):
        work(load(spec), tmp_path / "none")
