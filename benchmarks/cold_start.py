"""How long `flopwise show` takes from a cold start, over a Python that only imports yaml.

    python benchmarks/cold_start.py

Both are started in turn, ten times; the ratio of the medians of CPU seconds is printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

SHOW = [sys.executable, "-m", "flopwise", "show", "std/convnext_tiny"]
BARE = [sys.executable, "-c", "import yaml"]
ROUNDS = 10


def cpu_seconds(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    pairs = [(cpu_seconds(SHOW), cpu_seconds(BARE)) for _ in range(ROUNDS)]
    show, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(f"show {show:.2f} s, bare {bare:.2f} s of CPU: ratio {show / bare:.1f}")


if __name__ == "__main__":
    main()
