"""Networks of no family of timm's, in a process that knows only timm and the folder's model.py."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models import PretrainedCfg
from torch import nn

from flopwise import nets
from flopwise.cli import main
from flopwise.dsl import Network, load, loads
from flopwise.export import Case, Facts, Proof, export, tier, verify_all
from flopwise.export.config import make_config
from flopwise.export.folder import shipped_as, write_folder
from flopwise.export.standalone import Standalone, stand, write_module
from flopwise.export.versions import supported

UNET = """
spec: 1
name: small_unet
input: {size: 16, channels: 3}
classes: 5
blocks:
  up_join:
    doc: 'Doubles the map, joins the skip beside it, and mixes "both".'
    ports: [main, skip]
    params: {dim: {type: int}}
    net:
      up:   {block: upsample, scale: 2, from: main}
      both: {block: concat, from: [up, skip]}
      mix:  {block: residual, depth: 2, dim: $dim}
net:
  stem:  {block: conv, dim: 8, norm: bn, act: relu}
  down1: {block: residual, dim: 16, stride: 2}
  down2: {block: nfnet, dim: 32, stride: 2, group_width: 8}
  up1:   {block: up_join, dim: 16, from: {main: down2, skip: down1}}
  up2:   {block: up_join, dim: 8, from: {main: up1, skip: stem}}
  head:  {block: classifier}
"""
TAKEN = """
spec: 1
name: resnet18
input: {size: 8, channels: 1}
classes: 4
blocks:
  stage:
    params: {dim: {type: int}}
    net: {one: {block: conv, dim: $dim}, two: {block: conv, dim: $dim}}
  drop_path:
    params: {dim: {type: int}}
    net: {one: {block: conv, dim: $dim}}
net:
  stem: {block: conv, dim: 8}
  a:    {block: stage, dim: 8}
  b:    {block: drop_path, dim: 8}
  head: {block: classifier}
"""
USED = """
spec: 1
name: used-1.0
use: [./mine.py]
input: {size: 16, channels: 3}
classes: 3
net:
  stem: {block: patch_embed, patch: 4, dim: 8}
  pos:  {block: position}
  body: {block: vit, heads: 2, depth: 2}
  mean: {block: half}
  head: {block: classifier}
"""
MINE = '''
from flopwise.blocks import Tokens, block
from flopwise.blocks.layers import linear


@block
def half(x: Tokens) -> Tokens:
    """Maps tokens to half their width.

    Source: made up for a test.
    """
    return linear(x, x.channels // 2, name="fc")
'''
T2T = {"input.size": "32", "net.body.depth": "1", "classes": "3"}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    room = tmp_path_factory.mktemp("specs")
    (room / "mine.py").write_text(MINE)
    (room / "used.yaml").write_text(USED)
    return {
        "unet": loads(UNET).network(),
        "taken": loads(TAKEN).network(),
        "used": load(room / "used.yaml", allow_code=True).network(),
        "t2t": load("std/t2t_vit_7", sets=list(T2T.items())).network(),
        "mobile": load("std/ghostnet_100", sets=[("w", "0.25"), ("input.size", "32")]).network(),
    }


NAMES = ["unet", "taken", "used", "t2t", "mobile"]


def module(network: Network) -> nn.Module:
    """Returns a module in which no weight is silent."""
    model = nets.build(network, seed=0).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def case_of(network: Network, folder: Path) -> Case:
    model = module(network)
    write_folder(network, shipped_as(network), model.state_dict(), folder, Facts(), {})
    return Case(folder=folder, model=model)


@pytest.fixture(scope="module")
def proofs(
    networks: dict[str, Network], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Proof]]:
    """All folders in one process, for importing timm takes seconds."""
    room = tmp_path_factory.mktemp("exports")
    cases = [case_of(networks[name], room / name) for name in NAMES]
    silent = case_of(networks["unet"], room / "silent")
    state = load_file(silent.folder / "model.safetensors")
    save_file({k: v * 1.01 for k, v in state.items()}, silent.folder / "model.safetensors")
    ours = case_of(networks["taken"], room / "ours")
    code = (ours.folder / "model.py").read_text()
    (ours.folder / "model.py").write_text("import flopwise\n" + code)
    cases += [silent, ours]
    names = [*NAMES, "silent", "ours"]
    found = zip(names, cases, verify_all(cases), strict=True)
    return {name: (case.folder, proof) for name, case, proof in found}


@pytest.mark.parametrize("name", NAMES)
def test_timm_and_model_py_give_our_logits(
    proofs: dict[str, tuple[Path, Proof]], name: str
) -> None:
    folder, proof = proofs[name]
    assert proof.failures == ()
    assert proof.relative <= 1e-6  # 0.0 where both processes use the same kernels
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "config.json", "model.py", "model.safetensors")
    }


@pytest.mark.slow
def test_the_oldest_supported_timm_gives_our_logits(
    networks: dict[str, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    old = supported().places["1.0.17"]
    cases = [case_of(network, tmp_path / name) for name, network in networks.items()]
    found = dict(zip(networks, verify_all(cases, timm=old), strict=True))
    assert {proof.timm for proof in found.values()} == {("1.0.17",)}
    assert {name: proof.failures for name, proof in found.items() if proof.failures} == {}


def test_other_weights_and_an_import_of_ours_are_not_proven(
    proofs: dict[str, tuple[Path, Proof]],
) -> None:
    assert not proofs["silent"][1].proven
    assert "flopwise" in proofs["ours"][1].failures[0]


@pytest.mark.parametrize("name", NAMES)
def test_model_py_is_plain_and_clean(networks: dict[str, Network], name: str) -> None:
    network = networks[name]
    form = stand(network)
    text = write_module(network, form, make_config(network, form, Facts(), {})["pretrained_cfg"])
    rooms = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    outside = {room.partition(".")[0] for room in rooms} - sys.stdlib_module_names
    assert outside == {"timm", "torch"}
    own = nets.source(network.graph)
    assert own[own.index("\nclass ") :].strip() in text  # the very source it was trained with
    ruff = [sys.executable, "-m", "ruff"]
    for check in (
        ["check", "--isolated", "--line-length=100"],
        ["format", "--isolated", "--line-length=100", "--check"],
    ):
        done = subprocess.run([*ruff, *check, "-"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_config_falls_into_no_known_trap(networks: dict[str, Network], name: str) -> None:
    network = networks[name]
    form = stand(network)
    config = json.loads(json.dumps(make_config(network, form, Facts(), {"num_classes": 9})))
    cfg = config["pretrained_cfg"]
    assert config["num_classes"] == cfg["num_classes"] == form.classes == network.classes
    assert "null" not in json.dumps(config)
    assert (cfg["tag"], cfg["license"]) == ("flopwise", "other")
    PretrainedCfg(**cfg)


def test_only_what_a_network_uses_is_written(networks: dict[str, Network]) -> None:
    forms = {name: stand(networks[name]) for name in NAMES}
    assert {"StdConv2d", "Joint"} <= forms["unet"].alone.names
    assert not {"StdConv2d", "Joint", "split_heads"} & forms["taken"].alone.names
    assert {"StageBlock", "DropPathBlock"} <= forms["taken"].alone.names
    assert forms["taken"].architecture == "resnet18_flopwise"  # timm has a resnet18
    assert forms["used"].architecture == "used_1_0" and forms["used"].fixed_size
    assert forms["t2t"].first_conv is None and forms["unet"].first_conv == "stem.0.conv"


def exported(network: Network, folder: Path, **more: Any) -> Path:
    export(network, module(network), folder, facts=Facts(), **more)
    return folder


@pytest.fixture(scope="module")
def folder(networks: dict[str, Network], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("done") / "net"
    return exported(networks["taken"], place, texts={"spec.yaml": TAKEN})


def test_an_export_stands_complete_and_checks_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["README.md", "config.json", "model.py", "model.safetensors", "more", "proof.json"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "spec.yaml"]
    card = (folder / "README.md").read_text()
    assert 'sys.path.insert(0, "PATH/TO/net")\nimport model' in card
    assert "tier: standalone" in card
    assert main(["verify", str(folder)]) == 0
    assert "standalone export of resnet18_flopwise" in capsys.readouterr().out


def test_the_tier_of_each_is_told_without_torch(networks: dict[str, Network]) -> None:
    assert {tier(network).name for network in networks.values()} == {"standalone"}
    assert isinstance(shipped_as(networks["unet"]), Standalone)
