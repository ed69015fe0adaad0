"""What a folder tells about itself, from a search and from a training, and what proves it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import flopwise
from flopwise.cli import main
from flopwise.dsl import loads
from flopwise.errors import SpecError
from tests.searches import rows_of

SPEC = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8}
net:
  stem:  {block: patchify, patch: 2, dim: $w}
  stage: {block: convnext, depth: 1, kernel: 3}
  head:  {block: classifier, norm: ln}
train: {data: digits, epochs: 1, warmup: 0, images: 200, lr: 1.0e-9, seed: 3}
search:
  space: {w: {choice: [8, 16]}}
  budget: {macs: {max: 1M}}
  trials: 2
  final: {top: 1, seeds: 1}
"""
WHOLE = {
    *("tier", "name", "macs", "macs_convention", "params", "activations", "hash", "spec"),
    *("study", "seed", "kind", "picks", "scores", "command", "versions", "machine", "time"),
    *("data", "test_images", "flopwise_version", "timm_version", "torch_version"),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parent's training, and a search that begins from it."""
    room = tmp_path_factory.mktemp("studies")
    design = flopwise.loads(SPEC)
    design.set({"train.lr": 0.01}).train(room / "parent", command="flopwise train parent")
    design.search(room / "study", start=room / "parent", command="flopwise search study")
    return room


def test_every_trial_of_a_search_begins_from_the_weights_it_is_given(room: Path) -> None:
    parent = load_file(room / "parent" / "best.safetensors")
    written = next(row for row in rows_of(room / "study") if row["written"] == "true")
    trained = load_file(room / "study" / "trials" / written["identity"] / "best.safetensors")
    for key, value in parent.items():  # steps this small move nothing far
        torch.testing.assert_close(trained[key], value, rtol=0, atol=1e-5)
    with pytest.raises(SpecError, match=r"was started with data\.start"):
        flopwise.loads(SPEC).search(room / "study", trials=3)


def test_a_trial_is_exported_with_everything_that_is_known_about_it(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, folder = room / "study", room / "trial"
    row = rows_of(study)[1]
    proof = flopwise.export(study, folder, trial=1, command="flopwise export study")
    assert set(proof.missing) == {"1.0.17", "newest"} and proof.timm == (version("timm"),)
    known = json.loads((folder / "config.json").read_text())
    assert known.keys() >= WHOLE
    assert (known["trial"], known["seed"], known["picks"]) == (1, 3, {"w": int(row["w"])})
    assert known["scores"][0]["values"]["top1"] == float(row["val_top1"])
    assert known["macs"] == int(row["macs"]) and known["hash"] == row["hash"]
    assert (known["command"], known["export_command"]) == (
        *("flopwise search study", "flopwise export study"),
    )
    assert known["start"]["from"] == str(room / "parent")
    assert loads(known["spec"]).network().hash == known["hash"]
    card = (folder / "README.md").read_text()
    assert f"Proven with timm {version('timm')} (torch" in card and "not with 1.0.17: pip" in card
    assert main(["verify", str(folder), "--data", "digits"]) == 0
    right = f"{proof.correct} of 360 test images right"
    assert f"{right} ({100 * proof.correct / 360:.2f}%), the same as" in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_is_exported_and_proven_with_the_lowest_and_the_newest_timm(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    folder = room / "trained"
    proof = flopwise.export(room / "parent", folder, also=["onnx", "program", "state-dict"])
    assert proof.missing == {} and proof.timm[0] == "1.0.17" and len(proof.timm) > 1
    known = json.loads((folder / "config.json").read_text())
    assert known.keys() >= WHOLE and known["scores"][0]["of"] == "test"
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
