"""Many short trainings, then longer ones for the best: successive halving with a model's help.

The candidates of the first rung are drawn uniformly at first. Then a small model of the space is
fitted to their scores, and once it predicts scores that were left out better than chance it
proposes the most promising of a uniform feasible pool; every fourth is drawn all the same. Who goes
on is decided in turn by the scores and by what the model makes of them, since a short score is
partly luck. While the model is not trusted, all are drawn, and the scores alone decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from flopwise.search.candidates import Candidate, fresh
from flopwise.search.strategy import Moment, Past, Proposal, Rungs
from flopwise.search.surrogate import Features, Model, fit

__all__ = ["DRAWN", "EXPLORED", "LAST", "OPEN", "POOL", "STEP", "Screened", "best"]

DRAWN = 10
"""Candidates drawn before a model is fitted."""
EXPLORED = 0.25
"""Share of later candidates that are drawn all the same."""
POOL = 256
"""Feasible candidates that the model chooses from."""
STEP = 2
"""Scores after which the model is fitted anew."""
OPEN = 8
"""Trials in a row that choose from the same candidates; each adds its part of the pool."""
LAST = 0.2
"""Share of the epochs that is spent in full trainings; the shorter rungs share the rest."""


@dataclass(frozen=True)
class Screened:
    """The strategy for one search.

    Attributes:
        trials: What is spent, in full trainings.
        short: Lengths of the shorter rungs, as shares of a full training; (1.0,) for none.
        features: What the model sees.
    """

    trials: int
    short: tuple[float, ...]
    features: Features
    _drawn: dict[int, list[Candidate]] = field(default_factory=dict, repr=False)
    _fitted: dict[tuple[str, ...], Model] = field(default_factory=dict, repr=False)

    @property
    def rungs(self) -> Rungs:
        """Length and number of the trainings of each rung, from short to full.

        >>> Screened(10, (0.06,), None).rungs
        ((0.06, 133), (1.0, 2))
        >>> Screened(50, (1.0,), None).rungs
        ((1.0, 50),)
        """
        shares = sorted({share for share in self.short if share < 1})
        if not shares:
            return ((1.0, self.trials),)
        full = max(1, round(LAST * self.trials))
        each = max(self.trials - full, 1) / len(shares)
        return (*((share, max(1, int(each / share + 1e-9))) for share in shares), (1.0, full))

    def __call__(self, moment: Moment) -> Proposal | None:
        """Proposes for the first rung that is not full; None when nothing is left to try."""
        first, *later = self.rungs
        begun: dict[float, set[str]] = {share: set() for share, _ in self.rungs}
        for identity, share in moment.begun:
            begun.setdefault(share, set()).add(identity)
        if len(begun[first[0]]) < first[1] and (found := self._screen(moment, first[0])):
            return Proposal(found, first[0])
        below = first[0]
        for share, count in later:
            if len(begun[share]) < count and (next_ := self._next(moment, below, begun[share])):
                return Proposal(moment.candidates.judge(next_.picks), share)
            below = share
        return None

    def _screen(self, moment: Moment, share: float) -> Candidate | None:
        """Returns what the model likes best of a pool, or a uniform draw."""
        scored = [past for past in moment.past if past.share == share]
        if len(scored) < DRAWN or moment.rng(3).random() < EXPLORED:
            return moment.uniform()
        model = self._model(moment, scored[: len(scored) - len(scored) % STEP])
        pool = self._pool(moment) if model.trusted else ()
        if not pool:
            return moment.uniform()
        self.features.look(reversed(pool))  # its own draws first: meanwhile others measure theirs
        return pool[int(np.argmax(model(self.features(pool))))]

    def _next(self, moment: Moment, share: float, taken: set[str]) -> Past | None:
        """Returns who goes on from a rung: in turn the best by score and the best by the model."""
        rung = [past for past in moment.past if past.share == share]
        scores = [past.score for past in rung]
        if len(taken) % 2 and len(rung) >= DRAWN and (model := self._model(moment, rung)).trusted:
            known = [moment.candidates.judge(past.picks) for past in rung]
            scores = model(self.features(known)).tolist()
        return best(rung, scores, taken)

    def _pool(self, moment: Moment) -> list[Candidate]:
        """Returns the untried among what this and the trials before it drew."""
        found: dict[str, Candidate] = {}
        for number in range(max(0, moment.number - OPEN + 1), moment.number + 1):
            if number not in self._drawn:
                rng = np.random.default_rng([moment.seed, number, 4])
                self._drawn[number] = moment.candidates.several(rng, POOL // OPEN)
            found |= {each.identity: each for each in self._drawn[number]}
        return [each for each in found.values() if fresh(each, moment.tried)]

    def _model(self, moment: Moment, scored: Sequence[Past]) -> Model:
        """Returns the model of some scores; the last one is kept."""
        names = tuple(past.identity for past in scored)
        if names not in self._fitted:
            known = [moment.candidates.judge(past.picks) for past in scored]
            self._fitted.clear()
            self._fitted[names] = fit(self.features(known), [past.score for past in scored])
        return self._fitted[names]


def best(rung: Sequence[Past], scores: Sequence[float], taken: set[str]) -> Past | None:
    """Returns the best of a rung that has not gone on."""
    left = [at for at, past in enumerate(rung) if past.identity not in taken]
    return rung[max(left, key=lambda at: scores[at])] if left else None
