"""Cost tables against the graph's own count, and uniform draws against brute force."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flopwise.dsl import Spec, loads
from flopwise.dsl.spent import Unsteady
from flopwise.search.candidates import Candidate, Candidates, made
from flopwise.search.identity import judge
from flopwise.spaces import METRICS, FeasibleSpace, cost_tables

HEAD = """
spec: 1
name: net
input: {{size: 16, channels: 1}}
classes: 4
vars: {{a: 8, b: 2, c: false, e: [x, y], f: 2, act: "$('relu' if c else 'gelu')"}}
net:
{net}
search:
  space:
{space}
{rest}
"""
CONV = """
  stem: {{block: conv, dim: $a, stride: 2}}
  body: {{block: basic, dim: "$(8 + 8 * len(e))", depth: "{depth}", act: $act}}
  last: {{block: convnext, dim: $(2*a), depth: $b, expand: $(1+f), stride: 2}}
  head: {{block: classifier}}
"""
VIT = """
  stem: {{block: patchify, patch: 4, dim: $(8*f)}}
  body: {{block: vit, depth: "{depth}", heads: $b, mlp: $(1.0*f)}}
  last: {{block: vit, heads: "$(2 if c else 4)"}}
  head: {{block: classifier, pool: avg}}
"""
HYBRID = """
  stem:  {{block: conv, dim: $a, stride: 2}}
  body:  {{block: basic, dim: $(8*f), depth: "{depth}", act: $act}}
  extra: {{block: convnext, depth: 1, kernel: 3, when: $c}}
  side:  {{block: conv, dim: $(8*f), kernel: $(2*b-1), from: stem}}
  sum:   {{block: {join}, from: [extra, side]}}
  toks:  {{block: vit, heads: "$(1 if c else 2)", depth: $b}}
  head:  {{block: classifier, pool: avg}}
"""
DEPTHS = ("$b", "$(b + f)", "$(2 if c else 3)", "$(1 + len(e))")
DOMAINS = {
    "a": "range: [8, 24], step: 8",
    "b": "range: [1, 3]",
    "c": "choice: [true, false]",
    "e": "subset: [x, y, z], min: 1",
    "f": "choice: [1, 2, 3]",
    "train.lr": "choice: [0.1, 0.01]",
}
CONDITIONS = {
    "c": ["b > 2", "a > 8"],
    "b": ["a > 8"],
    "e": ["c", "b == 3", "a > 8 or b > 1"],
    "f": ["c or b > 1"],
    "train.lr": ["f > 1"],
}
REQUIRED = (
    "$(a * f <= 32)",
    "$(depth_total <= 5)",
    "$(net.body.depth + b <= 5)",
    "$(params < 60000)",
    "$(macs / params > 20)",
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Returns a spec with a random space: tied, conditional, per repetition, required."""
    net = draw(st.sampled_from([CONV, VIT, HYBRID]))
    text = net.format(
        depth=draw(st.sampled_from(DEPTHS)), join=draw(st.sampled_from(["add", "concat"]))
    )
    names = draw(st.lists(st.sampled_from(list(DOMAINS)), min_size=1, max_size=5, unique=True))
    lines = []
    for name in names:
        when = draw(st.sampled_from([None, None, *CONDITIONS.get(name, ())]))
        lines.append(f"    {name}: {{{DOMAINS[name]}{f', when: $({when})' if when else ''}}}")
    single = "mlp: {choice: [1, 2]}" if net is VIT else "norm: {choice: [bn, ln]}"
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), f"    net.body[*].{single}")
    needed = draw(st.sampled_from(["", *REQUIRED]))
    rest = f"  require: [{needed}]\n" if needed else ""
    return loads(HEAD.format(net=text, space="\n".join(lines), rest=rest))


def all_picks(spec: Spec) -> dict[str, dict[str, object]]:
    """Returns every distinct set of picks that count, by its spelling."""
    assert spec.search
    axes = [domain.values() for domain in spec.search.space.values()]
    points = (dict(zip(spec.search.space, values, strict=True)) for values in product(*axes))
    return {made(picks): picks for picks in map(spec.active, points)}


@cache
def all_feasible(spec: Spec) -> dict[str, Candidate]:
    """Returns every feasible candidate, found by tracing each one."""
    assert spec.search
    look = judge(spec, spec.search)
    judged = (look(picks) for picks in all_picks(spec).values())
    return {made(each.picks): each for each in judged if each.feasible}


@given(spec=specs(), seed=st.integers(0, 2**20))
@settings(max_examples=20)
def test_tables_equal_the_graph(spec: Spec, seed: int) -> None:
    assert spec.search
    every = all_picks(spec)
    assume(len(every) < 2000 and "" not in every)
    tables = cost_tables(spec)
    assert tables.size == len(every)
    look = judge(spec, spec.search)
    rng = np.random.default_rng(seed)
    some = [every[key] for key in rng.permutation(sorted(every))[:25]]
    found = tables.batch(tables.encode(some))
    assert tables.decode(tables.encode(some)) == some
    for at, picks in enumerate(some):
        candidate, costs = look(picks), tables.costs(picks)
        counted = {metric: costs[metric] for metric in METRICS[:3]} if costs else {}
        assert counted == candidate.costs
        assert found.built[at] == bool(counted)
        if costs:
            assert list(costs.values()) == found.costs[:, at].tolist()
            assert costs["depth_total"] == spec.network(picks).depth_total


CELL = """
spec: 1
name: cells
input: {size: 8, channels: 1}
classes: 4
vars: {a: conv, b: conv, c: conv, d: conv, w: 4}
blocks:
  edge:
    params: {op: {type: choice, choices: [none, skip, conv, pool]}}
    kind: map
    net:
      none: {block: zero, when: $(op == 'none')}
      conv: {block: conv, dim: $input.channels, norm: bn, when: $(op == 'conv')}
      pool: {block: avgpool, kernel: 3, stride: 1, when: $(op == 'pool')}
  cell:
    kind: map
    params: {a: {type: text}, b: {type: text}, c: {type: text}, d: {type: text}}
    net:
      node: {block: edge, op: $a, from: input}
      far:  {block: edge, op: $b, from: input}
      near: {block: edge, op: $c, from: node}
      wide: {block: conv, dim: $(input.channels * 2), from: near}
      thin: {block: conv, dim: $input.channels, kernel: 1, from: wide}
      out:  {block: add, from: [far, thin, node]}
      last: {block: edge, op: $d}
defaults: {cell: {a: $a, b: $b, c: $c, d: $d}}
net:
  stem:   {block: conv, dim: $w}
  first:  {block: cell, depth: 3}
  down:   {block: conv, dim: $(2*w), stride: 2}
  second: {block: cell}
  head:   {block: classifier, pool: avg}
search:
  space:
    a: {choice: [none, skip, conv]}
    b: {choice: [none, conv, pool]}
    c: {choice: [none, skip, conv]}
    d: {choice: [none, skip, conv]}
    w: {choice: [4, 8]}
"""


def test_tables_of_cells_leave_out_what_reaches_no_output() -> None:
    spec = loads(CELL)
    assert spec.search
    tables, look = cost_tables(spec), judge(spec, spec.search)
    every = list(all_picks(spec).values())
    assert tables.size == len(every) == 162
    found = tables.batch(tables.encode(every))
    for at, picks in enumerate(every):
        counted = look(picks).costs
        assert found.built[at] == bool(counted), picks
        assert not counted or found.costs[:3, at].tolist() == list(counted.values()), picks
    assert 0 < tables.buildable < len(every)


@given(spec=specs())
@settings(max_examples=8)
def test_the_feasible_are_counted_as_brute_force_counts_them(spec: Spec) -> None:
    assume("" not in (every := all_picks(spec)) and len(every) < 120)
    assert spec.search
    space = FeasibleSpace(cost_tables(spec), spec.search)
    share, feasible = space.share(), all_feasible(spec)
    assert share.exact and share.low == len(feasible) and share.of == len(every)
    sample = space.sample()
    assert {made(picks) for picks in space.tables.decode(sample.codes)} == set(feasible)


def small(net: str, space: str, rest: str = "") -> str:
    lines = "\n".join(f"    {line.strip()}" for line in space.split(";"))
    return HEAD.format(net=net.format(depth="$b", join="add"), space=lines, rest=rest)


A, B, C, F = (f"{name}: {{{DOMAINS[name]}}}" for name in "abcf")
WIDER = "a: {range: [8, 40], step: 4}"
SPACES = {
    "chain": small(CONV, f"{WIDER}; {B}; {F}", "  budget: {macs: {min: 1.2M, max: 2.9M}}"),
    "conditional": small(
        CONV,
        f"{WIDER}; {B}; f: {{choice: [1, 2, 3], when: $(b > 1)}}; "
        "net.body[*].norm: {choice: [bn, ln]}",
        "  budget: {macs: {min: 1.8M, max: 3M}}",
    ),
    "tied": small(
        VIT, f"{B}; {F}; {C}; classes: {{range: [2, 9]}}", "  budget: {params: {max: 30k}}"
    ),
    "two windows": small(
        CONV,
        f"{WIDER}; {B}; {F}; {C}; classes: {{range: [2, 5]}}",
        "  budget: {macs: {min: 1.2M, max: 2.2M}, params: {min: 40k, max: 70k}}",
    ),
    "two narrow windows": small(
        CONV,
        f"{WIDER}; {B}; {F}; {C}; classes: {{range: [2, 6]}}",
        "  budget: {macs: {min: 1.6M, max: 2.2M}, params: {min: 20k, max: 40k}}",
    ),
    "three narrow windows": small(
        CONV,
        f"{WIDER}; {B}; {F}; {C}; classes: {{range: [2, 6]}}",
        "  budget: {macs: {min: 1.6M, max: 2.2M}, params: {min: 20k, max: 40k}, "
        "activations: {min: 14.597k, max: 16.132k}}",
    ),
    "a narrow cap": small(
        CONV,
        f"{WIDER}; {B}; {F}; {C}; classes: {{range: [2, 6]}}",
        "  budget: {macs: {min: 1.8M, max: 2.4M}, params: {max: 40k}}",
    ),
    "required": small(
        CONV, f"{WIDER}; {B}; {F}", "  require: [$(net.body.depth + f <= 4), $(macs / params > 12)]"
    ),
    "skips": small(HYBRID, f"{WIDER}; {B}; {F}; {C}", "  budget: {macs: {max: 1.2M}}"),
    "fit": small(
        CONV,
        f"{B}; {F}; {C}; classes: {{range: [2, 4]}}",
        "  fit: {vary: a, range: [8, 40], step: 4, to: {macs: 1.5M}, within: 15%}",
    ),
}
LEFT_OUT = HYBRID.replace("from: [extra, side]", 'from: [extra, side], when: "$(f > 1)"')
TRACED = small(
    LEFT_OUT,
    f"{WIDER}; {B}; {F}; net.extra.kernel: {{choice: [3, 5, 7], when: $c}}; {C}",
    "  budget: {macs: {max: 1.2M}}",
)


@cache
def spec_of(name: str) -> Spec:
    """Returns one of the small spaces, read once."""
    return loads(SPACES[name])


def even(drawn: list[str], feasible: set[str]) -> None:
    """Asserts that draws hit exactly the feasible, each equally often."""
    counts = Counter(drawn)
    assert set(counts) == feasible
    expected, freedom = len(drawn) / len(feasible), len(feasible) - 1
    chi2 = sum((many - expected) ** 2 / expected for many in counts.values())
    assert abs(chi2 - freedom) < 5 * sqrt(2 * freedom)


@pytest.mark.parametrize("most", [0, 10**6], ids=["counted", "listed"])
@pytest.mark.parametrize("name", SPACES)
def test_draws_are_uniform_over_exactly_the_feasible(name: str, most: int) -> None:
    spec = spec_of(name)
    assert spec.search
    feasible = set(all_feasible(spec))
    assert len(feasible) > 10
    space = FeasibleSpace(cost_tables(spec), spec.search, most=most)
    assert space.method == ("listed" if most else "counted")
    if "narrow" in name and not most:
        assert len(space.metrics) == 2, "two windows are counted at once"
    rng = np.random.default_rng(7)
    count = (12 if name == "fit" else 30) * len(feasible)
    drawn = space.draw(rng, count)
    even([made(picks) for picks in space.picks(drawn.codes, rng)], feasible)
    costs = space.tables.batch(drawn.codes).costs
    assert (costs == drawn.costs).all()
    share = space.share(4000)
    assert share.low <= len(feasible) <= share.high
    assert abs(share.estimate - len(feasible)) <= 5 * share.error
    assert share.of == len(all_picks(spec))


def test_without_tables_draws_are_uniform_too() -> None:
    spec = loads(TRACED)
    assert spec.search
    with pytest.raises(Unsteady, match="may be left out and reads several"):
        cost_tables(spec)
    feasible = all_feasible(spec)
    look = judge(spec, spec.search)
    candidates = Candidates(spec.search.space, look, conditional=spec.search.when)
    rng = np.random.default_rng(3)
    found = [candidates.find(rng, ()) for _ in range(20 * len(feasible))]
    even([made(each.picks) for each in found if each], set(feasible))


def test_a_search_finds_each_feasible_candidate_once() -> None:
    spec = spec_of("conditional")
    assert spec.search
    look = judge(spec, spec.search)
    feasible = {each.identity for each in all_feasible(spec).values()}
    space = FeasibleSpace(cost_tables(spec), spec.search)
    candidates = Candidates(spec.search.space, look, conditional=spec.search.when, feasible=space)
    tried: set[str] = set()
    rng = np.random.default_rng(0)
    while found := candidates.find(rng, tried):
        assert found.identity not in tried
        tried.add(found.identity)
    assert tried == feasible
    probe = candidates.probe()
    assert probe.complete and probe.feasible == len(all_feasible(spec))


ENDLESS = small(CONV, f"{A}; {B}; train.lr: {{range: [0.001, 0.1], log: true}}")


def test_what_has_no_steps_is_drawn_by_its_domain_unless_networks_depend_on_it() -> None:
    spec = loads(ENDLESS)
    assert spec.search
    space = FeasibleSpace(cost_tables(spec), spec.search)
    share, rng = space.share(), np.random.default_rng(0)
    assert share.size == float("inf") and share.exact and share.low == share.of == 9
    drawn = space.picks(space.draw(rng, 500).codes, rng)
    rates = [picks["train.lr"] for picks in drawn]
    assert len(set(rates)) == 500 and min(rates) >= 0.001 and max(rates) <= 0.1
    net = CONV.replace("$(1+f)", "$g")
    text = small(net, "g: {range: [1.0, 4.0]}").replace("f: 2,", "f: 2, g: 2.0,")
    with pytest.raises(Unsteady, match="'g' has endlessly many values"):
        cost_tables(loads(text))
