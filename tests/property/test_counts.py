"""Random points of random spaces over all blocks: our count is torch's, to the last digit."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from flopwise import dsl, nets
from flopwise.blocks import BLOCKS, Block, Tensor, Trace, Type, Vec, add_stage
from flopwise.errors import BlockError, SpecError
from flopwise.testing.examples import values

POINTS = 10  # of each space
IMAGE = Type("map", (3, 32, 32))


def written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def fitting(block: Block, x: Tensor, chance: random.Random) -> dict[str, list[Any]] | None:
    """Returns values for some settings that the block takes here; the first are those written."""
    for _ in range(20):
        chosen = {
            name: chance.sample(list(values(field)), k=min(2, len(values(field))))
            for name, field in block.fields.items()
            if values(field) and (field.required or chance.random() < 0.3)
        }
        complete = {name: field.default for name, field in block.fields.items()}
        try:
            first = {name: each[0] for name, each in chosen.items()}
            add_stage(Trace(), "try", block, [Trace().input(x.type)], [complete | first])
        except BlockError:
            continue
        return chosen
    return None


def space(seed: int) -> str:
    """Writes a spec of up to five random stages, and a space over their settings."""
    chance = random.Random(seed)
    pool = [b for b in BLOCKS.values() if not (b.variadic or b.head or b.name == "zero")]
    trace = Trace()
    x: Tensor = trace.input(IMAGE)
    lines, domains = [], []
    for _ in range(60):
        block = chance.choice(pool)
        found = fitting(block, x, chance)
        if found is None:
            continue
        name, depth = f"s{len(lines)}", 1 if block.once else chance.choice([1, 2])
        first = {key: each[0] for key, each in found.items()}
        complete = {key: field.default for key, field in block.fields.items()} | first
        try:
            made = add_stage(trace, name, block, [x], [complete] * depth)
        except BlockError:
            continue
        x = made
        repeated = [] if block.once else [f"depth: {depth}"]
        parts = [
            f"block: {block.name}",
            *repeated,
            *(f"{k}: {written(v)}" for k, v in first.items()),
        ]
        lines.append(f"  {name}: {{{', '.join(parts)}}}")
        for key, each in found.items():
            if len(each) > 1 and chance.random() < 0.7:
                domains.append(
                    f"    net.{name}.{key}: {{choice: [{', '.join(map(written, each))}]}}"
                )
        if not block.once:
            domains.append(f"    net.{name}.depth: {{choice: [1, 2, 3]}}")
        if len(lines) == 5 or isinstance(x, Vec):
            break
    head = "spec: 1\nname: random\ninput: {size: 32, channels: 3}\nclasses: 7\nnet:\n"
    tail = "\nsearch:\n  space:\n" + "\n".join(domains) if domains else ""
    return head + "\n".join([*lines, "  head: {block: classifier}"]) + tail + "\n"


def counted(network: dsl.Network) -> None:
    model = nets.build(network, device="meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *network.graph.inputs[0].shape, device="meta"))
    assert counter.get_total_flops() == 2 * network.graph.macs
    assert sum(p.numel() for p in model.parameters()) == network.graph.params
    assert list(model.state_dict()) == list(network.graph.keys())


def draw(text: str, seed: int) -> int:
    """Holds the written network and random points of a space to torch; returns how many."""
    spec = dsl.loads(text)
    counted(spec.network())
    chance, done = random.Random(seed), 1
    domains = dict(spec.search.space) if spec.search else {}
    for _ in range(3 * POINTS):
        if not domains or done == POINTS:
            break
        picks = {path: chance.choice(domain.values()) for path, domain in domains.items()}
        try:
            network = spec.network(picks)
        except SpecError:
            continue
        counted(network)
        done += 1
    return done


@given(seed=st.integers(0, 10**9))
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
def test_random_points_of_random_spaces_are_counted_as_torch_counts(seed: int) -> None:
    assert draw(space(seed), seed)


@pytest.mark.slow
def test_five_hundred_random_points_are_counted_as_torch_counts() -> None:
    assert sum(draw(space(seed), seed) for seed in range(100)) >= 500
