"""Generated networks behave as hand-written timm models do."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import pytest
import timm
import torch
from torch import Tensor

from flopwise import dsl, nets
from flopwise.dsl.files import presets
from flopwise.dsl.shipped import shipped_row
from flopwise.export import from_timm
from flopwise.nets.runtime import Network
from flopwise.testing import NetworkCase

SMALL = {  # one network per family, small enough for a test
    "resnet50": {"w": "8", "net.stage3.depth": "2", "input.size": "64"},
    "seresnet50": {"w": "8", "net.stage3.depth": "2", "input.size": "64"},
    "resnet18": {"w": "16", "input.size": "64"},
    "convnext_tiny": {"w": "16", "d3": "3", "input.size": "64"},
    "convnextv2_atto": {"w": "16", "d3": "3", "input.size": "64"},
    "densenet121": {"k": "8", "net.stage3.depth": "3", "net.stage4.depth": "2", "input.size": "64"},
    "mobilenetv1_100": {"w": "0.25", "input.size": "64"},
    "mobilenetv2_100": {"w": "0.25", "input.size": "64"},
    "ghostnet_100": {"w": "0.25", "input.size": "64"},
    "vit_tiny_patch16_224": {"dim": "48", "depth": "4", "input.size": "64"},
    "dm_nfnet_f0": {"w": "32", "input.size": "64", "defaults.nfnet.group_width": "16"},
    "swin_tiny_patch4_window7_224": {"net.stage3.depth": "2"},
    "coatnet_0_rw_224": {"w": "48", "d3": "2", "input.size": "64"},
    "t2t_vit_7": {"net.body.depth": "2", "input.size": "64"},
    "vit_small_r26_s32_224": {"net.body.depth": "2", "input.size": "64"},
}
FREE = ("densenet", "ghostnet", "mobilenet", "t2t")  # without stochastic depth, or by other rates


@lru_cache
def graph(name: str) -> dsl.Graph:
    return dsl.load(f"std/{name}", sets=list(SMALL[name].items())).network().graph


def network(name: str, seed: int = 1) -> Network:
    return nets.build(graph(name), seed=seed)


class TestNetworks(NetworkCase):
    graphs: ClassVar = {name: graph(name) for name in SMALL}


def test_every_family_of_the_zoo_is_tried() -> None:
    zoo = {path.parent.name for path in presets().values()}
    files = (name if name in presets() else str(shipped_row(name)) for name in SMALL)
    assert {presets()[name].parent.name for name in files} == zoo


def images(name: str) -> Tensor:
    shape = graph(name).inputs[0].shape
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_fresh_process_reads_the_pickles(tmp_path: Path) -> None:
    cases = [(model := network(name).eval(), x := images(name), model(x)) for name in SMALL]
    (tmp_path / "cases.pkl").write_bytes(pickle.dumps(cases))
    check = (
        "import pickle, sys, torch\n"
        "for m, x, y in pickle.load(open(sys.argv[1], 'rb')): torch.testing.assert_close(m(x), y)"
    )
    subprocess.run([sys.executable, "-c", check, str(tmp_path / "cases.pkl")], check=True)


@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith(FREE)])
def test_drop_path_rises_linearly_as_in_timm(name: str) -> None:
    model = nets.build(graph(name), drop_path_rate=0.3)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]
    theirs = timm.create_model(name, drop_path_rate=0.3)
    wanted = [m.drop_prob for m in theirs.modules() if type(m).__name__ == "DropPath"]
    assert rates[-1] == pytest.approx(wanted[-1]) == pytest.approx(0.3)
    assert rates[0] == 0.0
    assert rates == sorted(rates)


@pytest.mark.parametrize("reference", ["resnet50", "convnext_tiny", "vit_tiny_patch16_224"])
def test_fresh_weights_are_distributed_as_in_timm(reference: str) -> None:
    network = dsl.load(f"std/{reference}").network()
    ours = nets.build(network, seed=0).state_dict()
    torch.manual_seed(0)
    theirs = from_timm(network, timm.create_model(reference).state_dict())
    for key, value in ours.items():
        if value.is_floating_point() and value.numel() >= 2000:
            wanted = theirs[key]
            assert value.mean().item() == pytest.approx(wanted.mean().item(), abs=0.004), key
            assert value.std().item() == pytest.approx(wanted.std().item(), rel=0.1, abs=1e-6), key
        elif value.is_floating_point() and not key.endswith("cls_token"):
            constant = value.min() == value.max()
            assert constant == (theirs[key].min() == theirs[key].max()), key
            if constant:
                torch.testing.assert_close(value, theirs[key])


def test_numbers_that_differ_between_repetitions_share_one_class() -> None:
    source = nets.source(graph("vit_tiny_patch16_224"))
    assert source.count("class Vit(") == 1
    assert nets.source(graph("convnext_tiny")).count("class Convnext(") == 1


LONG = """
spec: 1
name: a_network_whose_lines_are_long
input: {size: 32, channels: 3}
classes: 10
net:
  the_stem_of_this_network: {block: patchify, patch: 4, dim: 16}
  stage_with_a_long_name:   {block: convnext, depth: 3, kernel: 3, expand: 2}
  another_long_stage_name:  {block: convnext, depth: 3, dim: 24, kernel: 5, stride: 2}
  yet_another_long_stage:   {block: residual, depth: 4, dim: 48, hidden: 8, stride: 2, se: 0.25}
  one_more_of_these_stages: {block: residual, depth: 3, dim: 64, hidden: 24, stride: 2, se: 0.5}
  head: {block: classifier}
"""


ALIKE = """
spec: 1
name: alike
input: {size: 32}
classes: 10
net:
  stem: {block: conv, dim: 32}
  body: {block: inverted, depth: 3, kernel: 5, se: 0.25, expand: 6.5}
  more: {block: inverted, depth: 3, dim: 48, kernel: 5, se: 0.25, expand: 6.5}
  head: {block: classifier}
"""


@pytest.mark.parametrize("text", [LONG, ALIKE])
def test_long_lines_are_broken_into_valid_python(text: str) -> None:
    graph = dsl.loads(text).network().graph
    assert max(map(len, nets.source(graph).splitlines())) <= 100
    assert nets.build(graph)(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@torch.no_grad()
def test_machine_code_for_a_network_computes_the_same() -> None:
    model, x = network("vit_tiny_patch16_224").eval(), images("vit_tiny_patch16_224")
    with warnings.catch_warnings():  # of inductor itself
        warnings.simplefilter("ignore")
        compiled = torch.compile(model, backend="inductor", fullgraph=True)(x)
    torch.testing.assert_close(compiled, model(x), rtol=1e-4, atol=1e-4)
