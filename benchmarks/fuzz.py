"""Reads many hostile specs and reports what was not a network or a list of faults.

    python benchmarks/fuzz.py 1000000 --processes 2

Half are known specs with mutated bytes, half wild structures; case N of a seed is always the same.
Prints the number of crashes, of cases over one second of CPU, and the slowest case.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "property"))
from hostile import WAYS, settle

CHUNK = 2000


def run(seed: str, start: int, stop: int) -> tuple[Counter[str], float, list[str]]:
    """Returns how many cases were good, faulty or bad, the slowest, and what went wrong."""
    faulthandler.dump_traceback_later(120, exit=True)  # a loop that no signal can end
    counts: Counter[str] = Counter()
    slowest, wrong = 0.0, []
    for number in range(start, stop):
        data = WAYS[number % len(WAYS)](Random(f"{seed} {number}"))
        try:
            good, seconds = settle(data)
        except Exception:
            counts["bad"] += 1
            wrong.append(f"case {number}\n{data!r}\n{traceback.format_exc(limit=-4)}")
            continue
        counts["networks" if good else "faulty"] += 1
        slowest = max(slowest, seconds)
    faulthandler.cancel_dump_traceback_later()
    return counts, slowest, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", default="1")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest = 0.0
    starts = range(0, args.cases, CHUNK)
    with ProcessPoolExecutor(args.processes) as pool:
        parts = [pool.submit(run, args.seed, at, min(at + CHUNK, args.cases)) for at in starts]
        for done, part in enumerate(parts, 1):
            found, slow, wrong = part.result()
            counts += found
            slowest = max(slowest, slow)
            for each in wrong[:3]:
                print(each, flush=True)
            if done % 25 == 0 or done == len(parts):
                print(f"{done * CHUNK} cases: {dict(counts)}, slowest {slowest:.2f} s", flush=True)
    print(f"{args.cases} cases: {dict(counts)}, slowest {slowest:.2f} s of CPU")


if __name__ == "__main__":
    main()
