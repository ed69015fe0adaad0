"""Random spaces: picks are valid, conditions mean what they say, a fit is as good as trying all."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flopwise.dsl import Choice, Dice, Domain, Permutation, Range, Spec, Subset, loads
from flopwise.dsl.fitting import Look, solve
from flopwise.dsl.space import Fit, Window
from flopwise.errors import SpecError
from flopwise.search.encoding import decode, encode, parameters

SPEC = """
spec: 1
name: net
input: {{size: 8, channels: 1}}
classes: 4
vars: {{a: 8, b: 2, c: false, e: [x, y], f: {f}, act: "$('relu' if c else 'gelu')"}}
net:
  stem: {{block: conv, dim: $a}}
  body: {{block: basic, dim: "$(8 + 8 * len(e))", depth: "{depth}", act: $act}}
  head: {{block: classifier}}
search:
  space:
{lines}
"""


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """Returns a domain of any kind."""
    kind = draw(st.sampled_from(["choice", "lists", "range", "decimal", "subset", "permutation"]))
    elements = tuple(draw(st.lists(st.integers(0, 30), min_size=1, max_size=5, unique=True)))
    if kind == "choice":
        return Choice(elements)
    if kind == "lists":
        lists = st.lists(st.integers(0, 5), max_size=3).map(tuple)
        return Choice((*draw(st.lists(lists, min_size=1, max_size=4, unique=True)), "text"))
    if kind == "range":
        low, step, count = (draw(st.integers(1, 9)) for _ in range(3))
        return Range(low, low + step * count, step)
    if kind == "decimal":
        return Range(0.001, draw(st.floats(0.01, 10)), None, draw(st.booleans()))
    if kind == "permutation":
        return Permutation(elements)
    least = draw(st.integers(0, len(elements)))
    return Subset(elements, least, draw(st.integers(least, len(elements))))


@given(domain=domains(), seed=st.integers(0, 2**20))
def test_what_is_drawn_is_in_the_domain_and_survives_the_sampler(domain: Domain, seed: int) -> None:
    random = Random(seed)
    value = domain.draw(Dice(random.randrange, random.uniform))
    assert domain.contains(value) and all(domain.contains(end) for end in domain.ends())
    found = encode("target", domain, value)
    known = parameters("target", domain)
    assert found.keys() == known.keys()
    assert all(known[name]._contains(known[name].to_internal_repr(v)) for name, v in found.items())
    assert decode("target", domain, found) == value


@given(domain=domains(), seed=st.integers(0, 2**20))
def test_whatever_a_sampler_proposes_is_in_the_domain(domain: Domain, seed: int) -> None:
    random = Random(seed)
    found: dict[str, Any] = {}
    for name, known in parameters("target", domain).items():
        choices = getattr(known, "choices", None)
        if choices is not None:
            found[name] = random.choice(choices)
        else:
            found[name] = domain.draw(Dice(random.randrange, random.uniform))
            if isinstance(domain, Permutation):
                found[name] = random.random()
    value = decode("target", domain, found)
    assert value is not None and domain.contains(value)
    assert decode("target", domain, found) == value


CONDITIONS = {"c": ["b > 2", "a > 8"], "b": ["a > 8"], "e": ["c", "b == 3", "a > 8 or b > 1"]}


@st.composite
def spaces(draw: st.DrawFn) -> tuple[Spec, dict[str, str]]:
    """Returns a spec with a random conditional space, and its conditions."""
    lines = {
        "a": "{range: [8, 24], step: 8}",
        "b": "{range: [1, 4]}",
        "c": "{choice: [true, false]}",
        "e": "{subset: [x, y, z], min: 1}",
    }
    names = draw(st.permutations([name for name in lines if draw(st.booleans())] or ["a"]))
    conditions = {
        name: draw(st.sampled_from(CONDITIONS[name]))
        for name in names
        if name in CONDITIONS and draw(st.booleans())
    }
    written = []
    for name in names:
        when = f', when: "$({conditions[name]})"' if name in conditions else ""
        written.append(f"    {name}: {lines[name][:-1]}{when}}}")
    if draw(st.booleans()):
        written.insert(
            draw(st.integers(0, len(written))), "    net.body[*].norm: {choice: [bn, ln]}"
        )
    depth = draw(st.sampled_from(["$b", "$(b + f)", "$(2 if c else 3)", "$(1 + len(e))"]))
    text = SPEC.format(f=draw(st.integers(1, 2)), depth=depth, lines="\n".join(written))
    return loads(text), conditions


@given(space=spaces(), seed=st.integers(0, 2**20))
@settings(max_examples=60)
def test_what_counts_is_what_the_conditions_say(
    space: tuple[Spec, dict[str, str]], seed: int
) -> None:
    spec, conditions = space
    random = Random(seed)
    dice = Dice(random.randrange, random.uniform)
    assert spec.search is not None
    picks = {name: domain.draw(dice) for name, domain in spec.search.space.items()}
    active = spec.active(picks)
    network = spec.network(active)  # whatever is drawn can be built
    values = network.values
    for name in picks:
        if name in conditions:
            told = eval(conditions[name], {}, dict(values))  # the same words mean the same here
            assert (name in active) == bool(told)
        elif name.startswith("net.body["):
            index = int(name.partition("[")[2].partition("]")[0])
            body = network.stages[1]
            assert (name in active) == (index < body.depth)
            if name in active:
                assert body.settings[index]["norm"] == picks[name]
        else:
            assert name in active
    deepest = [int(n.partition("[")[2].partition("]")[0]) for n in picks if "[" in n]
    assert not deepest or network.stages[1].depth <= max(deepest) + 1
    assert spec.active(active) == active
    written = {"a": 8, "b": 2, "c": False, "e": ("x", "y")}
    for name in picks.keys() & written.keys():
        assert values[name] == (picks[name] if name in active else written[name])


@given(
    costs=st.lists(st.integers(1, 500), min_size=2, max_size=60),
    way=st.sampled_from(["grows", "falls", "wild"]),
    goal=st.integers(1, 500),
    within=st.floats(0.0, 0.5),
    holes=st.sets(st.integers(0, 59)),
    refused=st.sets(st.integers(0, 59)),
)
@settings(max_examples=300)
def test_a_fit_is_as_good_as_trying_every_value(
    costs: list[int], way: str, goal: int, within: float, holes: set[int], refused: set[int]
) -> None:
    if way != "wild":
        costs = sorted(costs, reverse=way == "falls")
    domain = Range(1, len(costs), 1)
    fit = Fit(vary="w", domain=domain, metric="macs", goal=goal, window=Window.around(goal, within))
    looked: list[int] = []

    def look(value: int) -> Look | None:
        looked.append(value)
        if value - 1 in holes:
            return None
        cost = costs[value - 1]
        reasons = [] if fit.window.contains(cost) and value - 1 not in refused else ["no"]
        return Look(picks={"w": value}, costs={"macs": cost}, reasons=reasons)

    found = solve(fit, look)
    assert len(looked) == len(set(looked))
    every = [each for value in domain.values() if (each := look(value))]
    good = [each for each in every if not each.reasons]
    if found is None:
        assert not every
    elif way != "wild":  # a wild cost may hide a value between two that look tame
        assert bool(good) == (not found.reasons)
        nearest = min((abs(e.costs["macs"] - goal) for e in good), default=None)
        assert nearest is None or abs(found.costs["macs"] - goal) == nearest
    else:
        assert found.reasons or fit.window.contains(found.costs["macs"])


@given(
    width=st.integers(2, 6),
    depth=st.integers(1, 3),
    goal=st.integers(50_000, 5_000_000),
    within=st.sampled_from([0.01, 0.05, 0.3]),
)
@settings(max_examples=25)
def test_a_fitted_spec_is_within_its_window_wherever_some_value_is(
    width: int, depth: int, goal: int, within: float
) -> None:
    text = SPEC.format(f=1, depth="$b", lines="    b: {range: [1, 3]}")
    text += f"  fit: {{vary: a, range: [{width}, 40], to: {{macs: {goal}}}, within: {within}}}\n"
    try:
        spec = loads(text)
    except SpecError as error:  # a step too few
        raise AssertionError(str(error)) from error
    assert spec.search is not None and spec.search.fit is not None
    window = spec.search.fit.window
    macs = {a: spec.network({"a": a, "b": depth}).graph.macs for a in range(width, 41)}
    solved = spec.fitted({"b": depth})["a"]
    assert window.contains(macs[int(solved)]) == any(map(window.contains, macs.values()))  # type: ignore[call-overload]
    if window.contains(macs[int(solved)]):  # type: ignore[call-overload]
        assert abs(macs[solved] - goal) == min(abs(each - goal) for each in macs.values())  # type: ignore[index]


def test_all_points_of_a_small_space_agree_with_the_network_they_make() -> None:
    lines = "    b: {range: [1, 3]}\n    c: {choice: [true, false], when: $(b > 1)}"
    spec = loads(SPEC.format(f=1, depth="$b", lines=lines))
    hashes = {
        (b, c): spec.network(spec.active({"b": b, "c": c})).hash
        for b, c in product((1, 2, 3), (True, False))
    }
    assert hashes[1, True] == hashes[1, False] and len(set(hashes.values())) == 5
