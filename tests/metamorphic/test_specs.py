"""Pairs of specs that must be the same network, and pairs that must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from flopwise.dsl import load, loads
from flopwise.dsl.files import presets

HEAD = "spec: 1\nname: a\ninput: {size: 32}\nclasses: 10\n"


def hash_of(body: str, *sets: tuple[str, str]) -> str:
    return loads(HEAD + body, sets=sets).network().hash


RESIDUAL = """
net:
  stem: {block: conv, dim: 16, norm: bn, act: relu}
  body: {block: basic, depth: 2, dim: 32, stride: 2}
  head: {block: classifier}
"""
SAME = {
    "a variable stands for its value": """
vars: {w: 16}
net:
  stem: {block: conv, dim: $w, norm: bn, act: relu}
  body: {block: basic, depth: 2, dim: $(2*w), stride: 2}
  head: {block: classifier}
""",
    "variables are evaluated in any order": """
vars: {double: $(2*w), w: 16}
net:
  stem: {block: conv, dim: $w, norm: bn, act: relu}
  body: {block: basic, depth: $(double // w), dim: $double, stride: 2}
  head: {block: classifier}
""",
    "block style is flow style": """
net:
  stem:
    block: conv
    dim: 16
    norm: bn
    act: relu
  body:
    stride: 2          # the order of keys means nothing
    dim: 32
    depth: 2
    block: basic
  head:
    block: classifier
""",
    "JSON is YAML": """
net: {"stem": {"block": "conv", "dim": 16, "norm": "bn", "act": "relu"},
      "body": {"block": "basic", "depth": 2, "dim": 32, "stride": 2},
      "head": {"block": "classifier"}}
""",
    "names of stages mean nothing": """
net:
  one: {block: conv, dim: 16, norm: bn, act: relu}
  two: {block: basic, depth: 2, dim: 32, stride: 2}
  three: {block: classifier}
""",
    "from the stage before is the default": """
net:
  stem: {block: conv, dim: 16, norm: bn, act: relu, from: input}
  body: {block: basic, depth: 2, dim: 32, stride: 2, from: [stem]}
  head: {block: classifier, from: body}
""",
    "lines may stand in any order where the wiring is written": """
net:
  body: {block: basic, depth: 2, dim: 32, stride: 2, from: stem}
  stem: {block: conv, dim: 16, norm: bn, act: relu, from: input}
  head: {block: classifier, from: body}
""",
    "defaults are written once for all blocks that have the setting": """
defaults: {act: relu}
net:
  stem: {block: conv, dim: 16, norm: bn}
  body: {block: basic, depth: 2, dim: 32, stride: 2}
  head: {block: classifier}
""",
    "defaults of a block go before shared ones, and a stage before both": """
defaults: {norm: ln, act: gelu, conv: {norm: bn, act: relu}, basic: {norm: bn, act: silu}}
net:
  stem: {block: conv, dim: 16}
  body: {block: basic, depth: 2, dim: 32, stride: 2, act: relu}
  head: {block: classifier}
""",
    "a block repeated is the block written twice": """
net:
  stem: {block: conv, dim: 16, norm: bn, act: relu}
  body: {block: basic, dim: 32, stride: 2}
  body2: {block: basic}
  head: {block: classifier}
""",
    "repetitions are counted from 0": """
net:
  stem: {block: conv, dim: "$(pick(i, 16, 99))", norm: bn, act: relu}
  body: {block: basic, depth: 2, dim: $(16 * n), stride: 2}
  head: {block: classifier}
""",
    "the name of a block may be computed": """
vars: {kind: basic}
net:
  stem: {block: conv, dim: 16, norm: bn, act: relu}
  body: {block: $kind, depth: 2, dim: 32, stride: 2}
  head: {block: classifier}
""",
    "what is not built does not count": """
doc: the same network
x_note: {any: thing}
train: {lr: 0.1, drop_path: 0.2}
export: {license: mit}
net:
  stem: {block: conv, dim: 16, norm: bn, act: relu}
  body: {block: basic, depth: 2, dim: 32, stride: 2}
  head: {block: classifier}
""",
}


@pytest.mark.parametrize("body", SAME.values(), ids=SAME.keys())
def test_two_ways_to_write_a_network_are_the_same_network(body: str) -> None:
    assert hash_of(body) == hash_of(RESIDUAL)


DIFFERENT = {
    "another width": ("net.body.dim", "48"),
    "another depth": ("net.body.depth", "3"),
    "another activation": ("net.body.act", "gelu"),
    "another input": ("input.size", "64"),
    "another shape of input": ("input.size", "[32, 64]"),
    "another number of channels": ("input.channels", "1"),
    "another number of classes": ("classes", "11"),
    "an option of the block": ("net.body.se", "0.25"),
}


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_change_of_the_network_changes_the_hash(change: tuple[str, str]) -> None:
    assert hash_of(RESIDUAL, change) != hash_of(RESIDUAL)


def test_a_loss_free_converter_may_be_written_or_inserted() -> None:
    plain = "net:\n  a: {block: conv, dim: 16}\n  b: {block: vit, heads: 2}\n"
    head = "  h: {block: classifier}\n"
    written = plain.replace("  b:", "  t: {block: to_tokens}\n  b:")
    assert hash_of(plain + head) == hash_of(written + head)
    back = plain + "  m: {block: to_map}\n  c: {block: conv, dim: 8}\n" + head
    assert hash_of(back) == hash_of(plain + "  c: {block: conv, dim: 8}\n" + head)


def test_dropping_a_class_token_is_no_converter() -> None:
    kept = "net:\n  p: {block: patch_embed, patch: 4, dim: 16}\n  h: {block: classifier}\n"
    lost = kept.replace("  h:", "  c: {block: class_token}\n  m: {block: to_map, drop: cls}\n  h:")
    assert hash_of(kept) != hash_of(lost)


def test_shared_and_separate_branches_are_told_apart() -> None:
    stem = "net:\n  a: {block: conv, dim: 8}\n  b: {block: conv, dim: 8}\n"
    twice = stem + "  c: {block: conv, dim: 8, from: b}\n  d: {block: conv, dim: 8, from: b}\n"
    separate = twice + "  s: {block: add, from: [c, d]}\n  h: {block: classifier}\n"
    shared = stem + "  c: {block: conv, dim: 8}\n  s: {block: add, from: [c, c]}\n"
    assert hash_of(separate) != hash_of(shared + "  h: {block: classifier}\n")


def test_the_order_of_inputs_counts() -> None:
    stem = "net:\n  a: {block: conv, dim: 8}\n  b: {block: conv, dim: 8, kernel: 5}\n"
    there = stem + "  s: {block: concat, from: [a, b]}\n  h: {block: classifier}\n"
    assert hash_of(there) != hash_of(there.replace("[a, b]", "[b, a]"))


def test_initial_values_do_not_count() -> None:
    body = "net:\n  a: {block: conv, dim: 8}\n  b: {block: convnext}\n  h: {block: classifier}\n"
    same = ("net.b.layer_scale", "0.5")
    gone = ("net.b.layer_scale", "0")
    assert hash_of(body) == hash_of(body, same) != hash_of(body, gone)


def test_extending_is_writing_out(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(HEAD + RESIDUAL)
    (tmp_path / "child.yaml").write_text(
        "spec: 1\nname: child\nextends: ./base.yaml\n"
        "net:\n  body: {dim: 48, depth: null}\n  extra: {block: conv, after: stem}\n"
    )
    written = """
net:
  stem: {block: conv, dim: 16, norm: bn, act: relu}
  extra: {block: conv}
  body: {block: basic, dim: 48, stride: 2}
  head: {block: classifier}
"""
    assert load(tmp_path / "child.yaml").network().hash == hash_of(written)


def test_a_stage_with_its_block_replaces_the_whole_stage(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(HEAD + RESIDUAL)
    (tmp_path / "child.yaml").write_text(
        "spec: 1\nname: child\nextends: ./base.yaml\nnet:\n  body: {block: basic, dim: 24}\n"
    )
    written = RESIDUAL.replace(
        "{block: basic, depth: 2, dim: 32, stride: 2}", "{block: basic, dim: 24}"
    )
    assert load(tmp_path / "child.yaml").network().hash == hash_of(written)


@pytest.mark.parametrize("name", presets())
def test_a_shipped_network_renders_to_itself(name: str) -> None:
    spec = load(f"std/{name}")
    text = spec.render()
    again = loads(text)
    assert again.network().hash == spec.network().hash
    assert again.render() == text
    assert again.name == spec.name


def test_a_set_a_pick_and_an_edit_are_the_same() -> None:
    spec = load("std/vit_tiny_patch16_224")
    picks = {"dim": 96, "net.body.depth": 6, "input.size": 112, "defaults.vit.mlp": 2.0}
    sets = [(path, str(value)) for path, value in picks.items()]
    picked = spec.network(picks).hash
    assert picked != spec.network().hash
    del picks["defaults.vit.mlp"]  # the stage writes its own mlp, so this default changes nothing
    assert spec.network(picks).hash == picked
    assert spec.set(sets).network().hash == picked
    assert load("std/vit_tiny_patch16_224", sets=sets).network().hash == picked
