"""What may vary under which condition, how deep a stage gets, and what a fit solves."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

import pytest

from flopwise.dsl import Choice, Dice, Domain, Permutation, Range, Spec, Subset, loads
from flopwise.errors import SpecError
from flopwise.report.warned import warned

HEAD = """
spec: 1
name: tiny
input: {size: 16, channels: 1}
classes: 10
vars: {w: 16, d: 2, k: 3, se: false, r: 0.25, used: [a, b], order: [a, b, c], dims: [16, 32]}
net:
  stem: {block: conv_stem, dim: $w, kernel: $k, stride: 1}
  body: {block: basic, dim: "$(w + 8 * len(used))", depth: $d, act: relu, se: "$(r if se else 0.0)"}
  last: {block: basic, dim: "$(dims[1] + (8 if order[0] == 'c' else 0))"}
  head: {block: classifier}
search:
"""


def spec_of(section: str) -> Spec:
    return loads(HEAD + section, name="tiny.yaml")


CONDITIONAL = """
  space:
    r: {choice: [0.125, 0.25], when: $se}
    se: {choice: [true, false]}
    k: {choice: [3, 5], when: $(big and not se)}
    w: {range: [8, 32], step: 8}
""".replace("$(big and", "$(w > 8 and")


SEVERAL = """
  space:
    w: {range: [8, 32], step: 8}
    net.body.depth: {range: [1, 3]}
    net.body[0].kernel: {choice: [1, 3]}
"""


@pytest.mark.parametrize(
    ("change", "value", "changed"),
    [
        ("net.body.depth", "null", {"net.body.depth": None}),
        ("net.body.depth", "{range: null, choice: [2, 4]}", {"net.body.depth": Choice((2, 4))}),
        ("net.body.depth.range", "[2, 5]", {"net.body.depth": Range(2, 5, 1)}),
        ("net.body[0].kernel.choice", "[3, 5]", {"net.body[0].kernel": Choice((3, 5))}),
        ("net.last.dim", "{choice: [8, 16]}", {"net.last.dim": Choice((8, 16))}),
        ("w", "null", {"w": None}),
    ],
)
def test_a_change_reaches_targets_that_are_paths(
    change: str, value: str, changed: dict[str, Domain | None]
) -> None:
    before = spec_of(SEVERAL).search.space
    after = loads(HEAD + SEVERAL, sets=[(f"search.space.{change}", value)]).search.space
    wanted = {name: each for name, each in {**before, **changed}.items() if each}
    assert after == wanted


def test_a_target_counts_only_under_its_condition() -> None:
    spec = spec_of(CONDITIONAL)
    all_on = {"r": 0.125, "se": True, "k": 5, "w": 16}
    assert spec.active(all_on) == {"r": 0.125, "se": True, "w": 16}
    assert spec.active({**all_on, "se": False}) == {"se": False, "k": 5, "w": 16}
    assert spec.active({**all_on, "se": False, "w": 8}) == {"se": False, "w": 8}
    assert spec.written == {"se": False, "k": 3, "w": 16}


def test_a_target_that_does_not_count_keeps_its_written_value() -> None:
    spec = spec_of(CONDITIONAL)
    picks = spec.active({"r": 0.125, "se": False, "k": 5, "w": 8})
    assert spec.network(picks).values["k"] == 3 and spec.network(picks).values["r"] == 0.25


def test_conditions_see_what_targets_drive_and_what_is_written() -> None:
    text = HEAD.replace("w: 16", "w: 16, wide: $(w > 16)")
    section = """
  space:
    d: {range: [1, 3], when: $wide}
    k: {choice: [3, 5], when: $(d > 2)}
    w: {range: [8, 32], step: 8}
"""
    spec = loads(text + section)
    assert spec.active({"d": 3, "k": 5, "w": 32}) == {"d": 3, "k": 5, "w": 32}
    assert spec.active({"d": 3, "k": 5, "w": 8}) == {"w": 8}  # d is 2, as written


def test_a_setting_of_each_repetition_counts_as_far_as_the_stage_is_deep() -> None:
    spec = spec_of(
        "  space: \n    net.body[*].act: {choice: [relu, gelu]}\n    d: {range: [2, 4]}\n"
    )
    targets = [f"net.body[{index}].act" for index in range(4)]
    assert [*spec.search.space] == ["d", *targets] and [*spec.search.when] == targets[2:]
    picks = {"d": 3, **dict.fromkeys(targets, "gelu")}
    assert [*spec.active(picks)] == ["d", *targets[:3]]
    body = spec.network(spec.active({**picks, targets[1]: "relu"})).stages[1]
    assert [each["act"] for each in body.settings] == ["gelu", "relu", "gelu"]
    assert spec.written == {"d": 2, targets[0]: "relu", targets[1]: "relu"}


@pytest.mark.parametrize(
    ("depth", "space", "most"),
    [
        ("3", "k: {choice: [3, 5]}", 3),
        ("2", "net.body.depth: {choice: [1, 5]}", 5),
        ("$(2 * d - 1)", "d: {range: [1, 4]}", 7),
        ("$(d + len(used))", "d: {range: [1, 4]}; used: {subset: [a, b, c], min: 1}", 7),
        ("$d", "d: {choice: [1], when: $se}", 2),
    ],
)
def test_the_largest_depth_comes_from_whatever_drives_it(depth: str, space: str, most: int) -> None:
    lines = "".join(f"    {line}\n" for line in space.split("; "))
    section = f"  space:\n{lines}    net.body[*].act: {{choice: [relu, gelu]}}\n"
    spec = loads(HEAD.replace("depth: $d", f"depth: {depth}") + section)
    assert sum(target.startswith("net.body[") for target in spec.search.space) == most


def test_domains_of_lists_hold_what_they_draw() -> None:
    section = """
  space:
    used: {subset: [a, b, c, d], min: 1, max: 2}
    order: {permutation: [a, b, c]}
    dims: {choice: [[16, 32], [8, 64]]}
"""
    space = spec_of(section).search.space
    assert space == {
        "used": Subset(("a", "b", "c", "d"), 1, 2),
        "order": Permutation(("a", "b", "c")),
        "dims": Choice(((16, 32), (8, 64))),
    }
    assert [str(domain) for domain in space.values()] == [
        "1..2 of {a, b, c, d}",
        "orders of {a, b, c}",
        "{[16, 32], [8, 64]}",
    ]
    random = Random(0)
    dice = Dice(random.randrange, random.uniform)
    for domain in space.values():
        values = domain.values()
        assert len(values) == domain.size and all(domain.contains(value) for value in values)
        drawn = Counter(domain.draw(dice) for _ in range(300 * len(values)))
        assert drawn.keys() == set(values) and min(drawn.values()) > 200
    assert space["order"].values() == tuple(permutations("abc"))
    assert not space["used"].contains(("b", "a")) and not space["used"].contains(())


def test_lists_are_picked_like_other_values() -> None:
    spec = spec_of("  space:\n    used: {subset: [a, b, c]}\n    order: {permutation: [a, b, c]}\n")
    network = spec.network({"used": [], "order": ("c", "a", "b")})
    assert network.stages[1].settings[0]["dim"] == 16
    assert network.stages[2].settings[0]["dim"] == 40


FIT = "  space:\n    d: {range: [1, 3]}\n    w: {range: [8, 96], step: 8}\n"


def test_a_fit_takes_the_value_nearest_to_the_goal() -> None:
    spec = spec_of(FIT + "  fit: {vary: w, to: {macs: 6M}, within: 10%}\n")
    assert [*spec.search.space] == ["d"] and spec.search.fit.domain == Range(8, 96, 8)
    for depth in (1, 2, 3):
        macs = {w: spec.network({"d": depth, "w": w}).graph.macs for w in range(8, 104, 8)}
        best = min(macs, key=lambda w: abs(macs[w] - 6_000_000))
        assert spec.fitted({"d": depth}) == {"d": depth, "w": best}
    assert spec.fitted({"d": 1, "w": 8}) == {"d": 1, "w": 8}  # what is picked stays


def test_a_fit_avoids_what_cannot_be_built_or_is_not_allowed() -> None:
    section = FIT + "  fit: {vary: w, to: {macs: 6M}, within: 60%}\n  require: [$(w % 16 == 8)]\n"
    spec = spec_of(section)
    assert all(spec.fitted({"d": depth})["w"] % 16 == 8 for depth in (1, 2, 3))


def test_a_fit_whose_cost_goes_up_and_down_tries_all_values_and_says_so() -> None:
    text = HEAD.replace("dim: $w", 'dim: "$(w if w % 16 == 8 else 2 * w)"')
    spec = loads(text + FIT + "  fit: {vary: w, to: {macs: 9M}, within: 50%}\n")
    assert [warning.code for warning in spec.probed()] == ["W503"]
    macs = {w: spec.network({"d": 1, "w": w}).graph.macs for w in range(8, 104, 8)}
    best = min(macs, key=lambda w: abs(macs[w] - 9_000_000))
    assert spec.fitted({"d": 1})["w"] == best


def test_a_goal_out_of_reach_is_no_candidate() -> None:
    spec = spec_of(FIT + "  fit: {vary: w, to: {macs: 9G}}\n")
    assert spec.fitted({"d": 1}) == {"d": 1, "w": 96}
    with pytest.raises(SpecError, match="lower macs to at most"):
        spec.probed()


def test_a_rare_budget_names_a_fit_that_works() -> None:
    space = "  space:\n    d: {range: [1, 3]}\n    w: {range: [8, 256]}\n"
    rare = spec_of(space + "  budget: {macs: {target: 30M, within: 0.3%}}\n")
    (warning,) = rare.probed()
    assert warning.code == "W501"
    line = warning.helps[0].partition("add  ")[2].partition("  to")[0]
    fitted = spec_of(f"{space}  {line}\n  budget: {{macs: {{target: 30M, within: 0.3%}}}}\n")
    assert fitted.probed() == () and fitted.probe(draws=50).feasible > 15


def test_every_impossible_budget_is_told() -> None:
    spec = spec_of(FIT + "  budget: [{macs: {max: 1K}}, {macs: {max: 1G}}, {params: {max: 10}}]\n")
    with pytest.raises(SpecError) as caught:
        spec.probed()
    assert [fault.code for fault in caught.value.faults] == ["E501", "E501"]
    assert "budget 1" in str(caught.value) and "budget 3" in str(caught.value)


def test_several_objectives_are_searched_by_nsga2_unless_a_sampler_is_written() -> None:
    several = FIT + "  objective: [{maximize: top1}, {minimize: params}]\n"
    search = spec_of(several).search
    assert search.objectives == (("maximize", "top1"), ("minimize", "params"))
    assert search.objective == ("maximize", "top1") and search.sampler.kind == "nsga2"
    assert spec_of(several + "  sampler: {kind: tpe}\n").search.sampler.kind == "tpe"
    assert spec_of(FIT).search.objectives == (("maximize", "top1"),)


def test_a_requirement_sees_how_deep_each_stage_is() -> None:
    spec = spec_of(FIT + "  require: [$(net.body.depth <= 2 and net.last.depth == 1)]\n")
    three = spec.network({"d": 3})
    assert spec.feasible(spec.network(), spec.network().graph) == []
    assert spec.feasible(three, three.graph)


def test_a_long_chain_of_variables_and_a_huge_range_are_harmless() -> None:
    chain = ", ".join(f"v{i}: $v{i - 1}" for i in range(1, 3000))
    text = HEAD.replace("vars: {", f"vars: {{v0: 2, {chain}, ").replace(
        "depth: $d", "depth: $v2999"
    )
    space = "  space:\n    v0: {range: [1, 3]}\n    net.body[*].act: {choice: [relu, gelu]}\n"
    spec = loads(text + space)
    assert [*spec.active({"v0": 1, "net.body[1].act": "gelu"})] == ["v0"]
    with pytest.raises(SpecError, match="a fit chooses from at most"):
        spec_of("  space: {w: {range: [1, 900000]}}\n  fit: {vary: w, to: {macs: 1G}}\n")
    huge = spec_of("  space: {w: {range: [1, 1000000000]}}\n  budget: {macs: {max: 2G}}\n")
    assert huge.probe(draws=20).looked == 23


def test_a_rare_budget_is_counted_where_the_space_has_tables() -> None:
    space = "  space:\n    d: {range: [1, 3]}\n    w: {range: [8, 256]}\n"
    rare = spec_of(space + "  budget: {macs: {target: 30M, within: 0.3%}}\n")
    window = dict(rare.search.windows())["macs"] if rare.search else None
    points = [{"d": d, "w": w} for d in range(1, 4) for w in range(8, 257)]
    inside = [p for p in points if window and window.contains(rare.network(p).graph.macs)]
    (warning,) = warned(rare)
    share = 100 * len(inside) / len(points)
    assert inside and warning.message.startswith(f"only {share:.2g} % of {len(points)} candidates")
