"""Random winners of random spaces of every family and tier, loaded, tuned and used by timm alone.

    python -m benchmarks.winners                # thirty of them, in minutes, with every timm
    python -m benchmarks.winners --seed 3 --count 60

Each is drawn from a random part of one family's space, trained for three steps, written as a folder
and handed to tests/parity/stranger.py in a process without flopwise, once for each version of timm
that is promised. There its logits are compared, another head is trained by timm's own utilities,
and features are taken. One line for each winner says what held.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file

from flopwise import dsl, nets
from flopwise.errors import SpecError
from flopwise.export import Facts, tier
from flopwise.export.folder import shipped_as, write_folder
from flopwise.export.proof import images_like
from flopwise.export.versions import supported
from tests.parity import exports
from tests.parity.exports import CLASS, convnext, densenet, mobile, resnet, vit

__all__ = ["SPACES", "ask", "failed", "job", "winner"]

STRANGER = Path(__file__).parents[1] / "tests" / "parity" / "stranger.py"
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
T2T = """
spec: 1
name: net
extends: std/t2t_vit_7
input: {size: 64}
classes: 7
"""
USER = f"""{HEAD}use: [./mine.py]
net:
  patch: {{block: patch_embed, patch: 8, dim: 24}}
  place: {{block: position}}
  body:  {{block: vit, heads: 2, depth: 2}}
  mine:  {{block: half}}
  head:  {{block: classifier}}
"""
MINE = '''
from flopwise.blocks import Positive, Tokens, block
from flopwise.blocks.layers import linear


@block
def half(x: Tokens, *, by: Positive = 2) -> Tokens:
    """Maps tokens to a part of their width.

    Source: made up for this benchmark.

    Settings:
        by: Channels of the input over those of the output.
    """
    return linear(x, x.channels // by, name="fc")
'''
SKIPS = f"""{HEAD}blocks:
  join:
    doc: Doubles the map and joins the skip beside it.
    ports: [main, skip]
    params: {{dim: {{type: int}}}}
    net:
      up:   {{block: upsample, scale: 2, from: main}}
      both: {{block: concat, from: [up, skip]}}
      mix:  {{block: residual, dim: $dim}}
net:
  stem:  {{block: conv, dim: 8, stride: 2, norm: bn, act: relu}}
  down1: {{block: residual, dim: 16, stride: 2}}
  down2: {{block: residual, dim: 32, stride: 2}}
  up1:   {{block: join, dim: 16, from: {{main: down2, skip: down1}}}}
  up2:   {{block: join, dim: 8, from: {{main: up1, skip: stem}}}}
  head:  {{block: classifier}}
"""
KERNELS = [3, 5, 7]
SPACES: dict[str, tuple[str, dict[str, list[Any]]]] = {
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
    "resnetv2": (
        exports.preact(),
        {
            "net.at1.depth": [1, 2, 3],
            "net.at3.dim": [40, 48],
            "defaults.preact.shortcut": ["conv", "pool"],
            "defaults.act": ["relu", "silu"],
            "net.bottom.pool": ["max", "zeros"],
        },
    ),
    "resnetv2 of BiT": (
        exports.NATIVE["resnetv2 of BiT"],
        {"net.at3.dim": [40, 48], "defaults.preact.hidden": [8, 16]},
    ),
    "regnet": (
        exports.regnet(dims=(16, 32, 64, 128), depths=(1, 2, 3, 5), act="relu"),
        {
            "defaults.act": ["relu", "silu"],
            "defaults.residual.se": [0, 0.25],
            "net.at128.depth": [5, 4],
        },
    ),
    "coatnet": (
        exports.coatnet(),
        {
            "net.at0.depth": [1, 2],
            "net.at1.dim": [24, 32],
            "defaults.map_vit.mlp": [2.0, 4.0],
            "defaults.mbconv.kernel": [3, 5],
            "defaults.mbconv.shrink": ["spatial", "expand", "pool"],
        },
    ),
    "coatnet, two stages": (exports.coatnet(kinds="CT"), {"net.at1.dim": [24, 32]}),
    "densenet, three stages": (densenet(depths=(2, 1, 2)), {"net.one.depth": [1, 2, 3]}),
    "hybrid": (exports.HYBRID, {"depth": [1, 2, 3], "heads": [2, 4], "dim": [32, 48]}),
    "offsets": (
        vit(size=32, middle=(CLASS,), more=", relative: bias"),
        {"net.early.depth": [1, 2, 3], "defaults.vit.mlp": [2.0, 4.0]},
    ),
    "t2t": (T2T, {"net.body.depth": [1, 2, 3], "dim": [64, 128], "mlp": [2, 3]}),
    "skips": (
        SKIPS,
        {"net.down1.depth": [1, 2], "net.down2.dim": [24, 32], "net.up1.dim": [8, 16]},
    ),
    "block of one's own": (USER, {"net.mine.by": [2, 3, 4], "net.body.depth": [1, 2]}),
}


def winner(number: int, seed: int, room: Path) -> dsl.Network:
    """Returns a random network of a random space of one family after another."""
    random = Random(f"{seed} {number}")
    text, targets = SPACES[list(SPACES)[number % len(SPACES)]]
    chosen = random.sample(sorted(targets), random.randint(1, len(targets)))
    space = {t: random.sample(targets[t], random.randint(1, len(targets[t]))) for t in chosen}
    lines = [f"    {t}: {{choice: {json.dumps(values)}}}" for t, values in space.items()]
    (room / "mine.py").write_text(MINE, encoding="utf-8")
    path = room / "spec.yaml"
    path.write_text(text + "search:\n  space:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    spec = dsl.load(path, allow_code=True)
    for _ in range(100):
        picks = {target: random.choice(values) for target, values in space.items()}
        try:
            return spec.network(spec.active(picks))
        except SpecError:  # these values make no network
            continue
    raise AssertionError("no draw made a network")


def job(network: dsl.Network, number: int, room: Path) -> dict[str, str]:
    """Writes the folder of a network whose weights have moved, and what it should give."""
    model = nets.build(network, seed=number)
    images = images_like(network.graph.inputs[0].shape, count=8, seed=number)
    steps = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(model(images), torch.arange(8) % 7).backward()
        steps.step()
    with torch.inference_mode():
        logits = model.eval()(images)
    folder = room / f"{number}"
    write_folder(network, shipped_as(network), model.state_dict(), folder, Facts(), {})
    save_file({"images": images, "logits": logits}, room / f"{number}.safetensors")
    return {"folder": str(folder), "inputs": str(room / f"{number}.safetensors")}


def ask(jobs: list[dict[str, str]], room: Path, timm: Path | None) -> Any:
    """Returns what a process with this timm and without flopwise found of every folder."""
    (room / "jobs").write_text(json.dumps(jobs), encoding="utf-8")
    quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    settings = {**os.environ, **quiet, "PYTHONPATH": str(timm or "")}
    command = [sys.executable, "-P", str(STRANGER), str(room / "jobs"), str(room / "report")]
    subprocess.run(command, env=settings, cwd=room, check=True)
    return json.loads((room / "report").read_text(encoding="utf-8"))


def failed(answers: dict[str, Any]) -> dict[str, Any]:
    """Returns what does not hold of one folder."""
    return {name: each for name, each in answers.items() if each is not True}


def main() -> None:
    """Prints a line for each winner and the number of those of which everything held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="which spaces and which draws")
    parser.add_argument("--count", type=int, default=30, help="how many winners")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        networks = [winner(number, args.seed, room) for number in range(args.count)]
        jobs = [job(network, number, room) for number, network in enumerate(networks)]
        tiers = [tier(network).name for network in networks]
        places = supported().places
        found = {version: ask(jobs, room, timm)["answers"] for version, timm in places.items()}
    for number, network in enumerate(networks):
        family = list(SPACES)[number % len(SPACES)]
        wrong = {version: failed(each[number]) for version, each in found.items()}
        told = "" if not any(wrong.values()) else f"  {json.dumps(wrong)}"
        counts = f"{network.graph.params:>9,} {network.graph.macs:>12,}"
        print(f"{number:3} {family:22} {tiers[number]:10} {counts}{told}")
    for version, each in found.items():
        print(f"timm {version}: all holds of {sum(not failed(a) for a in each)} of {len(each)}")
    print(", ".join(f"{count} {name}" for name, count in Counter(tiers).most_common()))


if __name__ == "__main__":
    main()
