"""How many workers does one store bear? Trials that only wait, against PostgreSQL through a proxy.

    python benchmarks/workers.py                                       # 10 workers, then 1,000
    python benchmarks/workers.py --standing 300 3000 --out benchmarks/results/workers.json

A worker is `flopwise.search.work`, what `flopwise worker` runs: it joins, beats, takes leases,
proposes, claims, records; only its trainings are waits of a few seconds. All of them speak to
Optuna's gRPC proxy, which alone speaks to PostgreSQL. As many processes as asked for are real; the
workers of one process are threads with a connection and records of their own, which the store
cannot tell from processes.

A run with `--workers N` joins N workers, lets them work for a while, and counts in a window: trials
ended, calls of the proxy by kind, processor seconds of proxy and database. Workers' own processor
time is told apart, because a thousand machines bring their own.

Two cores cannot hold a thousand processes that import Python at once. So with `--standing N` one
process first puts N workers on record, each with a running trial and its claims, as they would have
written them; they do nothing more. Beside them a few real workers train, and it is measured what
a sign of life, a look at all workers and a whole trial cost proxy and database at that size. From
these follows the rate that one core bears: the signs and looks of N workers, then trials with the
rest. Nothing else is simulated.

A size that is in `--out` already is not run again. Needs the extra `proxy` and PostgreSQL's
programs; takes 3 to 10 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.postgres import Postgres, missing
from flopwise.dsl import Network, Recipe, loads
from flopwise.errors import RunError
from flopwise.search import Evaluator, Measure, search, work
from flopwise.search.evaluator import OnEpoch

SPEC = """
spec: 1
name: workers
input: {size: 8, channels: 1}
classes: 10
vars: {a: 8, d: 2, e: 2}
net:
  stem: {block: conv_stem, dim: $a, kernel: 3, stride: 1}
  body: {block: basic, dim: 8, depth: $d}
  more: {block: basic, dim: 16, depth: $e}
  head: {block: classifier, pool: avg}
search:
  space:
    a: {range: [4, 64], step: 2}
    d: {range: [1, 20]}
    e: {range: [1, 20]}
  budget: {macs: {max: 100M}}
  trials: 100000
  sampler: {kind: random, seed: 3}
  final: {top: 1, seeds: 1}
train: {data: digits, epochs: 2}
"""
TICKS = os.sysconf("SC_CLK_TCK")


def evaluator(seconds: float) -> Evaluator:
    """Returns an evaluator whose trainings wait; the score depends on the network alone."""

    def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        score = int(network.hash[:6], 16) / 1e6
        for epoch in range(1, recipe.epochs + 1):
            time.sleep(seconds / recipe.epochs)
            on_epoch(epoch, recipe.epochs, {"top1": score})
        return Measure(scores={"top1": score}, epochs=recipe.epochs, seconds=seconds)

    return Evaluator(evaluate=evaluate)


class Counted:
    """A storage whose calls are counted, with the seconds that they took."""

    def __init__(self, storage: Any) -> None:
        self._storage, self._lock = storage, threading.Lock()
        self.calls: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._storage, name)

        def called(*args: Any, **settings: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **settings)
            finally:
                with self._lock:
                    self.calls[name] += 1
                    self.seconds[name] += time.perf_counter() - began

        return called


def proxy(args: argparse.Namespace) -> None:
    """Serves the database to the workers; writes its counts into a file every half second."""
    import warnings

    from optuna.storages import run_grpc_proxy_server

    from flopwise.search.storage import open_store

    warnings.simplefilter("ignore")
    counted = Counted(open_store(Path(), args.database))

    def told() -> None:
        while True:
            part = args.folder / "calls.part"
            part.write_text(json.dumps([dict(counted.calls), dict(counted.seconds)]))
            part.replace(args.folder / "calls.json")
            time.sleep(0.5)

    threading.Thread(target=told, daemon=True).start()
    run_grpc_proxy_server(counted, host="127.0.0.1", port=args.port)  # type: ignore[arg-type]


def hands(args: argparse.Namespace) -> None:
    """The workers of one process, which join one after the other; ends when it is killed."""

    def one() -> None:
        spec = loads(SPEC, name="workers.yaml")
        try:
            work(spec, args.folder / "study", evaluator=evaluator(args.training))
        except RunError as error:
            print(error, flush=True)

    threads = [threading.Thread(target=one) for _ in range(args.threads)]
    for thread in threads:
        thread.start()
        time.sleep(args.join)
    for thread in threads:
        thread.join()


def standing(args: argparse.Namespace) -> None:
    """Puts workers and their running trials on record, then measures what they ask for."""
    from optuna.trial import TrialState, create_trial

    from flopwise.search.opening import space_of
    from flopwise.search.register import REGISTERS, Register, here
    from flopwise.search.storage import Patience, open_store
    from flopwise.search.workers import BEATS

    storage = open_store(Path(), args.database)  # laid past the proxy, which is measured
    study, crew, claims = (
        storage.get_study_id_from_name(f"study{end}") for end in ("", *REGISTERS)
    )

    def claim(key: str, owner: int) -> None:
        about = {"claim": key, "owner": str(owner)}
        record = create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs=about)
        storage.create_new_trial(claims, record)

    done = storage.get_all_trials(study)[0]
    candidates = space_of(loads(SPEC, name="workers.yaml"))
    points = (
        {"a": a, "d": d, "e": e} for a in range(64, 3, -2) for d in range(20, 2, -1) for e in (3, 4)
    )
    begun = {name: value for name, value in done.user_attrs.items() if name != "result"}
    first = len(storage.get_all_trials(crew))
    for number in range(1, args.threads + 1):
        about = {
            "worker": {**here(), "command": "flopwise worker"},
            "beat": 0,
            "apart": max(5.0, args.threads / BEATS),
            "doing": {"key": f"trial {number}", "epoch": 0},
        }
        worker = create_trial(state=TrialState.RUNNING, user_attrs=about)
        storage.create_new_trial(crew, worker)
        claim(f"trial {number} #0", first + number - 1)
        picks = next(points)
        identity = candidates.judge(picks).identity
        running = create_trial(
            state=TrialState.RUNNING,
            params=picks,
            distributions=done.distributions,
            user_attrs={**begun, "identity": identity, "picks": picks},
        )
        storage.create_new_trial(study, running)
        claim(f"identity {identity}", number)
    proxy = open_store(Path(), f"grpc://127.0.0.1:{args.port}")
    register = Register(proxy, "study", Patience(print))
    register.see()
    joined = list(register.living.values())
    found = {}
    for name, times, ask in (
        ("sign", 200, lambda n: register.note(joined[n % len(joined)], "beat", n + 1)),
        ("look", 5, lambda n: register.see()),
    ):
        before = [spent(pid) for pid in args.pids]
        for n in range(times):
            ask(n)
        after = [spent(pid) for pid in args.pids]
        found[name] = [(b - a) / times for a, b in zip(before, after, strict=True)]
    part = args.folder / "standing.part"
    part.write_text(json.dumps(found))
    part.replace(args.folder / "standing.json")
    time.sleep(3600)  # a worker whose process is gone counts as dead


def spent(pid: int) -> float:
    """Returns the processor seconds of a process and of its children that live or ended."""
    total = 0.0
    for each in [pid, *children(pid)]:
        try:
            words = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, words[11:15] if each == pid else words[11:13])) / TICKS
    return total


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def started(kind: str, *words: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this file in another role, killed at the end."""
    command = [sys.executable, __file__, "--role", kind, *map(str, words)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Scene:
    """A database, its proxy and the folder of one run, and what can be read off them."""

    def __init__(self, server: Postgres, served: subprocess.Popen[bytes], folder: Path) -> None:
        import psycopg

        self.folder, self._pids = folder, (served.pid, server.pid)
        self._reader = psycopg.connect(server.url, autocommit=True)

    def count(self, state: str, study: str) -> int:
        text = "select count(*) from trials natural join studies where state=%s and study_name=%s"
        found = self._reader.execute(text, (state, study)).fetchone()
        return int(found[0]) if found else 0

    def look(self, workers: list[subprocess.Popen[bytes]]) -> dict[str, Any]:
        """Returns all counters as they stand."""
        calls, seconds = json.loads((self.folder / "calls.json").read_text())
        proxy_s, database_s = map(spent, self._pids)
        return {
            "time": time.monotonic(),
            "trials": self.count("COMPLETE", "study"),
            "lost": self.count("FAIL", "study: workers"),
            "proxy_cpu_s": proxy_s,
            "database_cpu_s": database_s,
            "workers_cpu_s": sum(spent(each.pid) for each in workers),
            "calls": calls,
            "call_s": seconds,
        }


def window(scene: Scene, workers: list[subprocess.Popen[bytes]], seconds: float) -> dict[str, Any]:
    """Returns rates over a stretch of time."""
    first = scene.look(workers)
    time.sleep(seconds)
    last = scene.look(workers)
    lasted = last["time"] - first["time"]
    calls = Counter(last["calls"]) - Counter(first["calls"])
    trials = last["trials"] - first["trials"]
    found = {
        "seconds": round(lasted, 1),
        "trials": trials,
        "trials_per_s": round(trials / lasted, 3),
        "calls_per_s": round(sum(calls.values()) / lasted, 1),
        "workers taken for dead": last["lost"] - first["lost"],
        "living workers": scene.count("RUNNING", "study: workers"),
        "calls": dict(calls.most_common()),
    }
    for name in ("proxy_cpu_s", "database_cpu_s", "workers_cpu_s"):
        found[name] = round(last[name] - first[name], 1)
    return found


def measured(args: argparse.Namespace, count: int, still: int) -> dict[str, Any]:
    """Runs one number of workers beside those that stand; returns what the store did for them."""
    folder = Path(tempfile.mkdtemp(prefix="flopwise-workers-"))
    processes = min(args.processes, count)
    with Postgres("max_connections=200") as server:
        place = ("--folder", folder, "--port", args.port, "--database", server.url)
        with started("proxy", *place) as served:
            while not (folder / "calls.json").exists():
                time.sleep(0.2)
            time.sleep(1)
            url = f"grpc://127.0.0.1:{args.port}"
            spec = loads(SPEC, name="workers.yaml")
            home = folder / "study"
            search(spec, home, trials=1, evaluator=evaluator(0), storage=url, grace=args.grace)
            known = json.loads((home / "study.json").read_text())
            (home / "study.json").write_text(json.dumps({**known, "trials": 100000}))
            scene = Scene(server, served, folder)
            if not still:
                return observed(args, count, processes, scene)
            words = (*place, "--threads", still, "--pids", served.pid, server.pid)
            with started("standing", *words):
                while not (folder / "standing.json").exists():
                    time.sleep(0.5)
                found = observed(args, count, processes, scene, still)
                costs = json.loads((folder / "standing.json").read_text())
                return {"standing": still, **found, **borne(found, costs, still)}


def borne(found: dict[str, Any], costs: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Returns what one core of the proxy bears, from processor seconds of signs, looks, trials."""
    from flopwise.search.workers import BEATS, GLANCES, GRACE, SIGNS, WATCHERS

    signs = min(count * SIGNS / GRACE, BEATS)
    looks = WATCHERS * signs / count + GLANCES
    own = found["workers"] * SIGNS / GRACE * found["seconds"]  # the signs of those that train
    trials = max(found["trials"], 1)
    trial = (found["proxy_cpu_s"] - own * (costs["sign"][0] + costs["look"][0])) / trials
    idle = signs * costs["sign"][0] + looks * costs["look"][0]
    return {
        "proxy cpu s of a sign": round(costs["sign"][0], 4),
        "proxy cpu s of a look": round(costs["look"][0], 4),
        "proxy cpu s of a trial": round(trial, 3),
        "share of a core for signs and looks": round(idle, 3),
        "trials_per_s that one core of the proxy bears": round((1 - idle) / trial, 3),
        "trials_per_s that trainings of an hour need": round(count / 3600, 3),
    }


def observed(
    args: argparse.Namespace, count: int, processes: int, scene: Scene, still: int = 0
) -> dict[str, Any]:
    """Joins the workers and watches them."""
    from contextlib import ExitStack

    began = time.monotonic()
    with ExitStack() as stack:
        workers = []
        for number in range(processes):
            threads = count // processes + (number < count % processes)
            words = ("--folder", scene.folder, "--threads", threads, "--training", args.training)
            words += ("--join", args.join)
            workers.append(stack.enter_context(started("hands", *words)))
        while scene.count("RUNNING", "study: workers") < still + count:
            time.sleep(0.5)
            if time.monotonic() - began > args.limit:
                break
        joined = time.monotonic() - began
        while scene.count("RUNNING", "study") < still + 0.9 * count:
            time.sleep(0.5)
            if time.monotonic() - began > args.limit:
                break
        ready = time.monotonic() - began
        found = window(scene, workers, args.seconds)
    return {
        "workers": count,
        "processes": processes,
        "training_s": args.training,
        "grace_s": args.grace,
        "joined after s": round(joined, 1),
        "busy after s": round(ready, 1),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=("proxy", "hands", "standing"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--database", default="", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pids", type=int, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=10, help="real ones")
    parser.add_argument("--standing", type=int, nargs="+", default=[0, 1000])
    parser.add_argument("--processes", type=int, default=4, help="of the real workers")
    parser.add_argument("--training", type=float, default=10.0, help="seconds of a trial")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds until one is dead")
    parser.add_argument("--join", type=float, default=0.2, help="seconds between two that join")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the window that is counted")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds to wait for all")
    parser.add_argument("--port", type=int, default=13117)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.role:
        {"proxy": proxy, "hands": hands, "standing": standing}[args.role](args)
        return
    if missing():
        sys.exit(missing())
    known = json.loads(args.out.read_text()) if args.out and args.out.exists() else {"runs": []}
    for still in args.standing:
        ran = [(each["workers"], each.get("standing", 0)) for each in known["runs"]]
        if (args.workers, still) in ran:
            continue
        run = {
            "date": datetime.now(UTC).date().isoformat(),
            "command": " ".join(["python", *sys.argv]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with other work",
            **measured(args, args.workers, still),
        }
        print(json.dumps(run, indent=2), flush=True)
        known["runs"].append(run)
        if args.out:
            args.out.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
