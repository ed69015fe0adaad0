"""`flopwise space`: what it prints and what its JSON says, and a budget that nothing meets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flopwise.cli import main
from flopwise.dsl import loads
from flopwise.errors import SpecError
from flopwise.search.opening import look

SPEC = """
spec: 1
name: tiny
input: {size: 16, channels: 1}
classes: 4
vars: {a: 8, d: 1, k: 3}
net:
  stem: {block: conv, dim: $a, stride: 2}
  body: {block: basic, dim: $(2*a), depth: $d}
  last: {block: convnext, kernel: $k}
  head: {block: classifier, pool: avg}
search:
  space:
    a: {range: [8, 24], step: 8}
    d: {range: [1, 3]}
    k: {choice: [3, 5, 7], when: $(d > 1)}
"""
BUDGETS = "  budget: [{macs: {max: 2M}}, {params: {min: 10k, max: 60k}}]\n"


def printed(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["space", str(path), *words]) == 0
    return capsys.readouterr().out


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC + BUDGETS)
    return path


def test_the_page_has_a_part_for_each_budget(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    page = printed(spec, capsys)
    assert "tiny, budget 1 of 2" in page and "tiny, budget 2 of 2" in page
    assert re.search(r"candidates\s+21\b", page)  # 3 widths; 1 + 3 + 3 of depths and kernels
    assert re.search(r"of them, exactly", page) and "macs <= 2000000" in page
    assert re.search(r"^k +3 \d+ %", page, re.MULTILINE) and "counts in" in page
    assert re.search(r"costed in batches", page) and "export" in page


def test_the_json_has_exact_numbers(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = json.loads(printed(spec, capsys, "--json"))
    assert first["size"] == second["size"] == 21
    for found in (first, second):
        assert found["feasible"]["exact"] and found["method"] == "listed"
        assert found["feasible_share"] == found["feasible"]["low"] / 21
        low, high = found["ranges"]["space"]["macs"]
        inside = found["ranges"]["feasible"]["macs"]
        assert low <= inside[0] <= inside[1] <= high
        assert sum(found["marginals"]["a"].values()) == pytest.approx(1)
        assert found["tier"] in ("native", "carrier", "standalone")
        assert {"batch", "single", "draws"} <= found["rates"].keys()


def test_a_space_without_tables_is_judged_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "endless.yaml"
    text = SPEC.replace("depth: $d}", "depth: $d}\n  more: {block: convnext, expand: $e}")
    text = text.replace("k: 3}", "k: 3, e: 4.0}").replace(
        "  space:", "  space:\n    e: {range: [1.0, 4.0]}"
    )
    path.write_text(text)
    found = json.loads(printed(path, capsys, "--json"))
    assert found["method"] == "judged" and found["size"] is None
    assert "'e' has endlessly many values, and networks depend on it" in found["no_tables"]
    assert found["feasible_share"] == pytest.approx(1)


def test_a_spec_without_a_search_has_no_space(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "std/resnet18"]) == 2
    assert "error[E505]" in capsys.readouterr().err


def test_it_imports_neither_torch_nor_optuna(spec: Path) -> None:
    code = (
        "import sys; from flopwise.cli import main; main(['space', sys.argv[1], '--json']); "
        "sys.exit(len({'torch', 'timm', 'optuna', 'pandas'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(spec)], capture_output=True, check=False)
    assert run.returncode == 0


def test_a_budget_that_nothing_meets_is_told_with_the_true_ends() -> None:
    spec = loads(SPEC + "  budget: {macs: {max: 1k}}\n")
    with pytest.raises(SpecError) as error:
        look(spec)
    (fault,) = error.value.faults
    assert fault.code == "E501" and "all 21 networks of the space were counted" in fault.notes[0]
