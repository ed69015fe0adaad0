"""Weights from a neighbour: what is taken, slice by slice, against indices written out and timm."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import swin_transformer, vision_transformer
from torch import Tensor, nn

import flopwise
from flopwise import nets
from flopwise.errors import RunError
from flopwise.export.folder import shipped_as, to_timm
from flopwise.nets.inherit import Inherited, Start, inherit
from tests.parity.exports import PLACE, module, network, vit

NET = """
spec: 1
name: net
input: {size: 16, channels: 3}
classes: 7
vars: {w: 16, k: 5, d: 2}
net:
  stem:  {block: conv_stem, dim: $w}
  one:   {block: residual, dim: $(2*w), depth: $d, kernel: $k}
  two:   {block: convnext, dim: $(3*w), kernel: $k, depth: 1, stride: 2}
  head:  {block: classifier}
"""


def start_of(text: str, *, known: bool = True) -> Start:
    weights = module(text).state_dict()
    return Start(
        place="parent", digest="0", weights=weights, network=network(text) if known else None
    )


def given(text: str, child: str, *, known: bool = True) -> tuple[Inherited, nn.Module, nn.Module]:
    """Returns what was taken, the child with it, and the child as it was."""
    net = network(child)
    fresh, model = nets.build(net, seed=7).eval(), nets.build(net, seed=7).eval()
    return inherit(model, net, start_of(text, known=known)), model, fresh


def expected(mine: Tensor, theirs: Tensor) -> Tensor:
    """The child's tensor, one number after the other: kernels meet at their centres."""
    found = mine.clone().numpy()
    for place in product(*map(range, mine.shape)):
        there = [
            at + (b - a) // 2 if mine.ndim == 4 and axis > 1 else at
            for axis, (at, a, b) in enumerate(zip(place, mine.shape, theirs.shape, strict=True))
        ]
        if all(0 <= at < size for at, size in zip(there, theirs.shape, strict=True)):
            found[place] = theirs[tuple(there)]
    return torch.from_numpy(np.asarray(found))


def test_a_parent_gives_itself_back_to_the_last_bit() -> None:
    taken, model, _ = given(NET, NET)
    assert (taken.cut, taken.grown, taken.new, taken.left) == ((), (), (), ())
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(images), module(NET)(images))


@pytest.mark.parametrize(
    ("before", "after"),
    [("w: 16", "w: 8"), ("w: 16", "w: 24"), ("k: 5", "k: 3"), ("k: 5", "k: 7"), ("d: 2", "d: 3")],
)
def test_every_number_comes_from_its_place_or_stays(before: str, after: str) -> None:
    taken, model, fresh = given(NET, NET.replace(before, after))
    parent = module(NET).state_dict()
    for key, value in model.state_dict().items():
        own = fresh.state_dict()[key]
        wanted = expected(own, parent[key]) if key in parent else own
        assert torch.equal(value, wanted), key
    assert set(taken.new) == model.state_dict().keys() - parent.keys()
    assert bool(taken.new) == (after == "d: 3")
    assert not taken.grown if after in ("w: 8", "k: 3") else taken.grown or taken.new


def test_a_classifier_of_other_classes_stays_its_own() -> None:
    taken, model, fresh = given(NET, NET.replace("classes: 7\n", "classes: 9\n"))
    assert taken.new == taken.left == ("head.fc.weight", "head.fc.bias")
    assert torch.equal(model.get_submodule("head.fc").weight, fresh.get_submodule("head.fc").weight)


def test_queries_keys_and_values_are_kept_apart() -> None:
    parent = vit()
    _, model, _ = given(parent, parent.replace("dim: 24", "dim: 36"))
    q, k, v = model.state_dict()["early.0.attn.qkv.weight"].chunk(3)
    theirs = module(parent).state_dict()["early.0.attn.qkv.weight"].chunk(3)
    for own, other in zip((q, k, v), theirs, strict=True):
        assert torch.equal(own[:24, :24], other)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", ["32", "8", "[8, 24]"])
def test_positions_are_resampled_as_timm_does(known: bool, size: str) -> None:
    parent = vit()
    taken, model, _ = given(parent, parent.replace("size: 16", f"size: {size}"), known=known)
    assert taken.resampled == ("place.pos_embed",)
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=json.loads(size), patch_size=4, embed_dim=24, depth=3
    )
    state = to_timm(shipped_as(network(parent)), module(parent).state_dict())
    wanted = vision_transformer.checkpoint_filter_fn(
        state, theirs, interpolation="bicubic", antialias=True
    )
    torch.testing.assert_close(model.state_dict()["place.pos_embed"], wanted["pos_embed"])


def test_a_class_token_more_leaves_the_patches_where_they_are() -> None:
    parent = vit(middle=(PLACE,), head="pool: avg, norm: ln")
    _, model, _ = given(parent, vit(head="pool: avg, norm: ln"))
    own = model.state_dict()["place.pos_embed"]
    assert torch.equal(own[:, 1:], module(parent).state_dict()["place.pos_embed"])


SWIN = """
spec: 1
name: net
input: {size: 32, channels: 3}
classes: 7
net:
  stem: {block: patch_embed, patch: 2, dim: 16, norm: ln}
  map:  {block: to_map}
  one:  {block: swin, depth: 2, heads: 2, window: 4}
  head: {block: classifier, norm: ln}
"""


@pytest.mark.filterwarnings("ignore::UserWarning")  # of memory, inside timm's interpolation
def test_biases_of_a_window_are_resampled_as_timm_does() -> None:
    taken, model, _ = given(SWIN, SWIN.replace("window: 4", "window: 8"))
    table = "one.0.attn.relative_position_bias_table"
    assert table in taken.resampled
    theirs = timm.create_model("swin_tiny_patch4_window7_224", img_size=128, window_size=8)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    wanted = swin_transformer.checkpoint_filter_fn(
        {"norm.weight": torch.ones(1), name: module(SWIN).state_dict()[table]}, theirs
    )
    torch.testing.assert_close(model.state_dict()[table], wanted[name])


TRAINED = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
vars: {w: 8}
net:
  stem:  {block: patchify, patch: 2, dim: $w}
  stage: {block: convnext, depth: 1, kernel: 3}
  head:  {block: classifier, norm: ln}
train: {data: digits, epochs: 2, warmup: 0, images: 200}
"""


def test_a_training_begins_with_a_parent_and_is_resumed_the_same(tmp_path: Path) -> None:
    parent = flopwise.loads(TRAINED).train(tmp_path / "parent")
    child = flopwise.loads(TRAINED, {"w": 16})
    notes: list[str] = []
    whole = child.train(tmp_path / "whole", start=tmp_path / "parent", on_note=notes.append)
    assert any("grown" in note for note in notes)

    class KilledError(Exception): ...

    def stop(epoch: Any) -> None:
        raise KilledError

    file = parent.weights
    with pytest.raises(KilledError):
        child.train(tmp_path / "cut", start=file, on_epoch=stop)
    with pytest.raises(RunError, match="holds a training that began with the weights of SHA-256"):
        child.train(tmp_path / "cut")
    again = child.train(tmp_path / "cut", start=file)
    ours, theirs = load_file(again.weights), load_file(whole.weights)
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    known = json.loads((tmp_path / "whole" / "winner" / "winner.json").read_text())
    assert known["data"]["start"]["from"] == str(tmp_path / "parent")
    with pytest.raises(RunError, match="another network or recipe"):
        flopwise.loads(TRAINED).train(tmp_path / "cut", start=file)


def test_what_is_no_start_is_told(tmp_path: Path) -> None:
    design = flopwise.loads(TRAINED)
    with pytest.raises(RunError, match=r"there is no .*gone to start from; name an exp"):
        design.train(tmp_path / "run", start=tmp_path / "gone")
    with pytest.raises(RunError, match="is neither an export nor a finished training or search"):
        design.train(tmp_path / "run", start=tmp_path)
    pickled, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    torch.save({"a": torch.ones(2)}, pickled)
    save_file({"features.0.weight": torch.ones(2)}, other)
    with pytest.raises(RunError, match=r"a\.safetensors is a pickle"):
        design.train(tmp_path / "run", start=pickled)
    with pytest.raises(RunError, match=r"fits nothing of 'tiny': its keys are features\.0\.weight"):
        design.train(tmp_path / "run", start=other)
