"""A trial is trained again from its record, whatever it began from and however short it was."""

from __future__ import annotations

from pathlib import Path

import pytest

import flopwise
from flopwise.design.sharing import replay
from flopwise.errors import RunError
from tests.searches import halved, rows_of

SPEC = halved("""
vars: {w: 8, d: 1}
search:
  space:
    w: {range: [8, 16], step: 2}
    d: {range: [1, 2]}
    train.lr: {choice: [0.002, 0.004]}
  budget: {macs: {max: 100k}}
  trials: 2
  sampler: {kind: screened, short: [50%], seed: 1}
  final: {top: 1, seeds: 1, epochs: 1}
train: {data: digits, images: 200, epochs: 4, lr: 0.004, crop: 1.0, flip: false}
""")


def test_a_short_training_that_began_from_weights_is_trained_again_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(SPEC)
    flopwise.load("net.yaml").set({"train.epochs": 1}).train("before")
    flopwise.load("net.yaml").search("study", start="before")
    Path("net.yaml").unlink()
    monkeypatch.chdir("/")  # the record does not lean on where the search was started
    rows = rows_of(tmp_path / "study")
    short, full = ([r for r in rows if r["share"] == share] for share in ("0.5", "1.0"))
    assert {r["epochs"] for r in short} == {"2"} and {r["epochs"] for r in full} == {"4"}
    for row in (short[-1], full[-1]):
        found = replay(tmp_path / "study", int(row["number"]))
        assert found.same and found.weights and not found.changes
        assert found.now["top1"] == float(row["val_top1"])

    for each in (tmp_path / "before").rglob("*.safetensors"):
        each.unlink()
    with pytest.raises(RunError, match="the weights are gone"):
        replay(tmp_path / "study", 0)
