"""Nothing heavy is imported below the language."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
import flopwise.blocks, flopwise.dsl
from flopwise.dsl import load
spec = load(sys.argv[1])
spec.network({"w": 24}).hash, spec.render(), spec.probe(draws=5)
print(json.dumps(sorted(sys.modules)))
"""
SPECIMEN = Path(__file__).parent.parent / "property" / "specimen.yaml"
HEAVY = {"torch", "torchvision", "timm", "optuna", "pandas", "networkx", "numpy"}


def modules_of(spec: Path) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(spec)], check=True, capture_output=True, text=True
    )
    return set(json.loads(ended.stdout))


def test_a_spec_is_loaded_searched_and_rendered_without_torch() -> None:
    modules = modules_of(SPECIMEN)
    assert "flopwise.dsl" in modules
    assert not HEAVY & modules
