"""The language answers in a blink: nothing heavy is imported below it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys, time
import flopwise.blocks, flopwise.dsl
from flopwise.dsl import load
spec = load(sys.argv[1])
spec.network({"w": 24}).hash, spec.render(), spec.probe(draws=5)
print(json.dumps([sorted(sys.modules), time.process_time()]))
"""
SPECIMEN = Path(__file__).parent.parent / "property" / "specimen.yaml"
HEAVY = {"torch", "torchvision", "timm", "optuna", "pandas", "networkx", "numpy"}


def run(spec: Path) -> tuple[set[str], float]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(spec)], check=True, capture_output=True, text=True
    )
    modules, seconds = json.loads(ended.stdout)
    return set(modules), seconds


def test_a_spec_is_loaded_searched_and_rendered_without_torch() -> None:
    modules, _ = run(SPECIMEN)
    assert "flopwise.dsl" in modules
    assert not HEAVY & modules


def test_a_long_spec_is_checked_in_a_blink(tmp_path: Path) -> None:
    stages = "\n".join(f"  s{i}: {{block: conv, dim: $(2*w), kernel: 3}}" for i in range(200))
    text = SPECIMEN.read_text().replace("< 20 and", "< 900 and")
    text = text.replace("  tokens:", f"{stages}\n  tokens:")
    (tmp_path / "long.yaml").write_text(
        text.replace(
            "[{macs: {target: 150M, within: 50%}}, {params: {min: 1K, max: 1M}}]",
            "{macs: {min: 1}}",
        )
    )
    _, seconds = run(tmp_path / "long.yaml")
    assert seconds < 1.0  # 0.3 s of CPU on a machine with nothing else to do
