"""Winners of random spaces, loaded, fine-tuned and used by a process that knows only timm.

Thirty of them, and another timm that lies in a folder:

FLOPWISE_WINNERS=30 FLOPWISE_TIMM=FOLDER pytest -m slow tests/parity/test_winners.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file

from flopwise import dsl, nets
from flopwise.errors import SpecError
from flopwise.export import Facts, tier
from flopwise.export.folder import shipped_as, write_folder
from flopwise.export.proof import images_like
from tests.parity.exports import convnext, densenet, mobile, resnet, vit

WINNERS = int(os.environ.get("FLOPWISE_WINNERS", "11"))
STRANGER = Path(__file__).with_name("stranger.py")
HEAD = "\nspec: 1\nname: net\ninput: {size: 64}\nclasses: 7\n"
MOBILE = mobile()
HIDDEN = mobile(head=", hidden: 48, hidden_act: relu")
NFNET = f"""{HEAD}net:
  stem:  {{block: nfnet_stem, dim: 16}}
  one:   {{block: nfnet, dim: 16, group_width: 8}}
  two:   {{block: nfnet, dim: 32, stride: 2, group_width: 8}}
  three: {{block: nfnet, dim: 48, stride: 2, group_width: 8}}
  four:  {{block: nfnet, dim: 48, stride: 2, group_width: 8}}
  final: {{block: std_conv, dim: 64}}
  head:  {{block: classifier}}
"""
SWIN = f"""{HEAD}net:
  patch: {{block: patch_embed, patch: 4, dim: 16, norm: ln, eps: 1e-5}}
  map:   {{block: to_map}}
  one:   {{block: swin, heads: 2, window: 4, depth: 2}}
  two:   {{block: swin, heads: 4, window: 4, dim: 32, stride: 2}}
  head:  {{block: classifier, norm: ln, norm_first: true, eps: 1e-5}}
"""
GHOST = f"""{HEAD}net:
  stem: {{block: conv_stem, kernel: 3, pool: none, dim: 16}}
  one:  {{block: ghost, dim: 16, hidden: 32}}
  two:  {{block: ghost, dim: 24, hidden: 48, stride: 2}}
  side: {{block: avgpool, to: 16, from: one}}
  join: {{block: concat, from: [two, side]}}
  head: {{block: classifier}}
"""
DENSE = f"""{HEAD}net:
  patch: {{block: patch_embed, patch: 8, dim: 24}}
  place: {{block: position}}
  one:   {{block: dense_vit, growth: 8, heads: 4, depth: 2}}
  head:  {{block: classifier, norm: ln}}
"""
KERNELS = [3, 5, 7]
SPACES: dict[str, tuple[str, dict[str, list[object]]]] = {
    "convnext": (
        convnext(size=32),
        {
            "net.one.depth": [1, 2, 3],
            "net.two.kernel": KERNELS,
            "net.three.dim": [16, 20],
            "defaults.convnext.layer_scale": [1e-6, 0.1],
            "defaults.convnext.act": ["gelu", "relu"],
            "defaults.convnext.expand": [4, 3],
        },
    ),
    "resnet": (
        resnet("residual"),
        {"net.one.depth": [1, 2], "net.four.dim": [128, 192], "net.two.kernel": [3, 5]},
    ),
    "basic": (resnet("basic"), {"net.one.depth": [1, 2, 3], "net.three.dim": [96, 80]}),
    "densenet": (densenet(), {"net.one.depth": [1, 3], "net.two.growth": [8, 12]}),
    "vit": (
        vit(size=32),
        {
            "net.early.depth": [1, 3],
            "net.late.heads": [3, 4],
            "defaults.vit.qkv_bias": [True, False],
            "defaults.vit.mlp": [2.0, 4.0],
        },
    ),
    "nfnet": (NFNET, {"net.two.depth": [1, 2], "net.four.dim": [48, 64]}),
    "swin": (SWIN, {"net.one.depth": [1, 2, 3], "net.two.heads": [2, 4]}),
    "mobile": (
        MOBILE,
        {
            "net.one.kernel": KERNELS,
            "net.two[0].kernel": KERNELS,
            "net.two[1].kernel": KERNELS,
            "net.two.expand": [2, 4, 6],
            "net.three.se": [0.0, 0.25],
            "net.three.act": ["relu6", "silu", "hardswish"],
            "net.three.depth": [1, 2, 3],
            "net.four.act": ["relu", "silu"],
        },
    ),
    "hidden": (
        HIDDEN,
        {
            "net.head.hidden_norm": ["none", "bn"],
            "net.two.depth": [1, 2],
            "net.four.act": ["relu", "silu"],
            "net.four.kernel": [1, 3],
        },
    ),
    "ghost": (GHOST, {"net.one.hidden": [32, 48], "net.two.kernel": KERNELS}),
    "dense": (DENSE, {"net.one.depth": [1, 2, 3], "net.one.growth": [8, 16]}),
}


def winner(number: int) -> dsl.Network:
    """Returns a random network of a random space of one family after another."""
    random = Random(number)
    text, targets = SPACES[list(SPACES)[number % len(SPACES)]]
    chosen = random.sample(sorted(targets), random.randint(1, len(targets)))
    space = {t: random.sample(targets[t], random.randint(1, len(targets[t]))) for t in chosen}
    lines = [f"    {t}: {{choice: {json.dumps(values)}}}" for t, values in space.items()]
    spec = dsl.loads(text + "search:\n  space:\n" + "\n".join(lines) + "\n")
    for _ in range(100):
        picks = {target: random.choice(values) for target, values in space.items()}
        try:
            return spec.network(spec.active(picks))
        except SpecError:  # these values make no network
            continue
    raise AssertionError("no draw made a network")


def job(number: int, room: Path) -> dict[str, str]:
    """Writes the folder of a winner whose weights have moved, and what it should give."""
    network = winner(number)
    model = nets.build(network, seed=number)
    images = images_like(network.graph.inputs[0].shape, count=8, seed=number)
    steps = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        steps.zero_grad()
        nn_loss = torch.nn.functional.cross_entropy(model(images), torch.arange(8) % 7)
        nn_loss.backward()
        steps.step()
    with torch.inference_mode():
        logits = model.eval()(images)
    folder = room / f"{number}"
    write_folder(network, shipped_as(network), model.state_dict(), folder, Facts(), {})
    save_file({"images": images, "logits": logits}, room / f"{number}.safetensors")
    return {"folder": str(folder), "inputs": str(room / f"{number}.safetensors")}


@pytest.mark.slow
def test_strangers_load_tune_and_use_random_winners(tmp_path: Path) -> None:
    jobs = [job(number, tmp_path) for number in range(WINNERS)]
    (tmp_path / "jobs").write_text(json.dumps(jobs))
    other = [os.environ["FLOPWISE_TIMM"]] if "FLOPWISE_TIMM" in os.environ else []
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(other), "HF_HUB_OFFLINE": "1"}
    command = [
        sys.executable,
        "-P",
        str(STRANGER),
        str(tmp_path / "jobs"),
        str(tmp_path / "report"),
    ]
    subprocess.run(command, env=settings, cwd=tmp_path, check=True)
    report = json.loads((tmp_path / "report").read_text())
    tiers = [tier(winner(number)).name for number in range(WINNERS)]
    print(f"timm {report['timm']}:", {name: tiers.count(name) for name in sorted(set(tiers))})
    failed = {
        f"{number} {tiers[number]}": {
            name: each for name, each in answers.items() if each is not True
        }
        for number, answers in enumerate(report["answers"])
        if not all(each is True for each in answers.values())
    }
    assert failed == {}, json.dumps(failed, indent=1)
    assert {"native", "carrier", "standalone"} <= set(tiers)
