"""What goes wrong around a search: disk, database, memory, clocks, another study of its name."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from optuna.samplers import TPESampler

from benchmarks.postgres import Postgres, missing
from flopwise.dsl import Network, Recipe, loads
from flopwise.errors import RunError, SpecError
from flopwise.search import Evaluator, Measure, Watch, search
from flopwise.search.evaluator import OnEpoch
from flopwise.search.status import find, status
from flopwise.search.storage import Patience, StoreGoneError, open_store
from tests.machine import SMALL_DISK, need, no_mounts
from tests.searches import counted, ended, lines_of, rows_of, script, started, tiny, until

SPEC = tiny("""
vars: {w: 8, d: 2}
search:
  space:
    w: {range: [8, 32], step: 4}
    d: {range: [1, 3]}
  budget: {macs: {max: 3M}}
  trials: 6
  sampler: {kind: random, seed: 3}
  final: {top: 1, seeds: 1}
train: {data: digits, epochs: 3}
""")

# With a second argument the third training fills the disk, or what is left of it for its weights.
FULL = """
import sys
from pathlib import Path
from flopwise.dsl import load
from flopwise.errors import RunError
from flopwise.search import search
from tests.searches import noted

disk, begun = Path(sys.argv[1]), set()

def before(network, folder):
    begun.add(folder)
    if len(begun) == 3 and len(sys.argv) > 2:
        with (disk / "ballast").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(512)):
                    pass
            except OSError:
                pass
        if sys.argv[2] == "training":
            (folder / "checkpoint").write_bytes(bytes(9999))

try:
    search(load("net.yaml"), disk / "run", evaluator=noted(Path("notes.txt"), before))
except RunError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(SPEC)
    return tmp_path


def epochs(home: Path) -> list[tuple[str, str]]:
    return [(place, epoch) for place, epoch, _ in lines_of(home / "notes.txt")]


def on_a_small_disk(home: Path, size: str, commands: str) -> str:
    """Runs a shell in which DISK is a disk of that size; returns all that was said."""
    need(no_mounts())
    disk = home / "disk"
    disk.mkdir()
    text = f"DISK={disk}; mount -t tmpfs -o size={size} tmpfs $DISK; {commands}; cp -r $DISK/run ."
    done = subprocess.run(
        [*SMALL_DISK, text], cwd=home, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("where", ["training", "journal"])
def test_a_full_disk_ends_the_search_with_words_and_it_goes_on_when_there_is_room(
    home: Path, where: str
) -> None:
    (home / "full.py").write_text(script(FULL))
    run = f"{sys.executable} full.py $DISK"
    told = on_a_small_disk(home, "400k", f"! {run} {where}; rm $DISK/ballast; {run}")
    assert "DiskFullError: there is no room to write" in told and "give the same command" in told
    assert "Traceback" not in told
    assert [row["state"] for row in rows_of(home / "run")] == ["done"] * 6
    begun = epochs(home)
    assert len(begun) - len(set(begun)) <= 1  # the epoch that found no room, and no other
    assert len(set(begun)) == 6 * 3


REAL = """
import sys
from flopwise.dsl import load
from flopwise.errors import RunError
from flopwise.search import search

try:
    search(load("net.yaml"), sys.argv[1])
except RunError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.slow
def test_a_training_that_finds_no_room_for_its_weights_goes_on_where_it_was(home: Path) -> None:
    """Real trainings: torch and safetensors have words of their own for a full disk."""
    (home / "real.py").write_text(REAL)
    run = f"{sys.executable} real.py $DISK/run"
    more = "cp $DISK/run/trials.csv first.csv; mount -o remount,size=50m $DISK"
    told = on_a_small_disk(home, "700k", f"! {run}; {more}; {run}")
    assert "DiskFullError: there is no room to write" in told and "Traceback" not in told
    first, found = rows_of(home, "first"), rows_of(home / "run")
    assert [row["state"] for row in found] == ["done"] * 6
    assert 0 < len(first) < 6 and not any(row["reason"] for row in first)
    for row in found:
        lines = (home / "run" / "trials" / row["identity"] / "epochs.jsonl").read_text()
        assert len(lines.splitlines()) == 3


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    need(missing())
    with Postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def connections_are_closed_here() -> Iterator[None]:
    """A pool that nobody holds any more is closed here, and not as a warning in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Ear(Watch):
    """Remembers what it is told."""

    heard: str = ""

    def note(self, text: str) -> None:
        self.heard += text + "\n"


def test_a_database_that_crashes_and_comes_back_costs_nothing(
    home: Path, database: Postgres
) -> None:
    trained: list[str] = []

    def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        trained.append(network.hash)
        if len(trained) in (2, 4):
            database.stop(crash=len(trained) == 2)
            threading.Timer(1.5, database.start).start()
        return counted(network, recipe, folder, on_epoch)

    ear, spec = Ear(), loads(SPEC)
    outcome = search(
        spec,
        home / "gone",
        evaluator=Evaluator(evaluate=evaluate),
        storage=database.url,
        watch=ear,
    )
    assert [row.state for row in outcome.trials] == ["done"] * 6
    assert len(trained) == len(set(trained)) == 6
    assert ear.heard.count("the storage does not answer") == 2
    assert ear.heard.count("the storage answers again") == 2
    until(lambda: connections(database) == 1, seconds=10)  # all but the one that asks are closed


def test_a_database_that_crashes_while_a_network_is_proposed_is_waited_for(
    home: Path, database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, asked = TPESampler.sample_relative, list[int]()

    def sample(self: TPESampler, study: Any, trial: Any, space: Any) -> dict[str, Any]:
        asked.append(trial.number)
        if len(asked) == 3:
            database.stop(crash=True)
            threading.Timer(1.5, database.start).start()
        return inside(self, study, trial, space)

    monkeypatch.setattr(TPESampler, "sample_relative", sample)
    spec = loads(SPEC.replace("kind: random", "kind: tpe"))
    evaluator = Evaluator(evaluate=counted)
    outcome = search(spec, home / "asked", evaluator=evaluator, storage=database.url)
    assert [row.state for row in outcome.trials] == ["done"] * 6
    assert len(asked) > 3 and asked[2] == asked[3]  # it was asked again, for the same trial


def connections(database: Postgres) -> int:
    words = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with psycopg.connect(database.url) as mine:
        found = mine.execute(words).fetchone()
    assert found
    return int(found[0])


def test_a_database_that_stays_away_ends_a_worker_with_words(
    home: Path, database: Postgres
) -> None:
    patience = Patience(lambda text: None, limit=0.5)
    store = patience(lambda: open_store(home, database.url))
    database.stop()
    try:
        with pytest.raises(StoreGoneError, match="give the same command again when it is back"):
            patience(store.get_all_studies)
    finally:
        database.start()


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("step: 4", "step: 8"), SpecError, "space.w"),
        (("", ""), RunError, "is another folder: workers share one folder"),
    ],
    ids=["another space", "another folder"],
)
def test_one_name_in_one_database_is_one_study_and_both_places_are_named(
    home: Path,
    database: Postgres,
    change: tuple[str, str],
    kind: type[Exception],
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.id.replace(" ", "-")
    evaluator = Evaluator(evaluate=lambda *_: Measure(scores={"top1": 1.0}))
    first, second = home / "a" / name, home / "b" / name
    search(loads(SPEC), first, trials=2, evaluator=evaluator, storage=database.url)
    other = loads(SPEC.replace(*change))
    with pytest.raises(kind, match=said) as caught:
        search(other, second, evaluator=evaluator, storage=database.url)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)
    assert status(find(f"{database.url}#{name}"))["trials"]["done"] == 2


# The wall clock of a worker, set before anything that reads it is imported.
CLOCK = """
import datetime, sys, time
shift = float(sys.argv[2])
real, real_ns, plain = time.time, time.time_ns, datetime.datetime
time.time = lambda: real() + shift
time.time_ns = lambda: real_ns() + int(shift * 1e9)

class Shifted(plain):
    @classmethod
    def now(cls, tz=None):
        return plain.now(tz) + datetime.timedelta(seconds=shift)

datetime.datetime = Shifted
"""
SKEWED = (
    CLOCK
    + """
from pathlib import Path
from flopwise.dsl import load
from flopwise.search import search, work
from tests.searches import noted

run = search if sys.argv[1] == "search" else work
run(load("net.yaml"), "run", evaluator=noted(Path("notes.txt"), lambda *_: time.sleep(0.1)))
"""
)


def test_clocks_that_differ_by_years_take_no_trial_from_anybody(home: Path) -> None:
    """By their clocks each would see the others dead for years.

    The one from the past is killed then, and its trial goes on elsewhere.
    """
    clocks = (("search", 0), ("work", 4000), ("work", -4000))
    hands = [started(SKEWED, how, days * 86400, cwd=home) for how, days in clocks]
    pid = str(hands[2].pid)
    until(lambda: pid in {line[2] for line in lines_of(home / "notes.txt")}, *hands)
    before = status(find(home / "run"))
    hands[2].kill()
    hands[2].communicate()
    ended(*hands[:2])
    assert before["workers_lost"] == 0 and status(find(home / "run"))["workers_lost"] == 1
    assert [row["state"] for row in rows_of(home / "run")] == ["done"] * 6
    assert len(epochs(home)) == len(set(epochs(home))) == 6 * 3


# Memory for torch and small networks, not for one of 20,000 channels.
TIGHT = """
import resource, sys
import torch
from pathlib import Path
from flopwise.dsl import load
from flopwise.search import search

now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**30, now + 3 * 2**30))
torch.set_num_threads(1)
search(load("net.yaml"), "run")
"""


@pytest.mark.slow
def test_no_memory_and_a_diverged_loss_are_recorded_and_the_search_goes_on(home: Path) -> None:
    """Real trainings: one rate of learning is absurd, one width asks for 14 GB."""
    text = SPEC.replace("w: {range: [8, 32], step: 4}", "w: {choice: [8, 12, 20000]}")
    text = text.replace("d: {range: [1, 3]}", "train.lr: {choice: [0.002, 1e30]}")
    text = text.replace("budget: {macs: {max: 3M}}", "budget: {macs: {max: 1T}}")
    text = text.replace("{kind: random, seed: 3}", "{kind: grid}").replace("d: 2}", "d: 1}")
    (home / "net.yaml").write_text(text.replace("epochs: 3}", "epochs: 1, images: 200}"))
    ended(started(TIGHT, cwd=home))
    found = {(row["w"], row["train.lr"]): row for row in rows_of(home / "run")}
    assert len(found) == 6
    for (w, rate), row in found.items():
        if w == "20000":
            assert row["state"] == "failed" and "memory" in row["reason"]
        elif float(rate) > 1:
            assert row["state"] == "failed" and "the loss became" in row["reason"]
        else:
            assert row["state"] == "done" and float(row["val_top1"]) > 0
