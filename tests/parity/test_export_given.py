"""`export SPEC --weights`: weights of anybody's making, under our names or timm's, or refused."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import flopwise
from flopwise import nets
from flopwise.cli import main
from flopwise.dsl import loads
from flopwise.errors import RunError
from flopwise.export import recognise
from flopwise.export.proof import images_like
from flopwise.export.tensors import to_timm
from flopwise.export.weights import named, read_weights

SPEC = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
net:
  stem:   {block: patchify, patch: 1, dim: 8}
  stage1: {block: convnext, depth: 1, kernel: 3}
  stage2: {block: convnext, depth: 1, kernel: 3, dim: 8, stride: 2}
  stage3: {block: convnext, depth: 1, kernel: 3, dim: 8, stride: 2}
  stage4: {block: convnext, depth: 1, kernel: 3, dim: 8, stride: 2}
  head:   {block: classifier, norm: ln}
"""
MOBILE = """
spec: 1
name: pocket
input: {size: 8, channels: 1}
classes: 10
net:
  stem: {block: conv_stem, kernel: 3, pool: none, dim: 8}
  body: {block: inverted, dim: 8, expand: 2}
  last: {block: conv, kernel: 1, dim: 12, norm: bn, act: relu}
  head: {block: classifier}
"""
NETWORK = loads(SPEC).network()
State = dict[str, Tensor]


def state_of(seed: int = 1) -> State:
    return dict(nets.build(NETWORK, seed=seed).state_dict())


def under_timms_names(state: State) -> State:
    return to_timm(recognise(NETWORK), state)


def lightning(state: State) -> object:
    return {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()}}


def timms(state: State) -> object:
    """What timm's train.py writes: a namespace of arguments, weights and averaged weights."""
    other = {key: value + 1 for key, value in state.items()}
    asked = argparse.Namespace(lr=0.1, model="tiny")
    return {"args": asked, "epoch": 3, "state_dict": other, "state_dict_ema": state}


def ours(state: State) -> object:
    """What `flopwise train` goes on from."""
    return {"version": 1, "model": {k: v + 1 for k, v in state.items()}, "average": state}


@pytest.mark.parametrize("file", ["weights.bin", "model.safetensors"])  # a name tells nothing
@pytest.mark.parametrize("names", [dict, under_timms_names])
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lightning,
        timms,
        ours,
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    ],
)
def test_checkpoints_of_many_makers_give_the_same_weights(
    names: Callable[[State], State], wrap: Callable[[State], object], file: str, tmp_path: Path
) -> None:
    state = state_of()
    torch.save(wrap(names(state)), tmp_path / file)
    found = named(NETWORK, read_weights(tmp_path / file), "weights")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_weights_under_the_names_of_timms_mobilenet_come_in_and_trained_spare_layers_do_not() -> (
    None
):
    network = loads(MOBILE).network()
    state = dict(nets.build(network, seed=1).state_dict())
    carried = to_timm(recognise(network), state)
    assert named(network, carried, "weights").keys() == state.keys()
    with pytest.raises(RunError, match=r"norm_head\.weight of timm's mobilenetv5_300m changed"):
        named(network, carried | {"norm_head.weight": torch.full((12,), 1.1)}, "weights")
    counters = {key for key in state if key.endswith("num_batches_tracked")}
    without = {key: value for key, value in state.items() if key not in counters}
    assert counters and named(network, without, "weights").keys() == state.keys()


def misspelt(state: State) -> None:
    state["stage1.0.conv_dv.weight"] = state.pop("stage1.0.conv_dw.weight")


def cut(state: State) -> None:
    state["head.fc.weight"] = torch.zeros(7, 8)
    state["head.fc.bias"] = torch.zeros(7)


def more(state: State) -> None:
    state["stage1.0.gamma2"] = torch.zeros(8)


def less(state: State) -> None:
    del state["head.norm.weight"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (misspelt, "stage1.0.conv_dw.weight is missing (did you mean 'stage1.0.conv_dv.weight'?)"),
        (misspelt, "stage1.0.conv_dv.weight has no place (did you mean 'stage1.0.conv_dw.weight'"),
        (cut, "head.fc.weight is (7, 8) and should be (10, 8)"),
        (cut, "the weights have 7 classes: --set classes=7"),
        (more, "stage1.0.gamma2 has no place"),
        (less, "head.norm.weight is missing"),
    ],
)
def test_keys_that_do_not_fit_are_told_with_the_nearest(
    spoil: Callable[[State], None], told: str
) -> None:
    state = state_of()
    spoil(state)
    with pytest.raises(RunError) as caught:
        named(NETWORK, state, "weights.pt")
    assert "weights.pt does not fit 'tiny'" in str(caught.value)
    assert told in str(caught.value)


class Bomb:
    def __reduce__(self) -> object:
        return (print, ("a pickle ran",))


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.write_bytes(pickle.dumps(Bomb())), "a pickle of more than tensors"),
        (partial(torch.save, {"a": Bomb()}), "a pickle of more than tensors"),
        (partial(torch.save, nn.Linear(2, 2)), "a pickle of more than tensors"),
        (partial(torch.save, {"epoch": 3}), "holds no weights but a dict of epoch"),
        (partial(torch.save, {"w": torch.tensor([torch.nan, 1])}), "1 of 2 values of w are no num"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "cut off or damaged"),
        (lambda path: path.write_bytes(b"\xff" * 80), "no safetensors header"),
        (lambda path: None, "there is no file of weights"),
    ],
)
def test_files_that_hold_no_weights_are_refused_and_run_nothing(
    write: Callable[..., object], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "weights.pt")
    with pytest.raises(RunError, match=told):
        read_weights(tmp_path / "weights.pt")
    assert "a pickle ran" not in capsys.readouterr().out


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(SPEC)
    save_file(under_timms_names(state_of()), tmp_path / "model.safetensors")
    return tmp_path / "net.yaml"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "nobody knows how images were normalised"),
        ("--like timm:resnet5", "no model 'resnet5'; did you mean timm:resnet"),
        ("--like resnet50.a1_in2k", "published are resnet50."),
        ("--like resnet50", "and 'tiny' takes images of 1 channels; write one for each"),
        ("--mean 0.5 --std 0.5,0.5", "std has 2 numbers, 0.5, 0.5, and 'tiny' takes images of 1"),
        ("--mean 0.5 --std 0.5 --labels {net}", "names of classes, and 'tiny' has 10"),
        ("--mean 0.5 --std 0.5 --trial 3", "a spec has no trials"),
    ],
)
def test_what_nobody_can_know_or_does_not_fit_is_told(
    words: str, told: str, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words.format(net=spec).split()
    given = ["--weights", str(spec.with_name("model.safetensors"))]
    assert main(["export", str(spec), *given, *asked, "--out", str(spec.with_name("out"))]) == 1
    assert told in capsys.readouterr().err
    assert not spec.with_name("out").exists()


def test_a_spec_without_weights_is_told_how_to_name_them(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(spec), "--out", str(spec.with_name("out"))]) == 1
    assert "flopwise export net.yaml --weights FILE" in capsys.readouterr().err


def test_a_spec_and_a_file_become_a_folder(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = spec.with_name("first")
    weights = str(spec.with_name("model.safetensors"))
    asked = ["--weights", weights, "--mean", "0.3", "--std", "0.4", "--crop", "0.9"]
    assert main(["export", str(spec), *asked, "--data", "digits", "--out", str(first)]) == 0
    told = capsys.readouterr().out
    assert "test images right, as here" in told
    known = json.loads((first / "config.json").read_text())
    cfg = known["pretrained_cfg"]
    assert (cfg["mean"], cfg["std"], cfg["crop_pct"]) == ([0.3], [0.4], 0.9)
    assert known["label_names"] == [str(number) for number in range(10)]
    assert (known["weights"], known["hash"]) == ("model.safetensors", NETWORK.hash)
    theirs = timm.create_model(f"local-dir:{first}", pretrained=True).eval()
    mine = nets.build(NETWORK, seed=1).eval()
    x = images_like((1, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), mine(x))


@pytest.mark.slow
def test_a_folder_and_a_training_know_their_images(spec: Path) -> None:
    first, second, third = (spec.with_name(name) for name in ("first", "second", "third"))
    design = flopwise.load(spec, {"train.epochs": 1, "train.images": 200})
    winner = design.train(spec.with_name("run"))
    flopwise.export(design, first, weights=spec.with_name("run"))
    flopwise.export(design, second, weights=first)
    cfg, again = (
        json.loads((folder / "config.json").read_text())["pretrained_cfg"]
        for folder in (first, second)
    )
    assert again == cfg
    assert cfg["mean"] == winner.data["mean"]
    (first / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="does not hold what was proven"):
        flopwise.export(design, third, weights=first)
