"""What the hand-written baseline gets where training settings are searched: as many tries.

A trial of a search over networks and training settings is the best of many rates of learning as
well as of many networks. Beside it a baseline with the one rate that was written would look worse
than it is. So the written network is searched too, over the training settings alone: a study of its
own in `baseline/`, with as many trainings. The last step trains it with the best settings found.
"""

from __future__ import annotations

from dataclasses import replace

from flopwise.dsl import Search, Spec
from flopwise.dsl.domains import Domain
from flopwise.errors import FlopwiseError
from flopwise.search.evaluator import Evaluator
from flopwise.search.final import Tuned
from flopwise.search.folder import StudyFolder
from flopwise.search.identity import trial_identity
from flopwise.search.opening import Order, section, start
from flopwise.search.record import COSTS

__all__ = ["BASELINE", "tried", "tune"]

BASELINE = "baseline"
"""The study of the written network, beside that of the search."""
FEW = 16
"""Most values of a target that are all looked at; of others, the two ends."""
PLAIN = ("grid", "random")
"""Strategies that need nothing of a network; TPE stands in for the others."""


def tried(spec: Spec) -> tuple[str, ...]:
    """Returns the targets that change how the written network is trained, and not the network.

    None where all targets are such: the search itself is then that of the baseline.
    """
    space = section(spec).space
    found = [target for target, domain in space.items() if _leaves(spec, target, domain)]
    return tuple(found) if len(found) < len(space) else ()


def _leaves(spec: Spec, target: str, domain: Domain) -> bool:
    """Whether a target leaves the network and its initial values alone, whatever it is."""
    written = trial_identity(spec.network(), spec.recipe)
    values = domain.values() if domain.size <= FEW else domain.ends()
    try:
        found = {trial_identity(spec.network({target: value}), spec.recipe) for value in values}
    except FlopwiseError:  # such as heads that do not divide a width
        return False
    return found == {written}


def tune(
    spec: Spec, evaluator: Evaluator, home: StudyFolder, order: Order, trials: int
) -> Tuned | None:
    """Gives the written network as many trainings as the search has; None where it needs none.

    Args:
        spec: What is searched.
        evaluator: What trains.
        home: The folder of the search.
        order: Who asked for it.
        trials: Full trainings of the search.

    Returns:
        The best trial of the written network, and of how many it is the best.
    """
    search = section(spec)
    scores = [each for each in search.objectives if each[1] not in COSTS]
    targets = tried(spec) if evaluator.judge and search.final.top and scores else ()
    if not targets:
        return None
    alone = replace(spec, search=_alone(search, targets, scores[0]))
    names = ", ".join(targets)
    order.watch.note(f"baseline: the written network gets {trials} tries of {names} too")
    with home.part(BASELINE) as folder:
        outcome = start(alone, evaluator, folder, order).run()
    done = [row for row in outcome.trials if row.state == "done"]
    assert outcome.winner, "a study that ends has a winner"
    best = next(row for row in done if row.number == outcome.winner.trial)
    order.watch.note(f"baseline: best of {len(done)} tries, trial {best.number}; now the search")
    return Tuned(trial=best, tries=len(done))


def _alone(search: Search, targets: tuple[str, ...], objective: tuple[str, str]) -> Search:
    """Returns the search over some targets with no window on costs, which they leave alone."""
    kind = search.sampler.kind if search.sampler.kind in PLAIN else "tpe"
    return replace(
        search,
        space={target: search.space[target] for target in targets},
        when={target: each for target, each in search.when.items() if target in targets},
        fit=None,
        budget=(),
        require=(),
        objectives=(objective,),
        sampler=replace(search.sampler, kind=kind, path="", args={}),
        final=replace(search.final, top=0),
    )
