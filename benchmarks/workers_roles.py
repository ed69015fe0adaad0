"""The processes of `benchmarks/workers.py`: a proxy that counts, workers that wait, or stand still.

`workers.py` starts this file in one of the roles and kills it at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from flopwise.dsl import Network, Recipe, loads
from flopwise.errors import RunError
from flopwise.search import Evaluator, Measure, work
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
    from flopwise.search.register import Register
    from flopwise.search.storage import Patience, open_store

    put_on_record(args)
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


def put_on_record(args: argparse.Namespace) -> None:
    """Writes workers, a running trial of each, and its claims, as they would have themselves."""
    from optuna.trial import TrialState, create_trial

    from flopwise.search.opening import space_of
    from flopwise.search.register import REGISTERS, here
    from flopwise.search.storage import open_store
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
    begun = {name: value for name, value in done.user_attrs.items() if name != "result"}
    first = len(storage.get_all_trials(crew))
    for number, picks in enumerate(islice(points(), args.threads), start=1):
        about = {
            "worker": {**here(), "command": "flopwise worker"},
            "beat": 0,
            "apart": max(5.0, args.threads / BEATS),
            "doing": {"key": f"trial {number}", "epoch": 0},
        }
        worker = create_trial(state=TrialState.RUNNING, user_attrs=about)
        storage.create_new_trial(crew, worker)
        claim(f"trial {number} #0", first + number - 1)
        identity = candidates.judge(picks).identity
        running = create_trial(
            state=TrialState.RUNNING,
            params=picks,
            distributions=done.distributions,
            user_attrs={**begun, "identity": identity, "picks": picks},
        )
        storage.create_new_trial(study, running)
        claim(f"identity {identity}", number)


def points() -> Iterator[dict[str, int]]:
    """Yields all networks of the space."""
    for a, d, e in product(range(64, 3, -2), range(20, 0, -1), range(1, 21)):
        yield {"a": a, "d": d, "e": e}


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


def main() -> None:
    roles = {"proxy": proxy, "hands": hands, "standing": standing}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=roles)
    parser.add_argument("--folder", type=Path, help="of the run")
    parser.add_argument("--port", type=int, help="of the proxy")
    parser.add_argument("--database", help="URL that the proxy and standing workers connect to")
    parser.add_argument("--threads", type=int, help="workers of this process, or that stand")
    parser.add_argument("--training", type=float, help="seconds of a trial")
    parser.add_argument("--join", type=float, help="seconds between two that join")
    parser.add_argument("--pids", type=int, nargs="+", help="processes that are measured")
    args = parser.parse_args()
    roles[args.role](args)


if __name__ == "__main__":
    main()
