"""Both benchmarks of trained networks, in our language, against what their authors count."""

from __future__ import annotations

import csv
import gzip
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from flopwise.dsl import Network, load
from flopwise.search.scores import ways
from flopwise.spaces import cost_tables

FOLDER = Path(__file__).parents[2] / "examples" / "nas_bench"
EDGES = {"e10": (0, 1), "e20": (0, 2), "e21": (1, 2), "e30": (0, 3), "e31": (1, 3), "e32": (2, 3)}
OPS = ("none", "skip", "conv1", "conv3", "pool")


def test_all_networks_of_nas_bench_macro_have_the_published_parameters_and_macs() -> None:
    spec = load(FOLDER / "nas_bench_macro.yaml")
    with gzip.open(FOLDER / "nas_bench_macro.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3**8
    for row in rows:
        graph = spec.network({f"l{at}": row[f"l{at}"] for at in range(1, 9)}).graph
        assert (graph.params, graph.macs) == (int(row["params"]), int(row["macs"])), row


def cell(*ops: str) -> Network:
    return load(FOLDER / "nas_bench_201.yaml").network(dict(zip(EDGES, ops, strict=True)))


def test_the_largest_cell_of_nas_bench_201_has_the_published_parameters_and_macs() -> None:
    graph = cell(*["conv3"] * 6).graph
    assert graph.params == 1_531_546  # 1.531546 M
    assert graph.macs == 220_119_690 - 10  # 220.11969 M, the bias of the classifier included


@pytest.mark.parametrize("seed", range(40))
def test_cells_without_none_cost_what_their_convolutions_do(seed: int) -> None:
    ops = [str(op) for op in np.random.default_rng(seed).choice(OPS[1:], 6)]
    graph = cell(*ops).graph
    three, one = ops.count("conv3"), ops.count("conv1")
    widths = (16, 32, 64)
    params = {k: 5 * sum(k * k * w * w + 2 * w for w in widths) for k in (1, 3)}
    macs = {k: 5 * sum(k * k * w * w * (512 // w) ** 2 for w in widths) for k in (1, 3)}
    assert graph.params == 73_306 + three * params[3] + one * params[1]
    assert graph.macs == 7_783_040 + three * macs[3] + one * macs[1]


def test_ways_through_a_cell_are_those_that_can_be_listed() -> None:
    def listed(ops: dict[str, str]) -> list[list[str]]:
        """Returns the operations on every way from the input to the last node."""
        found = []
        for length in (1, 2, 3):
            for names in product(EDGES, repeat=length):
                nodes = [0, *(EDGES[name][1] for name in names)]
                starts = [EDGES[name][0] for name in names]
                live = all(ops[name] != "none" for name in names)
                if starts == nodes[:-1] and nodes[-1] == 3 and live:
                    found.append([ops[name] for name in names])
        return found

    rng = np.random.default_rng(0)
    for _ in range(20):
        ops = {name: str(rng.choice(OPS)) for name in EDGES}
        every = listed(ops)
        if not every:
            continue
        one = [sum(op.startswith("conv") for op in way) for way in every]
        through = ways(cell(*ops.values()).graph)[0]
        assert through
        # 15 cells in a row; each reduction has a way of 2 and one of 1 convolutions
        assert through.shortest == 15 * min(one) + 1 + 2 * 1 + 1
        assert through.longest == 15 * max(one) + 1 + 2 * 2 + 1
        assert through.mean == pytest.approx(15 * np.mean(one) + 1 + 2 * 1.5 + 1)
        assert through.log_count == pytest.approx(15 * np.log(len(one)) + 2 * np.log(2))
        mean = {op: np.mean([way.count(op) for way in every]) for op in OPS}
        assert through.along.get("padded_avg_pool", 0) == pytest.approx(15 * mean["pool"])
        assert through.along["conv"] == pytest.approx(through.mean - 1)  # all but the classifier
        # each reduction has one on its short way
        assert through.pooled == pytest.approx(15 * mean["pool"] + 2 * 0.5)
        stem, reductions, head = 3 * 9 * 16 * 32**2, 2 * (3_538_944 + 131_072) / 2, 640
        cells = 15 * 16 * 16 * 32**2 * (9 * mean["conv3"] + mean["conv1"])
        assert through.along["macs"] == pytest.approx(stem + cells + reductions + head)


@pytest.mark.slow
def test_the_cost_tables_of_all_cells_count_what_lies_on_a_way_to_the_output() -> None:
    tables = cost_tables(load(FOLDER / "nas_bench_201.yaml"))
    every = [dict(zip(EDGES, ops, strict=True)) for ops in product(OPS, repeat=6)]
    found = tables.batch(tables.encode(every))
    macs = {
        f"conv{k}": 5 * sum(k * k * w * w * (512 // w) ** 2 for w in (16, 32, 64)) for k in (1, 3)
    }
    for at, ops in enumerate(every):
        live, reached = live_of(ops)
        assert found.built[at] == reached, ops
        if reached:
            assert found.costs[0, at] == 7_783_040 + sum(macs.get(op, 0) for op in live), ops


def live_of(ops: dict[str, str]) -> tuple[list[str], bool]:
    """Returns the operations that run, and whether the output depends on the image.

    Nothing is added where there is nothing; a convolution of nothing has a bias still.
    """
    empty, fed = {0: False}, {0}
    gone: set[str] = set()
    for node in (1, 2, 3):
        into = {name: a for name, (a, b) in EDGES.items() if b == node}
        gone |= {n for n, a in into.items() if ops[n] == "none" or (ops[n] == "skip" and empty[a])}
        empty[node] = gone.issuperset(into)
        fed |= {node for name, a in into.items() if ops[name] != "none" and a in fed}
    needed, live = {3}, []
    for node in (3, 2, 1):
        for name, (a, b) in EDGES.items():
            if b == node and node in needed and name not in gone:
                live.append(ops[name])
                needed.add(a)
    return live, 3 in fed
