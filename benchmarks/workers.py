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
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.postgres import Postgres, missing
from benchmarks.workers_roles import SPEC, evaluator, spent
from flopwise.dsl import loads
from flopwise.search import search


@contextmanager
def started(kind: str, *words: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process in one of the roles, killed at the end."""
    roles = Path(__file__).with_name("workers_roles.py")
    command = [sys.executable, str(roles), kind, *map(str, words)]
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
