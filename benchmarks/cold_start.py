"""How long `check` of 200 lines and `show` take from a cold start, and reading a spec once warm.

    python benchmarks/cold_start.py

The commands are started in turn, ten times; the medians of CPU seconds are printed, and their
ratios to a Python that only imports yaml. Compiled files (`__pycache__`) are used, as in an
installation. Warm is the least CPU time of loading, checking and counting a ConvNeXt-T in a process
that has done it before: the same file, and a text that was never read.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import flopwise

HEAD = """\
spec: 1
name: long
input: {size: 32, channels: 3}
classes: 10
vars: {w: 16, k: 3}
net:
  stem: {block: patchify, patch: 2, dim: $w}
"""
LINE = "  s{0}: {{block: convnext, depth: 2, dim: $(w + {0} - {0}), kernel: $k}}\n"
ROUNDS = 10
WARM = 200
PLAIN = """\
spec: 1
name: convnext_tiny
input: {size: 224, channels: 3}
classes: 1000
net:
  stem: {block: patchify, patch: 4, dim: 96}
  stage1: {block: convnext, depth: 3, dim: 96}
  stage2: {block: convnext, depth: 3, dim: 192, stride: 2}
  stage3: {block: convnext, depth: 9, dim: 384, stride: 2}
  stage4: {block: convnext, depth: 3, dim: 768, stride: 2}
  head: {block: classifier}
"""


def cpu_seconds(command: list[str]) -> float:
    before = os.times()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def least(read: Callable[[int], object]) -> float:
    """Returns the least milliseconds of CPU that one of many calls took."""
    times = []
    for number in range(WARM):
        before = time.process_time_ns()
        read(number)
        times.append(time.process_time_ns() - before)
    return min(times) / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.yaml"
        body = "".join(LINE.format(number) for number in range(192))
        long.write_text(f"{HEAD}{body}  head: {{block: classifier}}\n")
        command = [sys.executable, "-m", "flopwise"]
        commands = {
            "import yaml": [sys.executable, "-c", "import yaml"],
            "check of 200 lines": [*command, "check", str(long)],
            "show std/convnext_tiny": [*command, "show", "std/convnext_tiny"],
        }
        rounds = [[cpu_seconds(each) for each in commands.values()] for _ in range(ROUNDS)]
    medians = [statistics.median(each) for each in zip(*rounds, strict=True)]
    for name, median in zip(commands, medians, strict=True):
        print(f"{name}: {median:.2f} s of CPU, {median / medians[0]:.1f} times import yaml")
    same = least(lambda number: flopwise.load("std/convnext_tiny").cost())
    new = least(lambda number: flopwise.loads(PLAIN + "\n" * number).cost())
    print(f"warm, the same file: {same:.2f} ms; a new text: {new:.2f} ms")


if __name__ == "__main__":
    main()
