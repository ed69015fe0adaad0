"""Workers killed at random and a database that goes away: what is left of a search?

    python benchmarks/chaos.py                       # 200 trials, 4 workers, PostgreSQL, 2 restarts
    python benchmarks/chaos.py --storage journal     # the same on a journal file
    python benchmarks/chaos.py --out benchmarks/results/chaos.json

A trial is a function of four short epochs, each on disk before it is told. Every epoch that is done
is noted in one file for all workers, so that an epoch done twice shows. A killer stops a random
worker with SIGKILL every few seconds and starts another in its place; the database is stopped (once
as it should be, once as in a crash), left away for some seconds, and started again. At the end the
store is read with Optuna alone and compared with the notes. Takes 1 to 3 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.postgres import Postgres, missing
from flopwise.dsl import Network, Recipe, loads
from flopwise.search import Evaluator, Measure, Watch, search, work
from flopwise.search.evaluator import OnEpoch, Verdict
from flopwise.search.folder import StudyFolder
from flopwise.search.storage import open_store

SPEC = """
spec: 1
name: chaos
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8, d: 2, k: 3, e: 4}
net:
  stem: {block: conv_stem, dim: $w, kernel: 3, stride: 1}
  body: {block: basic, dim: $w, depth: $d}
  more: {block: convnext, kernel: $k, expand: $e, depth: 1}
  head: {block: classifier, pool: avg}
search:
  space:
    w: {range: [4, 32], step: 4}
    d: {range: [1, 4]}
    k: {choice: [3, 5, 7]}
    e: {range: [1, 6]}
  budget: {macs: {max: 2M}}
  trials: TRIALS
  sampler: {kind: tpe, seed: 3}
  final: {top: 2, seeds: 2, epochs: 4}
train: {data: digits, epochs: 4}
"""


class Log(Watch):
    """Prints what a person should know."""

    def note(self, text: str) -> None:
        print(text, flush=True)


def evaluator(folder: Path, pause: float) -> Evaluator:
    """Returns an evaluator whose trainings are notes; the score depends on the network alone."""

    def note(what: str, training: Path, number: int) -> None:
        line = f"{what} {training.parent.name}/{training.name} {number} {os.getpid()}\n"
        with (folder / "notes.txt").open("a") as notes:
            notes.write(line)

    def evaluate(network: Network, recipe: Recipe, training: Path, on_epoch: OnEpoch) -> Measure:
        training.mkdir(parents=True, exist_ok=True)
        done = training / "epochs.txt"
        first = int(done.read_text()) if done.exists() else 0
        note("begin", training, first)
        for epoch in range(first + 1, recipe.epochs + 1):
            time.sleep(pause)
            part = training / f"epochs.{os.getpid()}"
            part.write_text(str(epoch))
            note("epoch", training, epoch)
            part.replace(done)
            on_epoch(epoch, recipe.epochs, {})
        note("end", training, recipe.epochs)
        return Measure(scores={"top1": int(network.hash[:6], 16) / 1e6}, epochs=4, seconds=pause)

    def judge(network: Network, recipe: Recipe, measure: Measure) -> Verdict:
        import numpy as np

        right = np.random.default_rng(recipe.seed).random(100) < 0.5
        return Verdict(scores={"top1": 100 * float(right.mean())}, correct=right)

    return Evaluator(evaluate=evaluate, judge=judge)


def worker(args: argparse.Namespace) -> None:
    """One worker: the first starts the study, the others join it."""
    spec = loads(SPEC.replace("TRIALS", str(args.trials)), name="chaos.yaml")
    work(spec, args.folder, evaluator=evaluator(args.folder, args.pause), watch=Log())


def launched(args: argparse.Namespace, number: int) -> subprocess.Popen[bytes]:
    """Starts a worker; what it says goes to a file."""
    words = [sys.executable, __file__, "--folder", str(args.folder), "--pause", str(args.pause)]
    words += ["--trials", str(args.trials)]
    with (args.folder / f"worker-{number}.log").open("ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, stdout=log, stderr=log, env=environment)


def chaos(args: argparse.Namespace, server: Postgres | None, url: str) -> dict[str, Any]:
    """Runs the study to its end and returns what was done to it."""
    rng = random.Random(args.seed)
    spec = loads(SPEC.replace("TRIALS", str(args.trials)), name="chaos.yaml")
    search(  # makes the study; what follows is done by workers
        spec, args.folder, trials=1, evaluator=evaluator(args.folder, 0.0), storage=url, grace=6.0
    )
    home = StudyFolder(args.folder)
    home.remember({**home.known(), "trials": args.trials})
    hands = {number: launched(args, number) for number in range(args.workers)}
    began, killed, restarts, errors = time.monotonic(), 0, 0, 0
    next_kill, downs = began + 6, [began + 0.2 * args.span, began + 0.5 * args.span]
    while hands:
        time.sleep(0.1)
        for number, process in list(hands.items()):
            if process.poll() is not None:
                del hands[number]
                errors += process.returncode != 0
        now = time.monotonic()
        if server and restarts < 2 and now > downs[restarts]:
            server.stop(crash=restarts == 1)
            time.sleep(args.away)
            server.start()
            restarts += 1
        if hands and now > next_kill and killed < args.kills:
            number = rng.choice(list(hands))
            hands[number].kill()
            hands[number].wait()
            killed += 1
            hands[number] = launched(args, number)
            next_kill = now + rng.uniform(0.5, 1.5) * args.kill
        if now - began > args.limit:
            for process in hands.values():
                process.kill()
            return {"stuck": True, "kills": killed, "restarts": restarts}
    seconds = round(time.monotonic() - began, 1)
    return {
        "stuck": False,
        "kills": killed,
        "restarts": restarts,
        "errors": errors,
        "seconds": seconds,
    }


def counted(args: argparse.Namespace, url: str) -> dict[str, Any]:
    """Compares what the store says with what the workers noted."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    home = StudyFolder(args.folder, url=url)
    study = optuna.load_study(study_name=home.name, storage=open_store(home.journal, url))
    trials = study.get_trials()
    states = Counter(trial.state.name for trial in trials)
    named = [trial for trial in trials if "identity" in trial.user_attrs]
    identities = Counter(trial.user_attrs["identity"] for trial in named)
    empty = Counter(trial.state.name for trial in trials if trial not in named)
    lines = [line.split() for line in (args.folder / "notes.txt").read_text().splitlines()]
    ends = Counter(place for what, place, _, _ in lines if what == "end")
    epochs = Counter((place, number) for what, place, number, _ in lines if what == "epoch")
    again = {place for what, place, number, _ in lines if what == "begin" and number != "0"}
    done = {f"trials/{t.user_attrs['identity']}" for t in named if t.state.name == "COMPLETE"}
    finals = [place for place in ends if place.startswith("finals/")]
    reasons = [t.user_attrs.get("reason", "") for t in trials if t.state.name == "FAIL"]
    return {
        "trials": len(trials),
        "states": dict(states),
        "begun and never proposed": dict(empty),
        "failures": reasons,
        "duplicates": sum(count - 1 for count in identities.values()),
        "finished trainings without a record": len(
            {p for p in ends if p.startswith("trials/")} - done
        ),
        "records without a finished training": len(done - set(ends)),
        "trainings that ended twice": sum(count - 1 for count in ends.values()),
        "epochs": sum(epochs.values()),
        "epochs done twice": sum(count - 1 for count in epochs.values()),
        "trainings resumed from a checkpoint": len(again),
        "finals": len(finals),
        "winner": json.loads((args.folder / "winner" / "winner.json").read_text())["name"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # that of a worker
    parser.add_argument("--storage", choices=("postgres", "journal"), default="postgres")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.15, help="seconds of an epoch")
    parser.add_argument("--kill", type=float, default=3.0, help="seconds between kills, on average")
    parser.add_argument("--kills", type=int, default=10**6, help="most kills")
    parser.add_argument("--away", type=float, default=4.0, help="seconds without the database")
    parser.add_argument("--span", type=float, default=60.0, help="seconds that a run takes")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds until it is stuck")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.folder:
        worker(args)
        return
    if args.storage == "postgres" and missing():
        sys.exit(missing())
    args.folder = Path(tempfile.mkdtemp(prefix="flopwise-chaos-"))
    with ExitStack() as stack:
        server = stack.enter_context(Postgres()) if args.storage == "postgres" else None
        url = server.url if server else ""
        found = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "asked": {k: v for k, v in vars(args).items() if k not in ("folder", "out")},
            **chaos(args, server, url),
        }
        if not found["stuck"]:
            found |= counted(args, url)
    text = json.dumps(found, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    if found["stuck"] or found["errors"]:
        print(f"what the workers said: {args.folder}")
    else:
        shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
