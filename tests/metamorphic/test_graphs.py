"""Graphs of stages that must be the same network, and graphs that must not."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from random import Random

import pytest

from flopwise.dsl import Network, load, loads
from flopwise.dsl.files import presets
from flopwise.errors import SpecError

HEAD = "spec: 1\nname: a\ninput: {size: 16}\nclasses: 10\n"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))


def network(body: str) -> Network:
    return loads(HEAD + body).network()


STEM = """
net:
  stem: {block: conv, dim: 8}
"""
TAIL = "  head: {block: classifier}\n"
CHAIN = f"{STEM}  b: {{block: conv, kernel: 5}}\n{TAIL}"
BRANCH = f"""{STEM}
  b: {{block: conv, kernel: 5}}
  c: {{block: conv, kernel: 1, from: stem}}
  s: {{block: add, from: [b, c]}}
{TAIL}"""
SAME = {
    "a stage that is left out hands on its input": (
        f"{STEM}  x: {{block: conv, dim: 9, when: false}}\n  b: {{block: conv, kernel: 5}}\n{TAIL}",
        CHAIN,
    ),
    "the first stage may be left out": (
        f"\nnet:\n  x: {{block: conv, when: false}}\n{CHAIN.partition('net:')[2].lstrip(chr(10))}",
        CHAIN,
    ),
    "the output may be left out": (
        f"{CHAIN}  more: {{block: identity, when: false}}\noutput: more\n",
        CHAIN,
    ),
    "several in a row may be left out": (
        f"{STEM}  x: {{block: conv, when: false}}\n  y: {{block: conv, when: $(1 > 2)}}\n"
        f"  b: {{block: conv, kernel: 5}}\n{TAIL}",
        CHAIN,
    ),
    "a join that is left out hands on its first input, and the rest goes with it": (
        BRANCH.replace("[b, c]}", "[b, c], when: false}"),
        CHAIN,
    ),
    "when: true says nothing": (BRANCH.replace("[b, c]}", "[b, c], when: true}"), BRANCH),
    "a sum leaves zero out": (
        BRANCH.replace("  s:", "  z: {block: zero, from: stem}\n  s:").replace("[b,", "[b, z,"),
        BRANCH,
    ),
    "a sum of one is that one": (BRANCH.replace("conv, kernel: 1", "zero"), CHAIN),
    "a sum of nothing is nothing": (
        f"{STEM}  b: {{block: conv, kernel: 5}}\n  z: {{block: zero, from: stem}}\n"
        f"  n: {{block: add, from: [z, z]}}\n  s: {{block: add, from: [n, b]}}\n{TAIL}",
        CHAIN,
    ),
    "identity is nothing": (
        BRANCH.replace("  s:", "  i: {block: identity, from: c}\n  s:").replace(", c]", ", i]"),
        BRANCH,
    ),
    "branches may stand in any order": (
        f"{STEM}  c: {{block: conv, kernel: 1, from: stem}}\n"
        f"  b: {{block: conv, kernel: 5, from: stem}}\n  s: {{block: add, from: [b, c]}}\n{TAIL}",
        BRANCH,
    ),
    "all lines may stand in any order": (
        "\nnet:\n  head: {block: classifier, from: s}\n  s: {block: add, from: [b, c]}\n"
        "  c: {block: conv, kernel: 1, from: stem}\n  b: {block: conv, kernel: 5, from: stem}\n"
        "  stem: {block: conv, dim: 8, from: input}\n",
        BRANCH,
    ),
    "which stages are features": (f"{BRANCH}features: [stem, c]\n", BRANCH),
    "the output by name": (f"{BRANCH}output: head\n", BRANCH),
    "branches that only features need stand in any order": (
        f"{CHAIN}  f: {{block: conv, dim: 3, from: stem}}\n"
        "  g: {block: conv, dim: 4, from: b}\noutput: head\nfeatures: [f, g]\n",
        f"{CHAIN}  g: {{block: conv, dim: 4, from: b}}\n"
        "  f: {block: conv, dim: 3, from: stem}\noutput: head\nfeatures: [g, f]\n",
    ),
    "a sum makes maps of tokens": (
        f"{STEM}  t: {{block: vit, heads: 2}}\n  s: {{block: add, from: [stem, t]}}\n{TAIL}",
        f"{STEM}  k: {{block: to_tokens}}\n  t: {{block: vit, heads: 2}}\n"
        f"  m: {{block: to_map}}\n  s: {{block: add, from: [stem, m]}}\n{TAIL}",
    ),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME.keys())
def test_graphs_that_are_the_same_network(one: str, other: str) -> None:
    a, b = network(one), network(other)
    assert a.hash == b.hash
    assert (a.graph.macs, a.graph.params) == (b.graph.macs, b.graph.params)
    assert sorted(a.graph.keys().values()) == sorted(b.graph.keys().values())


DEEP = f"""{STEM}
  a: {{block: conv, kernel: 5}}
  b: {{block: conv, kernel: 3}}
  s: {{block: add, from: [b, stem]}}
{TAIL}"""
DIFFERENT = {
    "a skip from somewhere else": (DEEP, DEEP.replace("[b, stem]", "[b, a]")),
    "a skip to somewhere else": (
        DEEP,
        f"{STEM}  a: {{block: conv, kernel: 5}}\n  s: {{block: add, from: [a, stem]}}\n"
        f"  b: {{block: conv, kernel: 3}}\n{TAIL}",
    ),
    "the order of what is joined": (
        DEEP.replace("add", "concat"),
        DEEP.replace("add, from: [b, stem]", "concat, from: [stem, b]"),
    ),
    "one branch read twice, and two branches": (
        BRANCH.replace("kernel: 1", "kernel: 5"),
        f"{STEM}  b: {{block: conv, kernel: 5}}\n  s: {{block: add, from: [b, b]}}\n{TAIL}",
    ),
    "zeros beside a map, and the map alone": (
        f"{STEM}  z: {{block: zero}}\n  s: {{block: concat, from: [stem, z]}}\n{TAIL}",
        f"{STEM}{TAIL}",
    ),
    "a layer that only a feature needs": (
        CHAIN,
        f"{CHAIN}  f: {{block: conv, dim: 3, from: stem}}\noutput: head\nfeatures: [f]\n",
    ),
    "a sum and a product": (DEEP, DEEP.replace("add", "mul")),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_graphs_that_are_different_networks(one: str, other: str) -> None:
    assert network(one).hash != network(other).hash


@pytest.mark.parametrize("order", list(permutations(["stem", "b", "c", "s", "head"]))[::7])
def test_no_order_of_lines_matters_where_everything_is_wired(order: tuple[str, ...]) -> None:
    lines = {
        "stem": "{block: conv, dim: 8, from: input}",
        "b": "{block: conv, kernel: 5, from: stem}",
        "c": "{block: conv, kernel: 1, from: stem}",
        "s": "{block: add, from: [b, c]}",
        "head": "{block: classifier, from: s}",
    }
    body = "net:\n" + "\n".join(f"  {name}: {lines[name]}" for name in order) + "\n"
    assert network(body).hash == network(BRANCH).hash


OPS = {
    "none": "zero",
    "skip_connect": "identity",
    "nor_conv_1x1": "conv, kernel: 1, norm: bn, act: relu",
    "nor_conv_3x3": "conv, kernel: 3, norm: bn, act: relu",
    "avg_pool_3x3": "avgpool, kernel: 3",
}
CELL = (
    "blocks:\n"
    + "".join(f"  {name}:\n    net: {{op: {{block: {op}}}}}\n" for name, op in OPS.items())
    + """
net:
  stem: {block: conv, dim: 8, norm: bn}
  e01: {block: $op01}
  e02: {block: $op02, from: stem}
  e12: {block: $op12, from: e01}
  n2:  {block: add, from: [e02, e12]}
  e03: {block: $op03, from: stem}
  e13: {block: $op13, from: e01}
  e23: {block: $op23, from: n2}
  n3:  {block: add, from: [e03, e13, e23]}
  head: {block: classifier}
"""
)
EDGES = ("op01", "op02", "op12", "op03", "op13", "op23")


def reduced(ops: dict[str, str]) -> str | None:
    """Writes a cell of NAS-Bench-201 without its absent edges; None if nothing is left of it.

    Raises:
        ValueError: A layer reads what is absent; it then stays, over zeros.
    """
    lines = ["net:", "  stem: {block: conv, dim: 8, norm: bn}"]
    nodes: dict[int, str | None] = {0: "stem"}
    for node, sources in ((1, (0,)), (2, (0, 1)), (3, (0, 1, 2))):
        parts = []
        for source in sources:
            op, read = ops[f"op{source}{node}"], nodes[source]
            if op == "none" or (read is None and op == "skip_connect"):
                continue
            if read is None:
                raise ValueError("a layer over zeros")
            if op == "skip_connect":
                parts.append(read)
                continue
            parts.append(f"e{source}{node}")
            lines.append(f"  e{source}{node}: {{block: {OPS[op]}, from: {read}}}")
        nodes[node] = f"n{node}" if len(parts) > 1 else parts[0] if parts else None
        if len(parts) > 1:
            lines.append(f"  n{node}: {{block: add, from: [{', '.join(parts)}]}}")
    if nodes[3] is None:
        return None
    return _used("\n".join([*lines, f"  head: {{block: classifier, from: {nodes[3]}}}", ""]))


def _used(body: str) -> str:
    """Takes away the stages that nothing reads."""
    lines = body.splitlines()
    while True:
        reads = [re.split(r"\W+", line.partition("from:")[2]) for line in lines]
        used = {word for words in reads for word in words} | {"net", "head"}
        kept = [line for line in lines if line.split(":")[0].strip() in used]
        if kept == lines:
            return body
        lines, body = kept, "\n".join([*kept, ""])


def test_cells_of_a_topology_space_are_known_by_what_is_left_of_them() -> None:
    random = Random(0)
    written = dict.fromkeys(EDGES, "nor_conv_3x3")
    spec = loads(HEAD + f"vars: {{{', '.join(f'{k}: {v}' for k, v in written.items())}}}\n" + CELL)
    for _ in range(150):
        ops = {edge: random.choice(list(OPS)) for edge in EDGES}
        try:
            wanted = reduced(ops)
        except ValueError:
            continue
        if wanted is None:
            with pytest.raises(SpecError) as caught:
                spec.network(ops)
            assert [fault.code for fault in caught.value.faults] == ["E315"]
            continue
        found, flat = spec.network(ops), network(wanted)
        assert found.hash == flat.hash, ops
        assert found.graph.macs == flat.graph.macs
        assert found.graph.params == flat.graph.params


SEARCHED = """
vars: {deep: true, op: conv}
net:
  stem: {block: conv, dim: 16}
  a: {block: conv, dim: 16, when: $deep}
  b: {block: $op, from: stem}
  s: {block: add, from: [a, b]}
  head: {block: classifier}
search:
  space:
    deep: {choice: [true, false]}
    op: {choice: [conv, zero, identity]}
    net.b.when: {choice: [true, false]}
"""


def test_whether_a_stage_is_there_may_be_searched() -> None:
    spec = loads(HEAD + SEARCHED)
    assert spec.value("net.b.when") is True
    for picks in (
        {"deep": False},
        {"net.b.when": False},
        {"net.b.when": False, "deep": False},
        {"op": "zero", "deep": False},
        {"op": "identity", "net.a.when": False},
    ):
        sets = [(path, str(value).lower()) for path, value in picks.items()]
        found, written = spec.network(picks), loads(HEAD + SEARCHED, sets=sets)
        assert found.hash == written.network().hash
        again = loads(spec.render(picks))
        assert again.network().hash == found.hash
        assert again.network().graph.keys() == found.graph.keys()
    assert written.value("net.a.when") is False
    assert spec.probe(draws=30).looked == 33


def test_the_graph_of_stages_is_one_of_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    graph = network(BRANCH.replace("[b, c]", "[b, c, b]")).stage_graph()
    assert networkx.is_directed_acyclic_graph(graph)
    assert set(graph) == {"input", "stem", "b", "c", "s", "head"}
    assert graph.edges["b", "s"]["ports"] == (0, 2)
    assert graph.nodes["b"] | {"macs": 0} == {
        "block": "conv", "depth": 1, "shape": (8, 16, 16), "kind": "map", "macs": 0, "params": 1608,
    }  # fmt: skip
    assert networkx.ancestors(graph, "head") == set(graph) - {"head"}


@pytest.mark.parametrize("path", [*(f"std/{name}" for name in presets()), *map(str, EXAMPLES)])
def test_every_shipped_spec_resolves_to_a_fixed_point(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not loadable(path):
        return
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if not path.startswith("std/"):
        monkeypatch.chdir(Path(path).parent)  # what it uses is found from there
    spec = load(path, allow_code=True)
    text = spec.render()
    again = loads(text, allow_code=True)
    assert again.render() == text
    assert again.network().hash == spec.network().hash
    assert list(again.network().graph.keys().items()) == list(spec.network().graph.keys().items())


def loadable(path: str) -> bool:
    """Whether a file is a spec; examples hold other YAML too."""
    return path.startswith("std/") or "spec: 1" in Path(path).read_text()
