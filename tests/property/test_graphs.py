"""Random graphs of stages: known by their wiring, and kept by their resolved form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from flopwise.dsl import Network, Spec, loads
from flopwise.errors import SpecError

HEAD = "spec: 1\nname: drawn\ninput: {size: 16}\nclasses: 10\n"
FIRE = """
blocks:
  fire:
    params: {dim: int}
    net:
      s: {block: conv, dim: $(dim // 2), kernel: 1, norm: bn}
      a: {block: conv, dim: $dim, kernel: 1, from: s}
      b: {block: conv, dim: $dim, from: s}
      out: {block: add, from: [a, b]}
"""
ONE = (
    "{block: conv, dim: 8, kernel: 3, from: %s}",
    "{block: conv, dim: 8, kernel: 5, norm: bn, from: %s}",
    "{block: basic, dim: 8, depth: 2, from: %s}",
    "{block: fire, dim: 8, from: %s}",
    "{block: vit, heads: 2, dim: 8, from: %s}",
    "{block: zero, from: %s}",
    "{block: identity, from: %s}",
    "{block: maxpool, from: %s}",
    "{block: conv, kernel: 1, from: %s, when: false}",
)
SEVERAL = (
    "{block: add, from: [%s]}",
    "{block: add, from: [%s], when: false}",
    "{block: mul, from: [%s]}",
    "{block: concat, from: [%s]}",
)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, str], list[str]]:
    """Draws stages by name, all of 8 channels and wired by name, and which are features."""
    stages = {"s0": "{block: conv, dim: 8, from: input}"}
    for number in range(1, draw(st.integers(2, 9))):
        narrow = sorted(name for name in stages if name.startswith("s"))
        reads = draw(st.lists(st.sampled_from(narrow), min_size=1, max_size=3))
        if len(reads) == 1:
            stages[f"s{number}"] = draw(st.sampled_from(ONE)) % reads[0]
            continue
        said = draw(st.sampled_from(SEVERAL)) % ", ".join(reads)
        stages[f"s{number}"] = said
        if "concat" in said:
            stages[f"s{number}"] = f"{{block: conv, dim: 8, kernel: 1, from: c{number}}}"
            stages[f"c{number}"] = said
    features = draw(st.lists(st.sampled_from(sorted(stages)), max_size=2, unique=True))
    read = {word for said in stages.values() for word in _reads(said)}
    ends = [name for name in stages if name not in read and name not in features]
    last = "s0" if not ends else ends[0]
    for number, end in enumerate(ends[1:]):
        stages[f"j{number}"] = f"{{block: add, from: [{last}, {end}]}}"
        last = f"j{number}"
    return {**stages, "head": f"{{block: classifier, from: {last}}}"}, features


def _reads(said: str) -> list[str]:
    return re.findall(r"\w+", said.partition("from:")[2])


def spec(stages: Mapping[str, str], features: list[str]) -> Spec:
    lines = [f"  {name}: {said}" for name, said in stages.items()]
    ends = f"output: head\nfeatures: [{', '.join(features)}]\n" if features else "output: head\n"
    return loads("\n".join([HEAD + FIRE, "net:", *lines, ends]))


def built(stages: Mapping[str, str], features: list[str]) -> Network | None:
    """Returns the network of a graph; None where its output does not depend on the image."""
    try:
        return spec(stages, features).network()
    except SpecError as error:
        assert {fault.code for fault in error.faults} <= {"E315"}, str(error)
        return None


@given(graph=graphs())
@settings(max_examples=150, deadline=None)
def test_a_resolved_graph_is_a_fixed_point(graph: tuple[dict[str, str], list[str]]) -> None:
    if built(*graph) is None:
        return
    whole = spec(*graph)
    text = whole.render()
    again = loads(text)
    assert again.render() == text
    assert again.network().hash == whole.network().hash
    assert list(again.network().graph.keys().items()) == list(whole.network().graph.keys().items())
    assert again.network().types.keys() >= whole.network().types.keys()


@given(graph=graphs(), seed=st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_names_and_the_order_of_lines_leave_the_hash(
    graph: tuple[dict[str, str], list[str]], seed: int
) -> None:
    wanted = built(*graph)
    stages, features = graph
    order = list(stages)
    Random(seed).shuffle(order)
    names = {name: f"x{number}" for number, name in enumerate(order)} | {"head": "head"}

    def renamed(said: str) -> str:
        head, _, reads = said.partition("from:")
        return f"{head}from:" + re.sub(r"\w+", lambda m: names.get(m[0], m[0]), reads)

    found = built({names[n]: renamed(stages[n]) for n in order}, [names[f] for f in features])
    assert (found is None) == (wanted is None)
    if found and wanted:
        assert found.hash == wanted.hash
        assert (found.graph.macs, found.graph.params) == (wanted.graph.macs, wanted.graph.params)


@given(graph=graphs(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_another_number_is_another_network(
    graph: tuple[dict[str, str], list[str]], data: st.DataObject
) -> None:
    stages, features = graph
    network = built(stages, features)
    numbers = [name for name, said in stages.items() if "conv, dim: 8, kernel" in said]
    if network is None or not numbers:
        return
    name = data.draw(st.sampled_from(numbers))
    changed = re.sub(r"kernel: \d", "kernel: 7", stages[name])
    other = built({**stages, name: changed}, features)
    assert other is not None
    alive = any(layer.name == name for layer in network.graph.layers)
    assert (other.hash != network.hash) == alive


@given(graph=graphs())
@settings(max_examples=60, deadline=None)
def test_dead_stages_cost_nothing(graph: tuple[dict[str, str], list[str]]) -> None:
    network = built(*graph)
    if network is None:
        return
    layers = {layer.name for layer in network.graph.layers}
    stages = {stage.name for stage in network.stages}
    assert {name for name in layers if name} <= stages
    assert network.graph.params == sum(layer.params for _, layer in network.graph.walk())
    assert network.graph.macs == sum(layer.macs for _, layer in network.graph.walk())
    assert network.graph.flat().macs == network.graph.macs
