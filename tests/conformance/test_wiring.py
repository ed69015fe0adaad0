"""Networks that are no chain: what is inferred of them is true of the module."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from timm.models._features import FeatureHookNet
from torch.utils.flop_counter import FlopCounterMode

from flopwise import nets
from flopwise.dsl import Network, loads

HEAD = "spec: 1\nname: wired\ninput: {size: 32}\nclasses: 10\n"
NETWORKS = {
    "unet": """
net:
  stem:  {block: conv, dim: 16, norm: bn, act: relu}
  down1: {block: basic, dim: 16}
  pool1: {block: maxpool, kernel: 2, stride: 2}
  down2: {block: basic, dim: 32}
  pool2: {block: avgpool, kernel: 3, stride: 2}
  deep:  {block: basic, dim: 64, depth: 2}
  up2:   {block: upsample, scale: 2}
  join2: {block: concat, from: [up2, down2]}
  dec2:  {block: basic, dim: 32}
  up1:   {block: upsample, scale: 2, mode: bilinear}
  join1: {block: concat, from: [up1, down1]}
  dec1:  {block: basic, dim: 16}
  head:  {block: classifier}
features: [down1, down2, deep]
""",
    "inception": """
defaults: {conv: {norm: bn, act: relu}}
net:
  stem: {block: conv, dim: 16}
  b1:   {block: conv, dim: 8, kernel: 1, from: stem}
  b3a:  {block: conv, dim: 8, kernel: 1, from: stem}
  b3:   {block: conv, dim: 16}
  b5a:  {block: conv, dim: 4, kernel: 1, from: stem}
  b5:   {block: conv, dim: 8, kernel: 5}
  bpa:  {block: maxpool, from: stem}
  bp:   {block: conv, dim: 8, kernel: 1}
  join: {block: concat, from: [b1, b3, b5, bp]}
  head: {block: classifier}
""",
    "dense": "\nnet:\n  stem: {block: conv, dim: 16, stride: 2}\n"
    + "".join(
        f"  c{i}: {{block: concat, from: [{', '.join(['stem', *(f's{j}' for j in range(i))])}]}}\n"
        f"  s{i}: {{block: conv, dim: 4, norm: bn, act: relu}}\n"
        for i in range(1, 12)
    )
    .replace("s0, ", "")
    .replace("concat, from: [stem, s0]", "act, act: relu, from: stem")
    + "  all: {block: concat, from: [stem, s1, s5, s11, c11]}\n  head: {block: classifier}\n",
    "maps and tokens": """
net:
  stem: {block: conv, dim: 32, stride: 4}
  cnn:  {block: convnext, depth: 2}
  vit:  {block: vit, heads: 4, depth: 2, from: stem}
  both: {block: add, from: [cnn, vit]}
  gate: {block: act, act: sigmoid}
  mix:  {block: mul, from: [gate, cnn]}
  seq:  {block: cat_tokens, from: [vit, mix]}
  last: {block: vit, heads: 4}
  norm: {block: norm, norm: ln}
  pool: {block: global_pool}
  drop: {block: dropout}
  head: {block: classifier, norm: ln}
features: [cnn, vit]
""",
    "absent edges": """
net:
  stem: {block: conv, dim: 16}
  b:    {block: conv, kernel: 1, from: stem}
  same: {block: identity}
  none: {block: zero, from: stem}
  sum:  {block: add, from: [same, none, stem]}
  gone: {block: conv, dim: 99, from: none}
  zero: {block: zero, from: b}
  cat:  {block: concat, from: [sum, zero]}
  last: {block: add, from: [cat, void]}
  void: {block: zero, from: lost}
  lost: {block: conv, dim: 32, from: gone}
  head: {block: classifier, from: last}
features: [same, sum]
""",
    "a pair of outputs": """
blocks:
  encoder:
    params: {dim: int}
    net:
      body: {block: basic, dim: $dim}
      down: {block: maxpool, stride: 2}
      spare: {block: conv, dim: 3}
    output: {low: down, skip: body, spare: spare}
  fuse:
    ports: [main, skip]
    params: {dim: int}
    net:
      up:   {block: upsample, from: main}
      both: {block: concat, from: [up, skip]}
      out:  {block: conv, dim: $dim, norm: bn, act: relu}
net:
  stem: {block: conv, dim: 8}
  e1:   {block: encoder, dim: 8}
  e2:   {block: encoder, dim: 16}
  mid:  {block: basic, dim: 16}
  d2:   {block: fuse, dim: 16, from: {skip: e2.skip, main: mid}}
  d1:   {block: fuse, dim: 8, from: [d2, e1.skip]}
  head: {block: classifier}
""",
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return loads(HEAD + NETWORKS[request.param]).network()


def test_counts_and_keys_are_those_of_the_module(network: Network) -> None:
    graph, model = network.graph, nets.build(network, seed=0)
    assert list(model.state_dict()) == list(graph.keys())
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == graph.keys()
    assert sum(p.numel() for p in model.parameters()) == graph.params
    with FlopCounterMode(display=False) as counter:
        nets.build(network, device="meta").eval()(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() == 2 * graph.macs


def test_every_parameter_learns(network: Network) -> None:
    model = nets.build(network, seed=0).train()
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_it_can_be_traced_scripted_exported_copied_and_pickled(network: Network) -> None:
    model, x = nets.build(network, seed=0).eval(), torch.randn(2, 3, 32, 32)
    y = model(x)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), y)
    with warnings.catch_warnings():  # torch says that scripting will go away some day
        warnings.simplefilter("ignore")
        torch.testing.assert_close(torch.jit.script(model)(x), y)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), y)
    torch.testing.assert_close(copy.deepcopy(model)(x), y)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), y)


def test_gradient_checkpointing_changes_no_gradient(network: Network) -> None:
    plain, saving = (nets.build(network, seed=0).train() for _ in range(2))
    saving.set_grad_checkpointing()
    for model in (plain, saving):
        model(torch.ones(2, 3, 32, 32)).square().sum().backward()
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_every_stage_gives_what_inference_says(network: Network) -> None:
    model = nets.build(network, seed=0).eval()
    seen: dict[str, torch.Tensor] = {}
    for name, child in model.named_children():
        child.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    model(torch.randn(1, 3, 32, 32))
    kinds = {stage.name: network.types[stage.name] for stage in network.stages}
    assert len(seen) > 2
    for name, out in seen.items():
        first = out[0] if isinstance(out, tuple) else out
        assert name not in kinds or tuple(first.shape[1:]) == kinds[name].shape, name


def test_features_are_those_that_are_named(network: Network) -> None:
    model = nets.build(network, seed=0).eval()
    levels = model.feature_info
    assert not network.ends[1:] or len(levels) == len(network.ends) - 1
    hooks = FeatureHookNet(model, out_indices=tuple(range(len(levels))))
    found = hooks(torch.randn(1, 3, 32, 32))
    for level, out in zip(levels, found, strict=True):
        if out.ndim == 4:
            assert (out.shape[1], 32 // out.shape[2]) == (level["num_chs"], level["reduction"])
        else:
            assert out.shape[2] == level["num_chs"]


def test_heads_may_be_several() -> None:
    text = """
net:
  stem: {block: conv, dim: 8}
  one:  {block: classifier}
  aux:  {block: classifier, classes: 4, from: stem}
  two:  {block: classifier, from: stem, norm: ln}
  sum:  {block: add, from: [one, two]}
output: sum
features: [aux]
"""
    network = loads(HEAD + text).network()
    model = nets.build(network, seed=0)
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == network.graph.keys()
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert nets.build(network, num_classes=3)(torch.randn(2, 3, 32, 32)).shape == (2, 3)
