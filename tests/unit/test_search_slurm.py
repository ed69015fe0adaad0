"""What a search with --slurm does before and in a job; tests/slurm/run.sh has the real Slurm."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from submitit import LocalExecutor

from flopwise.dsl import load
from flopwise.errors import RunError
from flopwise.search import search
from flopwise.search.slurm import Hand, Jobs, minutes, options_of, with_gpus
from tests.searches import rows_of, tiny

SPEC = tiny("""
vars: {w: 8, d: 1}
search:
  space: {w: {range: [4, 16]}, d: {range: [1, 3]}}
  trials: 6
  objective: {maximize: score}
  evaluator: {score: params, insist: true}
  sampler: {kind: random, seed: 3}
train: {data: digits}
""")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("partition=gpu", {"partition": "gpu"}),
        ("partition=a,b,gpus=1", {"partition": "a,b", "gpus": "1"}),
        ("gres=gpu:a100:1,cpus_per_task=8", {"gres": "gpu:a100:1", "cpus-per-task": "8"}),
        ("time=1-00:30:00,exclude=n1,n2", {"time": "1-00:30:00", "exclude": "n1,n2"}),
    ],
)
def test_options_are_those_of_sbatch(text: str, options: dict[str, str]) -> None:
    assert options_of(text) == options


@pytest.mark.parametrize(
    ("text", "word"),
    [("gpu", "gives no option a value"), ("array=4,gpus=1", "'array'"), ("time=soon", "HH:MM:SS")],
)
def test_options_that_say_nothing_are_refused(text: str, word: str) -> None:
    with pytest.raises(RunError, match=word):
        options_of(text)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ("gpus=1", "gpus=1 asks for 1 GPU a job, but a training takes 4"),
        ("gpus-per-node=a100:2", "asks for 2 GPUs a job"),
        ("gres=gpu", "gres=gpu asks for 1 GPU a job"),
        ("gres=gpu:h100:3", "asks for 3 GPUs a job"),
    ],
)
def test_a_job_with_fewer_gpus_than_a_training_takes_is_refused(options: str, asked: str) -> None:
    with pytest.raises(RunError, match=asked):
        with_gpus(options_of(f"partition=gpu,{options}"), 4)
    assert with_gpus(options_of(options), 1) == options_of(options)
    assert with_gpus(options_of("gpus=8,time=9"), 4) == {"gpus": "8", "time": "9"}
    assert with_gpus(options_of("time=9"), 4) == {"gpus": "4", "time": "9"}


@pytest.mark.parametrize(
    ("text", "found"),
    [("90", 90), ("30:01", 31), ("2:00:00", 120), ("1-12", 2160), ("1-12:30", 2190), ("0:10", 1)],
)
def test_a_time_is_read_as_sbatch_reads_it(text: str, found: int) -> None:
    assert minutes(text) == found


def test_a_machine_without_slurm_says_where_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="start the search where jobs are submitted"):
        Jobs(tmp_path, 2).executor()


def test_jobs_of_submitit_train_a_study_to_its_end(tmp_path: Path) -> None:
    home, file = tmp_path / "run", tmp_path / "net.yaml"
    file.write_text(SPEC)
    search(load(file), home, trials=1)
    known = json.loads((home / "study.json").read_text())
    (home / "study.json").write_text(json.dumps({**known, "trials": 6}))
    executor = LocalExecutor(home / "workers")
    jobs = executor.submit_array(Jobs(home, 2).hands())
    assert [job.result() for job in jobs] == [0, 0]
    assert [row["state"] for row in rows_of(home)] == ["done"] * 6


def test_a_warned_job_lets_its_worker_leave_and_comes_again(tmp_path: Path) -> None:
    left = tmp_path / "left"
    program = (
        "import pathlib, signal, sys, time\n"
        "assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # some shells ignore it
        "pathlib.Path(sys.argv[1] + '.ready').touch()\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: pathlib.Path(sys.argv[1]).touch()\n"
    )
    hand = Hand((sys.executable, "-c", program, str(left)))
    next_ = []

    def warn() -> None:
        while not Path(f"{left}.ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, lambda *_: next_.append(hand.checkpoint()))
    try:
        thread = threading.Thread(target=warn)
        thread.start()
        assert hand() == 0
        thread.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert left.exists()
    assert [each.function.words for each in next_] == [hand.words]
