"""The strategies that a spec can name, each a line in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log1p
from typing import Any

from numpy import nan_to_num
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from flopwise.dsl import Search, Spec
from flopwise.errors import RunError
from flopwise.search.candidates import ENUMERABLE, Candidate
from flopwise.search.evaluators import home_of, imported
from flopwise.search.evolution import POPULATION, TOURNAMENT, evolve
from flopwise.search.sampler import PROPOSALS, Inner
from flopwise.search.scored import Scored
from flopwise.search.scores import IMAGES, ways
from flopwise.search.screened import DRAWN, EXPLORED, LAST, OPEN, POOL, Screened
from flopwise.search.strategy import Strategy, listed
from flopwise.search.surrogate import Features, Seen

__all__ = ["DEAR", "SCORES", "STRATEGIES", "numbers_of", "strategy_of", "usual_scores"]

TPE: Mapping[str, Any] = {
    "multivariate": True,
    "group": False,  # one joint model where every target always counts
    "constant_liar": True,
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
}
"""All arguments of TPE that shape a search, written out because Optuna's defaults change."""

NSGA2: Mapping[str, Any] = {"population_size": 16}
"""Arguments of NSGA-II that shape a search; Optuna's population of 50 is a whole search here."""


SCORES = ("expressivity", "progressivity", "trainability", "swap")
"""What the model of `screened` sees where the spec does not say."""
DEAR = 0.05
"""Largest share of the short trainings that they may cost."""


def strategy_of(
    spec: Spec,
    trials: int,
    *,
    images: int = 0,
    scored: Scored | None = None,
    allow_code: bool = False,
) -> Strategy:
    """Returns the strategy that a spec asks for.

    Args:
        spec: A spec with a search section.
        trials: What the search may spend, in full trainings.
        images: Training images of one epoch; 0 when nothing is trained.
        scored: Where scores without training come from; measured and forgotten by default.
        allow_code: Whether a sampler of somebody's own may run although nobody allowed it before.

    Raises:
        SpecError: There is no such sampler, or it is not allowed to run.
    """
    assert spec.search
    choice = spec.search.sampler
    if choice.kind == "class":
        return _imported(spec, spec.search, allow_code)
    if choice.kind == "screened":
        return _screened(spec, trials, images, scored)
    return STRATEGIES[choice.kind](spec, trials)


def usual_scores(images: float) -> tuple[str, ...]:
    """Returns the scores that are worth their time: all or none.

    Args:
        images: Images of a short training.
    """
    own = POOL // OPEN * IMAGES * 2  # each candidate: forward and backward, and once more forward
    return SCORES if own <= DEAR * images else ()


def _tpe(spec: Spec, trials: int) -> Strategy:
    """TPE; the targets of each branch of a conditional space are modelled together."""
    options = {**TPE, "group": bool(spec.search and spec.search.when)}
    return _asking(lambda seed: TPESampler(seed=seed, **options), options)


def _nsga2(spec: Spec, trials: int) -> Strategy:
    return _asking(lambda seed: NSGAIISampler(seed=seed, **NSGA2), NSGA2)


def _random(spec: Spec, trials: int) -> Strategy:
    return Strategy()


def _grid(spec: Spec, trials: int) -> Strategy:
    return Strategy(spare=listed)


def _evolution(spec: Spec, trials: int) -> Strategy:
    facts = {"population": POPULATION, "tournament": TOURNAMENT}
    return Strategy(propose=evolve, facts=facts)


def _screened(spec: Spec, trials: int, images: int = 0, scored: Scored | None = None) -> Strategy:
    assert spec.search
    scores = spec.search.sampler.scores
    if scores is None:
        scores = usual_scores(spec.recipe.epochs * images * min(spec.search.sampler.short))
    features = Features(spec.search.space, numbers_of(spec, scores, scored))
    screened = Screened(trials, spec.search.sampler.short, features)
    facts = {
        "rungs": [list(rung) for rung in screened.rungs],
        "drawn": DRAWN,
        "explored": EXPLORED,
        "last": LAST,
        "scores": list(scores),
    }
    return Strategy(
        propose=lambda moment, _: screened(moment),
        spare=screened,
        first=screened.rungs[0][0],
        rungs=lambda trials: replace(screened, trials=trials).rungs,
        facts=facts,
    )


def numbers_of(
    spec: Spec, scores: Sequence[str], scored: Scored | None = None
) -> Callable[[Candidate], Seen]:
    """Returns what a model sees of a network: its ways, and scores; what is not told is 0."""
    scored = scored or Scored()

    def numbers(candidate: Candidate) -> Seen:
        network = spec.network(candidate.picks)
        through = ways(network.graph)[0]
        assert through, "a network depends on its image"
        values = [through.shortest, through.longest, through.mean, through.log_count]
        more = scored(network, scores)
        costs = {name: log1p(through.along.get(name, 0.0)) for name in ("macs", "params")}
        named = {**through.along, **costs}
        expected = [-through.pooled, *more.values()]
        return [*values, *map(nan_to_num, more.values())], named, expected

    return numbers


def _imported(spec: Spec, search: Search, allow_code: bool) -> Strategy:
    choice, place = search.sampler, search.place
    found = imported(choice.path, home_of(spec), place, allow_code=allow_code)

    def make(seed: int) -> BaseSampler:
        try:
            made = found(**choice.args, **({"seed": seed} if _seeded(found) else {}))
        except (TypeError, ValueError) as error:
            raise RunError(f"'{choice.path}' cannot be made of these arguments: {error}") from None
        if not isinstance(made, BaseSampler):
            raise RunError(f"'{choice.path}' is no sampler of Optuna")
        return made

    make(search.sampler.seed)  # a mistake shows before anything is trained
    return _asking(make, {"class": choice.path, **choice.args}, alone=True)


def _seeded(found: Any) -> bool:
    """Whether a class takes a seed."""
    import inspect

    return "seed" in inspect.signature(found).parameters


def _asking(
    make: Callable[[int], BaseSampler], facts: Mapping[str, Any], *, alone: bool = False
) -> Strategy:
    inner = Inner(make, alone)
    return Strategy(
        propose=inner.propose,
        after=inner.after,
        facts={"proposals": PROPOSALS, "enumerable": ENUMERABLE, **facts},
    )


STRATEGIES: Mapping[str, Callable[[Spec, int], Strategy]] = {
    "tpe": _tpe,  # Optuna's, feasible and without duplicates
    "nsga2": _nsga2,  # the same of NSGA-II, for several objectives
    "random": _random,  # uniform among the feasible
    "grid": _grid,  # all feasible points in order
    "evolution": _evolution,  # evolution.py
    "screened": _screened,  # screened.py
}
"""Name -> what makes the strategy of a spec, given what it may spend."""
