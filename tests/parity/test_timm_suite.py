"""timm's own tests, from its source distribution, on networks of every family that we export.

Networks are registered under names that none of timm's filters knows, but for those of tokens:
their names begin with `vit_`, which is how timm's tests tell that a model puts out no map.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flopwise import nets
from flopwise.dsl import Network, loads
from flopwise.export import Facts
from flopwise.export.folder import write_folder
from flopwise.export.standalone import stand

ZOO = {  # name for timm -> ours, and what makes it small
    "fw_resnet": ("resnet50", {"w": "8", "net.stage3.depth": "2", "input.size": "64"}),
    "fw_convnext": ("convnext_tiny", {"w": "16", "d3": "3", "input.size": "64"}),
    "fw_densenet": (
        "densenet121",
        {"k": "8", "net.stage3.depth": "3", "net.stage4.depth": "2", "input.size": "64"},
    ),
    "fw_mobilenet": ("mobilenetv2_100", {"w": "0.25", "input.size": "64"}),
    "fw_ghostnet": ("ghostnet_100", {"w": "0.25", "input.size": "64"}),
    "fw_nfnet": (
        "dm_nfnet_f0",
        {"w": "32", "input.size": "64", "defaults.nfnet.group_width": "16"},
    ),
    "vit_fw": ("vit_tiny_patch16_224", {"dim": "48", "depth": "4", "input.size": "64"}),
    "vit_fw_t2t": ("t2t_vit_7", {"net.body.depth": "2", "input.size": "64"}),
    "fw_resnetv2": ("resnetv2_50x1_bit", {"w": "16", "net.stage3.depth": "2", "input.size": "64"}),
    "fw_coatnet": ("coatnet_0_rw_224", {"w": "32", "d3": "2", "input.size": "64"}),
    "vit_fw_bit": (
        "vit_small_r26_s32_224",
        {"dim": "48", "depth": "2", "heads": "4", "input.size": "64"},
    ),
}
WRITTEN = {
    "fw_swin": """
net:
  patch:  {block: patch_embed, patch: 4, dim: 16, norm: ln, eps: 1.0e-5}
  stage1: {block: swin, heads: 2, window: 4, depth: 2}
  stage2: {block: swin, heads: 2, window: 4, depth: 2, dim: 32, stride: 2}
  stage3: {block: swin, heads: 4, window: 4, depth: 2, dim: 64, stride: 2}
  head:   {block: classifier, norm: ln, norm_first: true}
""",
    "fw_regnet": """
net:
  stem:   {block: conv_stem, kernel: 3, pool: none, dim: 16}
  stage1: {block: residual, dim: 24, hidden: 24, groups: 3, stride: 2, se: 0.25}
  stage2: {block: residual, dim: 56, hidden: 56, groups: 7, stride: 2, se: 0.25}
  stage3: {block: residual, dim: 152, hidden: 152, groups: 19, stride: 2, se: 0.25, depth: 2}
  head:   {block: classifier}
""",
    "vit_fw_relpos": """
net:
  patch:  {block: patch_embed, patch: 16, dim: 32}
  body:   {block: vit, heads: 2, depth: 4, relative: bias}
  head:   {block: classifier, norm: ln}
""",
    "vit_fw_hybrid": """
net:
  stem:   {block: conv, dim: 8, stride: 2, norm: bn, act: relu}
  stage1: {block: residual, dim: 16, stride: 2}
  patch:  {block: patch_embed, patch: 2, dim: 32}
  pos:    {block: position, kind: learned_2d}
  body:   {block: vit, heads: 2, depth: 2}
  head:   {block: classifier, norm: ln}
""",
    "vit_fw_dense": """
net:
  patch:  {block: patch_embed, patch: 16, dim: 32}
  cls:    {block: class_token}
  pos:    {block: position}
  dense1: {block: dense_vit, growth: 16, heads: 2, depth: 2}
  down:   {block: linear, dim: 32}
  dense2: {block: dense_vit, growth: 16, heads: 2, depth: 2}
  head:   {block: classifier, pool: cls, norm: ln}
""",
    "fw_skips": """
blocks:
  join:
    doc: Doubles the map and joins the skip beside it.
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
  down3: {block: residual, dim: 32, stride: 2}
  up1:   {block: join, dim: 16, from: {main: down3, skip: down2}}
  up2:   {block: join, dim: 8, from: {main: up1, skip: down1}}
  head:  {block: classifier}
""",
}
HEAD = "spec: 1\nname: {name}\ninput: {{size: 64, channels: 3}}\nclasses: 10\n"


def networks() -> dict[str, Network]:
    found = {
        name: loads(
            f"spec: 1\nname: {name}\nextends: std/{ours}\nclasses: 10\n", sets=list(small.items())
        ).network()
        for name, (ours, small) in ZOO.items()
    }
    return found | {n: loads(HEAD.format(name=n) + text).network() for n, text in WRITTEN.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Standalone folders with random weights."""
    room = tmp_path_factory.mktemp("folders")
    for name, network in networks().items():
        form = stand(network)
        assert form.architecture == name
        state = nets.build(network, seed=0).state_dict()
        write_folder(network, form, state, room / name, Facts(), {})
    return room


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the installed timm, without the package beside them."""
    room = tmp_path_factory.mktemp("timm")
    wanted = f"timm=={version('timm')}"
    pip = [sys.executable, "-m", "pip", "download", wanted, "--no-binary", "timm", "--no-deps"]
    online = {key: value for key, value in os.environ.items() if key != "PIP_NO_INDEX"}
    done = subprocess.run([*pip, "--quiet"], cwd=room, env=online, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"the source distribution of {wanted} could not be had: {done.stderr}")
    (archive,) = room.glob("timm-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(room, filter="data")
    kept = room / "kept"
    kept.mkdir()
    for part in ("tests", "pyproject.toml"):
        (room / archive.name.removesuffix(".tar.gz") / part).rename(kept / part)
    return kept


@pytest.mark.slow
def test_timms_own_tests_pass(folders: Path, tests: Path) -> None:
    report = tests / "report.xml"
    options = ["-q", "-p", "timm_plugin", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", "-k", "fw"]
    place = {"FOLDERS": str(folders), "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [*command, "tests/test_models.py"],
        cwd=tests,
        env=os.environ | place,
        capture_output=True,
        text=True,
    )
    cases = list(ElementTree.parse(report).iter("testcase"))
    fallen = [case.get("name") for case in cases if len(case)]  # failed, broken or skipped
    print(f"{len(cases) - len(fallen)} of timm's tests pass, {len(fallen)} do not")
    assert fallen == [], done.stdout[-8000:]
    assert done.returncode == 0, done.stderr
    names = (str(case.get("name")).partition("[")[2].rstrip("]") for case in cases)
    per_model = Counter(name.rpartition("-")[2].partition(".")[0] for name in names)
    assert per_model.keys() == ZOO.keys() | WRITTEN.keys()
    assert min(per_model.values()) >= 10, per_model  # a filter of timm's would take some away
