"""Ending trainings that fall behind, judged among trainings that cost about the same.

Large networks learn slowly at first. Where a search holds several costs, a trial is therefore
compared with trials of similar MACs only, never with all: halving over everything would end what
wins later. Optuna's pruners know no costs; they serve searches with one objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Any, TypeAlias

from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial

from flopwise.dsl import Spec
from flopwise.errors import RunError
from flopwise.search.evaluators import home_of, imported

__all__ = ["CURVE", "FACTOR", "Halving", "Prune", "PrunedError", "pruner_of"]

FACTOR = 3
"""One of so many goes on."""
CURVE = "curve"
"""The user attribute that keeps the scores of a trial after 1, 3, 9, ... epochs."""


class PrunedError(Exception):
    """A training was ended because others of its kind were better."""


Prune: TypeAlias = Callable[[Trial, int, float], bool]
"""Says whether a trial ends after an epoch that gave it a score."""


@dataclass(frozen=True)
class Halving:
    """Asynchronous successive halving inside a neighbourhood of MACs.

    Source: Li et al. 2020, arXiv:1810.05934, algorithm 2; the neighbourhood is ours.

    Attributes:
        within: How far apart two costs are similar, as a share of the smaller.
    """

    within: float

    def __call__(self, trial: Trial, epoch: int, score: float) -> bool:
        """Records the score at a rung and says whether it is outside the best third there."""
        if not _is_rung(epoch):
            return False
        attributes = trial.user_attrs
        curve = {**attributes.get(CURVE, {}), str(epoch): score}
        trial.set_user_attr(CURVE, curve)
        others = trial.study.get_trials(deepcopy=False)
        known = [
            other.user_attrs[CURVE][str(epoch)]
            for other in others
            if other.number != trial.number
            and str(epoch) in other.user_attrs.get(CURVE, {})
            and self._similar(attributes, other.user_attrs)
        ]
        sign = 1 if trial.study.directions[0] == StudyDirection.MAXIMIZE else -1
        return _behind(sign * score, [sign * each for each in known])

    def _similar(self, own: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        costs = [attributes.get("about", {}).get("macs", 0) for attributes in (own, other)]
        same = own.get("share", 1.0) == other.get("share", 1.0)
        return same and min(costs) > 0 and abs(log(costs[0] / costs[1])) <= log(1 + self.within)


def pruner_of(spec: Spec, *, allow_code: bool = False) -> Prune | None:
    """Returns who ends the trainings of a search; None for nobody.

    Raises:
        SpecError: There is no such pruner, or it is not allowed to run.
    """
    assert spec.search
    choice = spec.search.pruner
    if choice.kind != "class":
        return Halving(choice.within) if choice.kind else None
    place = spec.search.place
    found = imported(choice.path, home_of(spec), place, allow_code=allow_code)
    try:
        pruner = found(**choice.args)
    except (TypeError, ValueError) as error:
        raise RunError(f"'{choice.path}' cannot be made of these arguments: {error}") from None
    if not isinstance(pruner, BasePruner):
        raise RunError(f"'{choice.path}' is no pruner of Optuna")
    return lambda trial, epoch, score: _asked(pruner, trial, epoch, score)


def _asked(pruner: BasePruner, trial: Trial, epoch: int, score: float) -> bool:
    trial.report(score, epoch)
    known: Sequence[FrozenTrial] = trial.study.get_trials(deepcopy=False)
    return pruner.prune(trial.study, known[trial.number])


def _is_rung(epoch: int) -> bool:
    while epoch % FACTOR == 0:
        epoch //= FACTOR
    return epoch == 1


def _behind(own: float, others: Sequence[float]) -> bool:
    """Whether a score is outside the best third; two others are needed to tell.

    >>> _behind(1.0, [2.0]), _behind(1.0, [2.0, 3.0]), _behind(3.0, [2.0, 1.0])
    (False, True, False)
    """
    if len(others) + 1 < FACTOR:
        return False
    better = sum(other > own for other in others)
    return better >= ceil((len(others) + 1) / FACTOR)
