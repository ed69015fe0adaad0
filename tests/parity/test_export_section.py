"""What the `export` section of a spec says reaches the folder, from training to the last file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flopwise.cli import main
from flopwise.dsl import load
from flopwise.errors import RunError
from flopwise.export import recognise
from flopwise.export.likeness import differences

MOBILE = """
spec: 1
name: pocket
input: {size: 8, channels: 1}
classes: 10
net:
  stem: {block: conv_stem, kernel: 3, pool: none, dim: 8, act: relu}
  body: {block: inverted, dim: 8, expand: 2}
  last: {block: conv, kernel: 1, dim: 12, norm: bn, act: relu}
  head: {block: classifier}
train: {epochs: 1, images: 200}
export: {license: mit, tag: digits%s}
"""


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "vit_tiny_patch16_224"])
def test_a_shipped_network_has_the_tensors_of_timms_own(name: str) -> None:
    network = load(f"std/{name}").network()
    assert differences(recognise(network), network.graph.keys(), name) == []


def test_the_first_differences_from_a_model_of_timm_are_told() -> None:
    network = load("std/resnet18", sets=[("net.stage2.depth", "3")]).network()
    shipped, keys = recognise(network), network.graph.keys()
    found = differences(shipped, keys, "resnet18")
    assert found[0] == "layer2.2.conv1.weight (128, 128, 3, 3) is not in it" and len(found) == 11
    with pytest.raises(RunError, match=r"has no model 'resnet81'; did you mean 'resnet18'"):
        differences(shipped, keys, "resnet81")


@pytest.mark.slow
def test_licence_tag_and_dead_layers_are_told_by_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in (("good", ""), ("bad", ", timm: resnet18")):
        (tmp_path / f"{name}.yaml").write_text(MOBILE % more)
        assert main(["train", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / name)]) == 0
    assert main(["export", str(tmp_path / "good"), "--out", str(tmp_path / "net")]) == 0
    told = capsys.readouterr().out
    assert (
        "carried by timm's mobilenetv5_300m: " in told and "of which 168 and 144 are dead" in told
    )
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    cfg = config["pretrained_cfg"]
    assert (cfg["license"], cfg["tag"], config["tier"]) == ("mit", "digits", "carrier")
    assert "license: mit\n" in (tmp_path / "net" / "README.md").read_text()
    assert main(["export", str(tmp_path / "bad"), "--out", str(tmp_path / "other")]) == 1
    assert "export.timm: 'pocket' is not timm's resnet18:" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
