"""Pictures: every stage and every arrow is there, and no text runs into another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

import flopwise
from flopwise.cli import main
from flopwise.design import loads

BRANCHES = """
spec: 1
name: branches
input: {size: 64, channels: 3}
classes: 10
net:
  stem: {block: patchify, patch: 4, dim: 64}
  a_local_branch_with_a_long_name: {block: convnext, depth: 3, from: stem}
  local2: {block: convnext, depth: 3}
  tokens: {block: to_tokens, from: stem}
  far: {block: vit, depth: 4, heads: 4}
  back: {block: to_map}
  both: {block: concat, from: [local2, back]}
  again: {block: add, from: [both, both]}
  head: {block: classifier}
"""
DESIGNS = {
    "branches": lambda: loads(BRANCHES),
    "resnet50": lambda: flopwise.load("std/resnet50"),
    "vit": lambda: flopwise.load("std/vit_base_patch16_224"),
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", DESIGNS)
def test_every_stage_is_a_box_and_every_way_an_arrow(name: str) -> None:
    design = DESIGNS[name]()
    root = ElementTree.fromstring(design.svg())
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    stages = design.network.stages
    for stage in stages:
        assert any(stage.name.startswith(text.rstrip("\N{HORIZONTAL ELLIPSIS}")) for text in texts)
    ways = {(read, stage.name) for stage in stages for read in stage.inputs}
    arrows = [path for path in root.iter(f"{SVG}path") if path.get("class") == "edge"]
    assert len(arrows) == len(ways)


@pytest.mark.parametrize("name", DESIGNS)
def test_no_text_runs_into_another_or_out_of_the_picture(name: str) -> None:
    root = ElementTree.fromstring(DESIGNS[name]().svg())
    spans = []
    for text in root.iter(f"{SVG}text"):
        letters, x = len(text.text or ""), float(text.get("x", 0))
        width = letters * {"title": 10.5, "name": 8.6, "small": 6.9}[text.get("class", "")]
        left = x - width * {"end": 1.0, "middle": 0.5}.get(text.get("text-anchor", ""), 0.0)
        spans.append((float(text.get("y", 0)), left, left + width, text.text))
    for (y, left, right, one), (other_y, start, end, other) in combinations(spans, 2):
        assert abs(y - other_y) >= 12 or right <= start or end <= left, (one, other)
    assert all(left >= 0 and right <= float(root.get("width", 0)) for _, left, right, _ in spans)


def test_mermaid_names_every_stage_and_every_way() -> None:
    lines = loads(BRANCHES).mermaid().splitlines()
    assert lines[0] == "flowchart TD"
    assert sum(" --> " in line for line in lines) == 10
    assert any("a_local_branch_with_a_long_name" in line for line in lines)


def test_the_verb_writes_a_file_or_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["draw", "std/resnet18", "-o", str(tmp_path / "net.svg")]) == 0
    assert (tmp_path / "net.svg").read_text().startswith("<svg")
    capsys.readouterr()
    assert main(["draw", "std/resnet18", "--mermaid"]) == 0
    assert capsys.readouterr().out.startswith("flowchart TD")
