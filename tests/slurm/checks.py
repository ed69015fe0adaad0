"""Searches whose workers are jobs of a real Slurm; `bash tests/slurm/run.sh` sets one up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.searches import ROOT, epochs_of, from_a_shell, rows_of, tiny, until

SPEC = tiny("""
vars: {w: 8, d: 1}
search:
  space:
    w: {range: [4, 16], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 2M}}
  trials: 6
  sampler: {kind: random, seed: 3}
  final: {top: 1, seeds: 1, epochs: 1}
train: {data: digits, epochs: 6}
""")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(SPEC)
    return tmp_path / "run"


def launched(home: Path, *more: str) -> subprocess.Popen[str]:
    words = ["search", home.parent / "net.yaml", "--out", home, "--workers", "2", *more]
    shell = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return from_a_shell(*words, "--slurm", "partition=debug,time=30", cwd=ROOT, env=shell)


def jobs(home: Path) -> dict[str, str]:
    """Returns the jobs that wait or run, with their states, as Slurm tells."""
    mark = home / "workers" / "slurm.json"
    if not mark.exists():
        return {}
    array = json.loads(mark.read_text())["job"]
    words = ["squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={array}"]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return dict(line.split() for line in lines)


def workers_of(home: Path) -> Counter[str]:
    """Returns how the workers of a study ended, from its journal alone."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(home / "study.jsonl")))
    study = optuna.load_study(study_name="search: workers", storage=storage)
    return Counter(trial.state.name for trial in study.get_trials())


def test_jobs_train_it_all_and_a_preempted_one_gives_its_trial_back_and_comes_again(
    home: Path,
) -> None:
    search = launched(home, "--set", "train.epochs=100")  # work is left when the job comes again
    until(lambda: epochs_of(home) >= 2 and list(jobs(home).values()) == ["RUNNING"] * 2, search)
    first = next(iter(jobs(home)))
    subprocess.run(["scancel", "--signal=USR2", first], check=True)  # what Slurm says beforehand
    until(lambda: workers_of(home)["COMPLETE"] >= 1, search)  # it left, as one that is asked to
    until(lambda: jobs(home).get(first) == "PENDING", search)
    now = ["scontrol", "update", f"JobId={first}", "StartTime=now"]

    def again() -> bool:
        """Slurm makes it wait two minutes, and says so again when the node is done with it."""
        subprocess.run(now, check=False)
        return jobs(home).get(first) == "RUNNING"

    until(again, search)
    said, _ = search.communicate(timeout=400)
    assert search.returncode == 0, said
    rows = rows_of(home)
    assert [row["state"] for row in rows] == ["done"] * 6
    assert len({row["identity"] for row in rows}) == 6
    assert all(int(row["epochs"]) == 100 for row in rows)
    until(lambda: not jobs(home))
    assert workers_of(home) == {"COMPLETE": 3}  # the two, and the one that came again
    log = next((home / "workers").glob(f"{first}_*.out")).read_text()
    assert "requeue" in log.lower()
    assert (home / "winner" / "winner.json").exists()
    assert (home / "export" / "config.json").exists()


def test_a_search_that_is_stopped_leaves_its_jobs_and_one_that_is_killed_loses_no_trial(
    home: Path,
) -> None:
    file = home.parent / "net.yaml"
    file.write_text(SPEC.replace("epochs: 6", "epochs: 60"))
    search = launched(home)
    until(lambda: epochs_of(home) >= 2 and len(jobs(home)) == 2, search)
    search.send_signal(signal.SIGINT)
    said, _ = search.communicate(timeout=240)
    assert search.returncode == 130
    array = json.loads((home / "workers" / "slurm.json").read_text())["job"]
    assert f"scancel {array}" in said
    assert len(jobs(home)) == 2
    first = next(iter(jobs(home)))
    subprocess.run(["scancel", "--signal=KILL", first], check=True)
    again = launched(home)
    said, _ = again.communicate(timeout=400)
    assert again.returncode == 0, said
    assert "are still there; none is added" in said
    rows = rows_of(home)
    assert [row["state"] for row in rows] == ["done"] * 6
    assert all(int(row["epochs"]) == 60 for row in rows)


def test_a_job_has_as_many_gpus_as_a_trial_takes(home: Path) -> None:
    search = launched(home, "--gpus-per-trial", "2", "--trials", "1")
    until(lambda: "RUNNING" in jobs(home).values(), search)
    array = json.loads((home / "workers" / "slurm.json").read_text())
    assert array["options"]["gpus"] == "2"
    words = ["squeue", "--noheader", "--array", "--format=%T %b", f"--jobs={array['job']}"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")
    assert sorted(each.split()[0] for each in found if each) == ["PENDING", "RUNNING"]  # 2 GPUs
    said, _ = search.communicate(timeout=600)
    assert search.returncode == 0, said
    (row,) = rows_of(home)
    assert row["state"] == "done" and row["epochs"] == "6"
