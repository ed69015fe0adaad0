"""How long `check` of 200 lines and `show` take from a cold start, beside `import yaml` alone.

    python benchmarks/cold_start.py

All are started in turn, ten times; the medians of CPU seconds are printed, and their ratios to a
Python that only imports yaml. Compiled files (`__pycache__`) are used, as in an installation.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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


def cpu_seconds(command: list[str]) -> float:
    before = os.times()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.yaml"
        body = "".join(LINE.format(number) for number in range(192))
        long.write_text(f"{HEAD}{body}  head: {{block: classifier}}\n")
        flopwise = [sys.executable, "-m", "flopwise"]
        commands = {
            "import yaml": [sys.executable, "-c", "import yaml"],
            "check of 200 lines": [*flopwise, "check", str(long)],
            "show std/convnext_tiny": [*flopwise, "show", "std/convnext_tiny"],
        }
        rounds = [[cpu_seconds(command) for command in commands.values()] for _ in range(ROUNDS)]
    medians = [statistics.median(each) for each in zip(*rounds, strict=True)]
    for name, median in zip(commands, medians, strict=True):
        print(f"{name}: {median:.2f} s of CPU, {median / medians[0]:.1f} times import yaml")


if __name__ == "__main__":
    main()
