"""How fast candidates are costed and drawn, beside a hand-written script.

    OMP_NUM_THREADS=1 python benchmarks/space.py
    OMP_NUM_THREADS=1 python benchmarks/space.py --out benchmarks/results/space.json

Two spaces of four ConvNeXt stages at 224 px: one of 24 knobs with a width, depth, kernel and ratio
for each stage and eight training settings, and one as in Once-for-All, with kernel and ratio of
every layer. Their cost tables are made, then candidates are costed in batches and one by one, and
feasible ones are drawn uniformly within 1 % of several budgets, with a cap on the parameters and
inside two and three windows too; and within 1 % of budgets over the whole range, its ends included,
with caps that few meet, of which the slowest is told. The tables of the shipped space with the most
knobs for a stage, the road from ResNet to ConvNeXt, are made as well.

The other side is what one writes without flopwise: Optuna proposes, timm builds the model on the
meta device, and torch's FlopCounterMode counts it; what misses the window is thrown away. Rates are
per second of CPU time on one core. Takes some minutes.

pycls 0.1.1 counts its AnyNets by arithmetic too; where it is installed (`pip install --no-deps
pycls yacs simplejson`) networks of four stages with drawn depths and widths are costed with it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from flopwise.dsl import Spec, Window, load, loads
from flopwise.dsl.space import Search
from flopwise.spaces import METRICS, CostTables, FeasibleSpace, cost_tables

NET = """
spec: 1
name: {name}
input: {{size: 224}}
classes: 1000
vars: {{w1: 96, w2: 192, w3: 384, w4: 768, d1: 3, d2: 3, d3: 9, d4: 3}}
net:
  stem:   {{block: patchify, patch: 4, dim: $w1}}
  stage1: {{block: convnext, depth: $d1}}
  stage2: {{block: convnext, depth: $d2, dim: $w2, stride: 2}}
  stage3: {{block: convnext, depth: $d3, dim: $w3, stride: 2}}
  stage4: {{block: convnext, depth: $d4, dim: $w4, stride: 2}}
  head:   {{block: classifier, pool: avg, norm: ln}}
search:
  space:
{space}
"""
STAGES = range(1, 5)
KNOBS = [
    "w1: {range: [32, 280], step: 8}",
    "w2: {range: [64, 560], step: 16}",
    "w3: {range: [128, 1120], step: 32}",
    "w4: {range: [256, 1248], step: 32}",
    *(f"d{i}: {{range: [1, 14]}}" for i in STAGES),
    *(f"net.stage{i}.kernel: {{choice: [3, 5, 7, 9, 11]}}" for i in STAGES),
    *(f"net.stage{i}.expand: {{choice: [2, 3, 4]}}" for i in STAGES),
    "train.lr: {range: [1.0e-4, 1.0e-2], log: true}",
    "train.weight_decay: {choice: [0.0, 0.02, 0.05, 0.1]}",
    "train.mixup: {choice: [0.0, 0.2, 0.8]}",
    "train.cutmix: {choice: [0.0, 0.5, 1.0]}",
    "train.drop_path: {choice: [0.0, 0.1, 0.2]}",
    "train.smoothing: {choice: [0.0, 0.1]}",
    "train.erase: {choice: [0.0, 0.25]}",
    "train.epochs: {choice: [5, 10]}",
]
LAYERS = [
    *(f"d{i}: {{choice: [2, 3, 4, 5]}}" for i in STAGES),
    *(f"net.stage{i}[*].kernel: {{choice: [3, 5, 7]}}" for i in STAGES),
    *(f"net.stage{i}[*].expand: {{choice: [3, 4, 6]}}" for i in STAGES),
]
SPACES = {"24 knobs": KNOBS, "every layer": LAYERS}
BUDGETS = {"24 knobs": (0.2e9, 0.6e9, 4e9, 20e9), "every layer": (2.5e9, 3.5e9, 5e9)}


def spec_of(name: str) -> Spec:
    lines = "\n".join(f"    {line}" for line in SPACES[name])
    return loads(NET.format(name=name.replace(" ", "_"), space=lines))


def rate(work: Callable[[], int], seconds: float = 1.0) -> float:
    """Returns what is done in a second of CPU time."""
    began, done = process_time(), 0
    while process_time() - began < seconds:
        done += work()
    return done / (process_time() - began)


def windows(name: str) -> Iterator[tuple[str, dict[str, Window]]]:
    """Yields budgets: 1 % around several targets, one with a cap, one with a second window."""
    for target in BUDGETS[name]:
        yield f"macs {target / 1e9:g}G ± 1 %", {"macs": Window.around(target, 0.01)}
    middle = {"macs": Window.around(BUDGETS[name][1], 0.01)}
    cap = 20_000_000 if name == "every layer" else 5_000_000
    yield f"... and params <= {cap / 1e6:g}M", middle | {"params": Window(None, cap)}
    both = middle | {"params": Window.around(cap, 0.01)}
    yield f"... and params {cap / 1e6:g}M ± 1 %", both
    least = {"24 knobs": 5.5e6, "every layer": 11e6}[name]
    yield "... and activations ± 5 % too", both | {"activations": Window.around(least, 0.05)}


def ours(name: str) -> dict[str, Any]:
    """Measures flopwise on one space."""
    began = process_time()
    tables = cost_tables(spec_of(name))
    found: dict[str, Any] = {"tables made in s": process_time() - began}
    rng = np.random.default_rng(0)
    sizes = [len(tables.values[target]) for target in tables.targets]
    codes = np.stack([rng.integers(size, size=100_000, dtype=np.int32) for size in sizes])
    picks = tables.decode(codes[:, :2000])
    found["candidates"] = float(tables.size)
    found["costed in batches, a second"] = rate(lambda: tables.batch(codes).costs.shape[1])
    found["costed one by one, a second"] = rate(lambda: len([tables.costs(p) for p in picks]))
    for label, budget in windows(name):
        began = process_time()
        space = FeasibleSpace(tables, Search(space={}, budget=(budget,)))
        share = space.share()
        made = process_time() - began
        drawn = rate(lambda: space.draw(rng, 5000, 500_000).codes.shape[1])  # noqa: B023
        kept = space.draw(rng, 5000, 500_000).kept
        found[label] = {
            "share": share.share,
            "counted in s": made,
            "draws a second": drawn,
            "kept": kept,
        }
    found |= sweep(tables)
    return found


def sweep(tables: CostTables, budgets: int = 24) -> dict[str, Any]:
    """Draws within 1 % of budgets over the whole range of MACs, and with caps on parameters."""
    rng, rates, capped, empty = np.random.default_rng(1), {}, {}, 0
    for target in np.geomspace(*tables.ranges["macs"], budgets):
        window = {"macs": Window.around(float(target), 0.01)}
        space = FeasibleSpace(tables, Search(space={}, budget=(window,)))
        sample = space.draw(rng, 2000)
        if not sample.codes.shape[1]:
            empty += 1
            continue
        label = f"{target / 1e6:.4g}M"
        rates[label] = rate(lambda: space.draw(rng, 5000).codes.shape[1], 0.2)  # noqa: B023
        for part in (0.5, 0.05, 0.005) if len(rates) % 4 == 2 else ():
            cap = int(np.quantile(sample.costs[METRICS.index("params")], part))
            search = Search(space={}, budget=(window | {"params": Window(None, cap)},))
            both = FeasibleSpace(tables, search)
            both.draw(rng, 10)
            case = f"{label}, params <= {cap / 1e6:.4g}M ({part:.1%} of the draws)"
            capped[case] = rate(lambda: both.draw(rng, 5000).codes.shape[1], 0.2)  # noqa: B023
    slowest, hardest = (min(each, key=each.__getitem__) for each in (rates, capped))
    return {
        f"slowest of {len(rates)} budgets": {f"{slowest}, draws a second": rates[slowest]},
        f"slowest of {len(capped)} caps": {f"{hardest}, draws a second": capped[hardest]},
        "budgets that no network meets": empty,
    }


def road() -> dict[str, float]:
    """Makes the tables of the road from ResNet to ConvNeXt, then reads them again."""
    spec = load(Path(__file__).parent.parent / "examples/rediscovery/convnext_steps.yaml")
    began = process_time()
    tables = cost_tables(spec)
    made, began = process_time() - began, process_time()
    cost_tables(spec)
    read = process_time() - began
    graphs = tables.compiled.runs
    return {"tables made in s": made, "read in s": read, "graphs traced": graphs}


def by_hand(seconds: float) -> dict[str, float]:
    """Measures the script one writes without flopwise, on the space of 24 knobs at 4 GMAC."""
    import optuna
    import torch
    from timm.models.convnext import ConvNeXt
    from torch.utils.flop_counter import FlopCounterMode

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    began, counted, met = process_time(), 0, 0
    while process_time() - began < seconds:
        trial = study.ask()
        ends = [(32, 280, 8), (64, 560, 16), (128, 1120, 32), (256, 1248, 32)]
        dims = [trial.suggest_int(f"w{i}", a, b, step=c) for i, (a, b, c) in enumerate(ends)]
        depths = [trial.suggest_int(f"d{i}", 1, 14) for i in range(4)]
        kernels = [trial.suggest_categorical(f"k{i}", [3, 5, 7, 9, 11]) for i in range(4)]
        trial.suggest_float("lr", 1e-4, 1e-2, log=True)
        with torch.device("meta"):
            model = ConvNeXt(dims=dims, depths=depths, kernel_sizes=kernels)
            counter = FlopCounterMode(display=False)
            with counter, torch.no_grad():
                model(torch.empty(1, 3, 224, 224))
        macs = counter.get_total_flops() // 2
        counted += 1
        met += abs(macs - 4e9) <= 4e7
        study.tell(trial, abs(macs - 4e9))
    spent = process_time() - began
    return {"costed, a second": counted / spent, "feasible met, a second": met / spent}


def pycls_rate(count: int = 5000) -> dict[str, Any]:
    """How many networks of four stages pycls costs a second, by its `AnyNet.complexity`."""
    try:
        from pycls.models.anynet import AnyNet
    except ImportError:
        return {"costed, a second": "not installed"}
    dice = np.random.default_rng(0)
    usual = {"stem_type": "simple_stem_in", "stem_w": 32, "block_type": "res_bottleneck_block"}
    rest = {"ss": [2] * 4, "bms": [1.0] * 4, "gws": [8] * 4, "se_r": None, "nc": 1000}
    drawn = [
        {"ds": dice.integers(1, 15, 4).tolist(), "ws": (8 * dice.integers(4, 140, 4)).tolist()}
        for _ in range(count)
    ]
    began = process_time()
    for each in drawn:
        AnyNet.complexity(
            {"h": 224, "w": 224, "flops": 0, "params": 0, "acts": 0}, **usual, **rest, **each
        )
    return {"costed, a second": count / (process_time() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--remark", default="", help="what to say of the machine in the file")
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU time of the other script")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        os.environ["XDG_CACHE_HOME"] = empty  # tables are made here, not read
        found: dict[str, Any] = {name: ours(name) for name in SPACES}
        found["examples/rediscovery/convnext_steps.yaml"] = road()
    found["Optuna + timm + torch's counter"] = by_hand(args.seconds)
    found["pycls"] = pycls_rate()
    machine = {"python": platform.python_version(), "numpy": np.__version__}
    found["machine"] = machine | ({"remark": args.remark} if args.remark else {})
    for name, figures in found.items():
        print(f"\n{name}")
        for label, value in figures.items():
            if isinstance(value, dict):
                value = ", ".join(f"{k} {v:.4g}" for k, v in value.items())
            print(f"  {label:32} {value if isinstance(value, str) else f'{value:,.4g}'}")
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
