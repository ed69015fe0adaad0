"""A network of composite blocks is the network written flat."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flopwise import nets
from flopwise.dsl import Network, Spec, loads

HEAD = "spec: 1\nname: net\ninput: {size: 32}\nclasses: 10\n"
PAIRS = {
    "fire": (
        """
vars: {w: 64}
defaults: {norm: bn, act: relu}
blocks:
  fire:
    params: {dim: int, squeeze: {type: float, default: 0.125, min: 0, max: 1}}
    kind: map
    net:
      s:   {block: conv, dim: "$(multiple(dim * squeeze, 8))", kernel: 1}
      e1:  {block: conv, dim: $(dim // 2), kernel: 1, from: s}
      e3:  {block: conv, dim: $(dim - dim // 2), kernel: 3, from: s}
      out: {block: concat, from: [e1, e3]}
net:
  stem: {block: conv, dim: 32, stride: 2}
  one:  {block: fire, dim: $w, depth: 2}
  head: {block: classifier}
""",
        """
defaults: {norm: bn, act: relu}
net:
  stem: {block: conv, dim: 32, stride: 2}
  s:   {block: conv, dim: 8, kernel: 1}
  e1:  {block: conv, dim: 32, kernel: 1, from: s}
  e3:  {block: conv, dim: 32, kernel: 3, from: s}
  out: {block: concat, from: [e1, e3]}
  s2:  {block: conv, dim: 8, kernel: 1, from: out}
  f1:  {block: conv, dim: 32, kernel: 1, from: s2}
  f3:  {block: conv, dim: 32, kernel: 3, from: s2}
  end: {block: concat, from: [f1, f3]}
  head: {block: classifier}
""",
    ),
    "dense": (
        """
blocks:
  dense_layer:
    params: {grow: int, heads: int, mlp: {type: float, default: 2}}
    kind: tokens
    net:
      new:  {block: vit, heads: $heads, mlp: $mlp, dim: $input.channels}
      thin: {block: linear, dim: $grow, from: new}
      out:  {block: concat, from: [input, thin]}
  halve:
    kind: tokens
    net:
      out: {block: linear, dim: $(input.channels // 2)}
net:
  patch: {block: patch_embed, patch: 8, dim: 32}
  cls:   {block: class_token}
  dense: {block: dense_layer, depth: 2, grow: 16, heads: 4}
  down:  {block: halve}
  head:  {block: classifier, pool: cls, norm: ln}
""",
        """
net:
  patch: {block: patch_embed, patch: 8, dim: 32}
  cls:   {block: class_token}
  new:   {block: vit, heads: 4, mlp: 2}
  thin:  {block: linear, dim: 16}
  out:   {block: concat, from: [cls, thin]}
  new2:  {block: vit, heads: 4, mlp: 2}
  thin2: {block: linear, dim: 16}
  out2:  {block: concat, from: [out, thin2]}
  down:  {block: linear, dim: 32}
  head:  {block: classifier, pool: cls, norm: ln}
""",
    ),
    "ports": (
        """
blocks:
  gate:
    params: {dim: int}
    ports: {main: map, skip: map}
    net:
      wide: {block: conv, dim: $dim, kernel: 1}
      soft: {block: conv, dim: $(skip.channels + 0*input.size), kernel: 1, from: skip, act: sigmoid}
      out:  {block: mul, from: [wide, soft]}
net:
  stem: {block: conv, dim: 24, stride: 2}
  left: {block: residual, dim: 32, from: stem}
  join: {block: gate, dim: 24, from: {skip: stem, main: left}}
  head: {block: classifier}
""",
        """
net:
  stem: {block: conv, dim: 24, stride: 2}
  left: {block: residual, dim: 32}
  wide: {block: conv, dim: 24, kernel: 1}
  soft: {block: conv, dim: 24, kernel: 1, from: stem, act: sigmoid}
  out:  {block: mul, from: [wide, soft]}
  head: {block: classifier}
""",
    ),
    "counted": (
        """
blocks:
  step:
    params: {base: int, plus: int}
    net:
      c: {block: conv, dim: $(base + plus*i)}
      r: {block: basic, dim: $(input.channels + 4*i), depth: 2, when: $(n > 1)}
  grow:
    params: {base: int, plus: int}
    net:
      s: {block: step, base: $base, plus: $plus}
      t: {block: conv, dim: $(4*n), kernel: 1}
net:
  stem: {block: conv, dim: 8, stride: 2}
  body: {block: grow, depth: 2, base: 16, plus: 8}
  head: {block: classifier}
""",
        """
net:
  stem: {block: conv, dim: 8, stride: 2}
  c0: {block: conv, dim: 16}
  r0: {block: basic, dim: $(8 + 4*i), depth: 2}
  t0: {block: conv, dim: 8, kernel: 1}
  c1: {block: conv, dim: 24}
  r1: {block: basic, dim: $(8 + 4*i), depth: 2}
  t1: {block: conv, dim: 8, kernel: 1}
  head: {block: classifier}
""",
    ),
    "outputs": (
        """
blocks:
  split:
    params: {dim: int}
    net:
      a: {block: conv, dim: $dim, stride: 2}
      b: {block: conv, dim: $(dim // 2), stride: 2, from: input}
    output: {wide: a, thin: b}
net:
  stem: {block: conv, dim: 16}
  two: {block: split, dim: 32}
  x: {block: conv, dim: 16, from: two.wide}
  y: {block: conv, dim: 16, from: two.thin}
  z: {block: add, from: [x, y]}
  head: {block: classifier}
""",
        """
net:
  stem: {block: conv, dim: 16}
  a: {block: conv, dim: 32, stride: 2, from: stem}
  b: {block: conv, dim: 16, stride: 2, from: stem}
  x: {block: conv, dim: 16, from: a}
  y: {block: conv, dim: 16, from: b}
  z: {block: add, from: [x, y]}
  head: {block: classifier}
""",
    ),
}


def spec(text: str, **sets: str) -> Spec:
    return loads(HEAD + text, sets=[(path.replace("__", "."), v) for path, v in sets.items()])


def network(text: str) -> Network:
    return spec(text).network()


@pytest.mark.parametrize("name", PAIRS)
def test_a_network_of_composite_blocks_is_the_flat_one(name: str) -> None:
    composite, flat = map(network, PAIRS[name])
    assert composite.hash == flat.hash
    for cost in ("macs", "params", "activations"):
        assert getattr(composite.graph, cost) == getattr(flat.graph, cost)


@pytest.mark.parametrize("name", PAIRS)
def test_torch_counts_the_same_and_every_parameter_learns(name: str) -> None:
    found = network(PAIRS[name][0])
    model = nets.build(found, seed=0)
    assert {key: tuple(each.shape) for key, each in model.state_dict().items()} == (
        found.graph.keys()
    )
    with FlopCounterMode(display=False) as counter:
        result = model(torch.randn(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * found.graph.macs
    result.square().sum().backward()
    assert all(each.grad is not None for each in model.parameters())


@pytest.mark.parametrize("name", PAIRS)
def test_weights_start_as_those_of_the_flat_one(name: str) -> None:
    composite, flat = (nets.build(network(text), seed=3) for text in PAIRS[name])
    ours, theirs = (
        sorted(
            (tuple(each.shape), round(float(each.detach().std()), 2))
            for each in model.parameters()
            if each.numel() > 500
        )
        for model in (composite, flat)
    )
    assert [shape for shape, _ in ours] == [shape for shape, _ in theirs]
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        assert abs(a - b) <= 0.02


def test_names_of_parameters_and_inner_stages_change_nothing() -> None:
    text = PAIRS["fire"][0]
    other = text
    for old, new in (("squeeze", "thin"), ("e1", "left"), ("fire", "f")):
        other = re.sub(rf"\b{old}\b", new, other)
    assert network(other).hash == network(text).hash


def test_a_default_reaches_inside_and_is_evaluated_in_the_file() -> None:
    text = PAIRS["fire"][0].replace("act: relu", "act: gelu")
    assert network(text).hash != network(PAIRS["fire"][0]).hash
    named = text.replace("{w: 64}", "{w: 64, a: gelu}").replace("act: gelu}", "act: $a}")
    assert network(named).hash == network(text).hash
    assert spec(named, a="relu").network().hash == network(PAIRS["fire"][0]).hash


def test_a_pick_reaches_a_composite_block_and_a_default_inside_it() -> None:
    found = spec(PAIRS["fire"][0])
    picked = found.network({"net.one.squeeze": 0.5, "defaults.act": "gelu"})
    same = spec(PAIRS["fire"][0], net__one__squeeze="0.5", defaults__act="gelu")
    assert picked.hash == same.network().hash != found.network().hash
    again = spec(PAIRS["fire"][0]).network({"net.one.squeeze": 0.5, "defaults.act": "gelu"})
    first, second = (
        next(layer.graph for layer in each.graph.layers if layer.name == "one")
        for each in (picked, found.network({"net.one.squeeze": 0.5, "defaults.act": "gelu"}))
    )
    assert first is second  # candidates share what they have in common
    assert again.hash == picked.hash


def test_an_address_leads_into_a_composite_block() -> None:
    text = PAIRS["fire"][0]
    changed = spec(text, blocks__fire__net__e3__kernel="5").network()
    assert changed.hash == network(text.replace("kernel: 3", "kernel: 5")).hash


def test_the_resolved_form_of_composite_blocks_is_the_same_network() -> None:
    for composite, _ in PAIRS.values():
        found = spec(composite)
        again = loads(found.render())
        assert again.network().hash == found.network().hash
        assert again.network().graph.keys() == found.network().graph.keys()
        assert again.render() == found.render()
