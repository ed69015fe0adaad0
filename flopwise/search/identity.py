"""Which trials are the same, and which studies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from flopwise.dsl import Network, Recipe, Search, Spec
from flopwise.errors import FlopwiseError
from flopwise.search.candidates import Candidate, Picks
from flopwise.search.record import COSTS

__all__ = [
    "digest",
    "distance",
    "epochs_of",
    "judge",
    "recipe_of",
    "settings",
    "share_of",
    "shortened",
    "study_identity",
    "trial_identity",
]

PLACES = ("data", "workers")
"""Settings of a recipe that say where and how it runs, not what it gives; the digest of the data is
part of the study's identity."""


def digest(value: Any) -> str:
    """Returns 16 hex digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trial_identity(network: Network, recipe: Recipe) -> str:
    """Names a training: the network's hash, its initial values, and the whole recipe.

    Initial values are no part of the hash (they change no shape and no cost), but a search over
    them trains something else. The recipe holds the fidelity (epochs, images) and the seed.
    """
    initial = [layer.init for _, layer in network.graph.walk()]
    return digest({"hash": network.hash, "initial": initial, "recipe": settings(recipe)})


def shortened(identity: str, share: float) -> str:
    """Names a training of a candidate that is a share as long as its recipe says.

    >>> shortened("0123abcd", 1.0), shortened("0123abcd", 0.1)
    ('0123abcd', '0123abcd@0.1')
    """
    return identity if share == 1 else f"{identity}@{share:g}"


def share_of(identity: str) -> tuple[str, float]:
    """Returns the candidate of a training, and how long it is.

    >>> share_of("0123abcd@0.1"), share_of("0123abcd")
    (('0123abcd', 0.1), ('0123abcd', 1.0))
    """
    candidate, _, share = identity.partition("@")
    return candidate, float(share or 1)


def recipe_of(recipe: Recipe, share: float) -> Recipe:
    """Returns a recipe for fewer epochs, at least one; its schedule ends with them."""
    if share == 1:
        return recipe
    epochs = epochs_of(recipe.epochs, share)
    return replace(recipe, epochs=epochs, warmup=recipe.warmup * epochs / recipe.epochs)


def epochs_of(epochs: int, share: float) -> int:
    """Returns the epochs of a training that is a share of a full one: at least one.

    >>> epochs_of(200, 0.06), epochs_of(5, 0.06)
    (12, 1)
    """
    return max(1, round(epochs * share))


def settings(recipe: Recipe) -> dict[str, Any]:
    """Returns the settings of a recipe that change what a training gives."""
    return {name: value for name, value in asdict(recipe).items() if name not in PLACES}


def judge(spec: Spec, search: Search) -> Callable[[Picks], Candidate]:
    """Returns the arithmetic of a spec: picks to a candidate, without any training.

    The candidate has the picks that count, and what a fit solves; without picks it is the network
    as it is written.
    """

    def candidate(picks: Picks) -> Candidate:
        try:
            picks = spec.fitted(spec.active(picks)) if picks else picks
            network, recipe = spec.network(picks), spec.recipe_for(picks)
        except FlopwiseError as error:  # such as heads that do not divide a width
            fault = str(error).splitlines()[0]
            return Candidate(picks=picks, identity="", faults=(fault,), distance=float("inf"))
        numbers = {name: int(getattr(network.graph, name)) for name in COSTS}
        faults = tuple(spec.feasible(network, network.graph))
        named = not faults or not picks  # what is refused needs no name, but for the baseline
        return Candidate(
            picks=picks,
            identity=trial_identity(network, recipe) if named else "",
            hash=network.hash if named else "",
            costs=numbers,
            faults=faults,
            distance=distance(search, numbers),
        )

    return candidate


def distance(search: Search, costs: Mapping[str, int]) -> float:
    """Returns how far costs lie outside the budget, as a sum of relative violations."""
    total = 0.0
    for metric, window in search.windows():
        value = costs[metric]
        if window.low is not None and value < window.low:
            total += (window.low - value) / window.low
        if window.high is not None and value > window.high:
            total += (value - window.high) / window.high
    return total


def study_identity(spec: Spec, search: Search, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a study is a study of; a folder is continued only when all of it agrees.

    The number of trials, the sampler and the last step may change between sessions: they change
    which candidates are looked at and how the best are judged, not what a score means.
    """
    conditions = {
        target: f" when {' and '.join(each.text for each in several)}"
        for target, several in search.when.items()
    }
    return {
        "network": spec.network().hash,
        "space": {t: f"{domain}{conditions.get(t, '')}" for t, domain in search.space.items()},
        **({"fit": str(search.fit)} if search.fit else {}),
        "budget": [{metric: str(window) for metric, window in b.items()} for b in search.budget],
        "require": [expression.text for expression in search.require],
        "objective": ", ".join(" ".join(each) for each in search.objectives),
        "recipe": settings(spec.recipe),
        "data": dict(facts),
    }
