"""The sampler against brute force: everything feasible once, nothing else ever."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from flopwise.dsl import Choice, Domain, Range, loads
from flopwise.search.candidates import Candidate, Candidates, Picks
from flopwise.search.encoding import distribution, suggest
from flopwise.search.sampler import FeasibleSampler, Inner
from flopwise.search.strategies import STRATEGIES
from flopwise.search.strategy import Strategy

SPACE: dict[str, Domain] = {
    "width": Range(8, 64, step=8),
    "depth": Range(1, 4),
    "kernel": Choice((3, 5, 7)),
    "act": Choice(("relu", "gelu")),
}


SPEC = """
spec: 1
name: net
input: {size: 8}
classes: 10
vars: {width: 8, depth: 1, kernel: 3, act: relu}
net:
  body: {block: conv, dim: $width, depth: $depth, kernel: $kernel, act: $act}
  head: {block: classifier}
search:
  space:
    width: {range: [8, 64], step: 8}
    depth: {range: [1, 4]}
    kernel: {choice: [3, 5, 7]}
    act: {choice: [relu, gelu]}
  sampler: {kind: screened, short: 100%}
"""


def strategy(kind: str, trials: int = 1_000) -> Strategy:
    return STRATEGIES[kind](loads(SPEC), trials)


def macs_of(picks: Picks) -> int:
    width, depth, kernel = (picks[name] for name in ("width", "depth", "kernel"))
    assert isinstance(width, int) and isinstance(depth, int) and isinstance(kernel, int)
    return width * width * depth * kernel


def judged(low: float, high: float, *, merged: bool = False) -> Candidates:
    """A space whose costs are a product; `merged` makes both activations the same network."""

    def judge(picks: Picks) -> Candidate:
        macs = macs_of(picks)
        away = max(low - macs, macs - high, 0) / high
        names = sorted(name for name in picks if not (merged and name == "act"))
        identity = ",".join(str(picks[name]) for name in names)
        faults = ("outside",) if away else ()
        costs = {"macs": macs}
        return Candidate(picks=picks, identity=identity, costs=costs, faults=faults, distance=away)

    return Candidates(SPACE, judge)


def run(
    candidates: Candidates, kind: str, seed: int, most: int, *, restart: bool = False
) -> optuna.Study:
    """Asks and tells until nothing is left; `restart` makes a new sampler before every trial."""
    study = optuna.create_study(direction="maximize")
    for number in range(most):
        if number == 0 or restart:
            study.sampler = FeasibleSampler(candidates, strategy(kind), seed=seed)
        sampler = study.sampler
        assert isinstance(sampler, FeasibleSampler)
        if sampler.spare(study, number) is None:
            break
        trial = study.ask()
        picks = {name: suggest(trial, name, domain) for name, domain in SPACE.items()}
        candidate = candidates.judge(picks)
        trial.set_user_attr("picks", picks)
        trial.set_user_attr("identity", candidate.identity)
        study.tell(trial, float(candidate.costs["macs"] % 97))
    return study


def feasible_by_brute_force(candidates: Candidates) -> set[str]:
    points = product(*(domain.values() for domain in SPACE.values()))
    judged_points = (candidates.judge(dict(zip(SPACE, point, strict=True))) for point in points)
    return {candidate.identity for candidate in judged_points if candidate.feasible}


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
@pytest.mark.parametrize("merged", [False, True])
def test_a_small_space_is_searched_to_its_last_feasible_point(kind: str, merged: bool) -> None:
    candidates = judged(2_000, 6_000, merged=merged)
    expected = feasible_by_brute_force(candidates)
    study = run(candidates, kind, seed=1, most=1_000)
    proposed = [trial.user_attrs["identity"] for trial in study.trials]
    assert len(proposed) == len(set(proposed)) == len(expected)
    assert set(proposed) == expected


@given(low=st.integers(0, 90_000), share=st.floats(0.01, 1.0), seed=st.integers(0, 2**20))
@settings(max_examples=6)
def test_every_proposal_is_feasible_new_and_complete(low: int, share: float, seed: int) -> None:
    candidates = judged(low, low + share * 20_000)
    expected = feasible_by_brute_force(candidates)
    study = run(candidates, "tpe", seed, most=20)
    assert len(study.trials) == min(20, len(expected))
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    assert all(trial.params.keys() == SPACE.keys() for trial in study.trials)
    proposed = {trial.user_attrs["identity"] for trial in study.trials}
    assert len(proposed) == len(study.trials) and proposed <= expected


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_a_restarted_search_proposes_what_it_would_have_proposed(kind: str) -> None:
    candidates = judged(2_000, 20_000)
    straight = run(candidates, kind, seed=7, most=16)
    restarted = run(candidates, kind, seed=7, most=16, restart=True)
    other = run(candidates, kind, seed=8, most=16)
    assert [t.params for t in straight.trials] == [t.params for t in restarted.trials]
    same = [t.params for t in straight.trials] == [t.params for t in other.trials]
    assert same == (kind == "grid")


def test_the_written_network_is_proposed_first_when_it_is_feasible() -> None:
    candidates = judged(2_000, 20_000)
    first: Mapping[str, int | str] = {"width": 32, "depth": 2, "kernel": 3, "act": "gelu"}
    study = optuna.create_study()
    study.sampler = FeasibleSampler(candidates, strategy("tpe"), seed=0, first=first)
    trial = study.ask()
    assert {name: suggest(trial, name, domain) for name, domain in SPACE.items()} == first


def test_proposals_learn_from_scores() -> None:
    space: dict[str, Domain] = {f"x{i}": Range(1, 12) for i in range(5)}

    def judge(picks: Picks) -> Candidate:
        total = sum(int(value) for value in picks.values() if isinstance(value, int))
        return Candidate(
            picks=picks,
            identity=str(list(picks.values())),
            costs={"macs": total},
            faults=() if 25 <= total <= 40 else ("outside",),
            distance=max(25 - total, total - 40, 0),
        )

    study = optuna.create_study(direction="minimize")
    study.sampler = FeasibleSampler(Candidates(space, judge), strategy("tpe"), seed=0)
    for _ in range(50):
        trial = study.ask()
        picks = {name: suggest(trial, name, domain) for name, domain in space.items()}
        trial.set_user_attr("identity", judge(picks).identity)
        study.tell(trial, float(sum((int(str(v)) - 9) ** 2 for v in picks.values())))
    values = [trial.value or 0.0 for trial in study.trials]
    assert np.mean(values[30:]) < 0.75 * np.mean(values[:10])


def test_a_window_that_no_draw_hits_is_reached_by_walking() -> None:
    space: dict[str, Domain] = {f"w{i}": Range(16, 1024, step=16) for i in range(6)}

    def judge(picks: Picks) -> Candidate:
        macs = sum(int(value) ** 2 for value in picks.values() if isinstance(value, int))
        away = max(40_000 - macs, macs - 41_000, 0) / 41_000
        return Candidate(
            picks=picks,
            identity=str(sorted(picks.items())),
            costs={"macs": macs},
            faults=("outside",) if away else (),
            distance=away,
        )

    candidates = Candidates(space, judge)
    assert candidates.probe(draws=2_000).feasible == 0
    found: set[str] = set()
    for seed in range(5):
        candidate = candidates.find(np.random.default_rng(seed), found)
        assert candidate is not None and candidate.feasible and candidate.identity not in found
        found.add(candidate.identity)


def test_a_range_without_steps_is_drawn_inside_its_limits_and_never_ends() -> None:
    domain = Range(1e-4, 1e-2, log=True)
    known = distribution(domain)
    candidates = Candidates({"lr": domain}, lambda picks: Candidate(picks=picks, identity="x"))
    rng = np.random.default_rng(0)
    draws = [candidates.draw(rng)["lr"] for _ in range(500)]
    assert candidates.size == math.inf
    assert all(isinstance(v, float) and known._contains(v) for v in draws)
    assert 0.4 < np.mean([v < 1e-3 for v in draws if isinstance(v, float)]) < 0.6


def test_values_of_a_decimal_range_are_its_own_without_rounding_errors() -> None:
    domain = Range(0.1, 0.7, step=0.1)
    candidates = Candidates({"ratio": domain}, lambda p: Candidate(picks=p, identity=str(p)))
    study = run_over(candidates, 7)
    assert sorted(t.params["ratio"] for t in study.trials) == list(domain.values())
    assert candidates.judge({"ratio": 0.1 + 0.2}).picks == {"ratio": 0.3}


def run_over(candidates: Candidates, most: int) -> optuna.Study:
    study = optuna.create_study()
    inner = Inner(lambda seed: TPESampler(seed=seed, n_startup_trials=2))
    study.sampler = FeasibleSampler(candidates, Strategy(propose=inner.propose), seed=0)
    for _ in range(most):
        trial = study.ask()
        picks = {name: suggest(trial, name, d) for name, d in candidates.domains.items()}
        trial.set_user_attr("identity", candidates.judge(picks).identity)
        study.tell(trial, float(str(picks["ratio"])))
    return study
