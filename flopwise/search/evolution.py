"""Regularised evolution: the oldest die, the best of a few changes in one place."""

from __future__ import annotations

import numpy as np
from optuna.trial import FrozenTrial

from flopwise.search.candidates import Candidate, Picks, fresh
from flopwise.search.strategy import Moment, Proposal

__all__ = ["POPULATION", "TOURNAMENT", "evolve"]

POPULATION = 20
"""Trials that live; the first ones are drawn uniformly."""
TOURNAMENT = 5
"""Trials of which the best becomes a parent."""
TRIES = 40
"""Children with one change that may miss the budget before two changes are made, and so on."""


def evolve(moment: Moment, trial: FrozenTrial) -> Proposal | None:
    """Proposes a child of the best of a few living trials.

    A child differs from its parent in one target. Under a budget that often misses the window, so
    two and more targets change when no single change is feasible and new.
    Source: Real et al. 2019, arXiv:1802.01548, algorithm 1.
    """
    alive = moment.past[-POPULATION:]
    if len(alive) < POPULATION:
        return None
    rng = moment.rng(2)
    chosen = rng.choice(len(alive), TOURNAMENT, replace=False)
    parent = max((alive[at] for at in chosen), key=lambda past: past.score)
    misses: list[Candidate] = []
    for attempt in range(4 * TRIES):
        child = moment.candidates.judge(_changed(moment, parent.picks, 1 + attempt // TRIES, rng))
        if fresh(child, moment.tried):
            return Proposal(child)
        misses.append(child)
    return moment.repaired(misses)


def _changed(moment: Moment, picks: Picks, changes: int, rng: np.random.Generator) -> Picks:
    """Returns picks with other values for some targets; targets that did not count are drawn."""
    drawn, domains = moment.candidates.draw(rng), moment.candidates.domains
    child = {**drawn, **picks}
    names = [name for name, domain in domains.items() if domain.size > 1]
    for at in rng.choice(len(names), min(changes, len(names)), replace=False):
        name, before = names[at], child[names[at]]
        while child[name] == before:
            child[name] = moment.candidates.draw(rng)[name]
    return child
