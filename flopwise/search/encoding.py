"""Targets as Optuna's parameters, and back.

A choice or a range is one parameter of the target's own name. A list among the values of a choice
stands there as text, with its number, since Optuna keeps only scalars. A subset is one yes or no
per element; an order of elements is one number in [0, 1] per element, smallest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from flopwise.dsl import Choice, Domain, Permutation, Subset, spell
from flopwise.search.candidates import Pick

__all__ = ["decode", "distribution", "encode", "parameters", "suggest"]


def parameters(name: str, domain: Domain) -> dict[str, BaseDistribution]:
    """Returns the parameters that stand for a target."""
    if not isinstance(domain, Subset | Permutation):
        return {name: distribution(domain)}
    if domain.size == 1:
        return {}
    one: BaseDistribution = FloatDistribution(0.0, 1.0)
    if isinstance(domain, Subset):
        one = CategoricalDistribution((False, True))
    return {f"{name}[{spell(element)}]": one for element in domain.elements}


def distribution(domain: Domain) -> BaseDistribution:
    """Returns Optuna's word for a choice or a range."""
    assert not isinstance(domain, Subset | Permutation), "these are several parameters"
    if isinstance(domain, Choice):
        return CategoricalDistribution(_options(domain))
    if domain.whole:
        step = 1 if domain.log else int(domain.step or 1)
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def encode(name: str, domain: Domain, value: Pick) -> dict[str, Any]:
    """Returns the values of a target's parameters that stand for a pick."""
    names = tuple(parameters(name, domain))
    if isinstance(domain, Choice) and isinstance(value, tuple):
        return {name: _options(domain)[domain.options.index(value)]}
    if not isinstance(domain, Subset | Permutation):
        return {name: value}
    assert isinstance(value, tuple), "subsets and orders are lists"
    if isinstance(domain, Subset):
        return {each: e in value for each, e in zip(names, domain.elements, strict=False)}
    keys = {element: (at + 0.5) / len(value) for at, element in enumerate(value)}
    return {each: keys[e] for each, e in zip(names, domain.elements, strict=False)}


def decode(name: str, domain: Domain, found: Mapping[str, Any]) -> Pick | None:
    """Returns the pick that values of parameters stand for; None if some are missing."""
    names = tuple(parameters(name, domain))
    if any(each not in found for each in names):
        return None
    if isinstance(domain, Choice):
        at = _options(domain).index(found[name]) if isinstance(found[name], str) else None
        value: Pick = found[name] if at is None else domain.options[at]
        return value
    if isinstance(domain, Subset):
        return _subset(domain, [bool(found[each]) for each in names])
    if isinstance(domain, Permutation):
        pairs = zip([found[each] for each in names] or [0.0], domain.elements, strict=True)
        return tuple(element for _, element in sorted(pairs, key=lambda pair: pair[0]))
    number: Pick = found[name]
    return number


def suggest(trial: Trial, name: str, domain: Domain) -> Pick:
    """Makes the value of one target parameters of the trial and returns it."""
    found = {each: _suggest(trial, each, known) for each, known in parameters(name, domain).items()}
    value = decode(name, domain, found)
    assert value is not None, "every parameter has a value"
    return value


def _suggest(trial: Trial, name: str, known: BaseDistribution) -> Any:
    if isinstance(known, CategoricalDistribution):
        return trial.suggest_categorical(name, known.choices)
    if isinstance(known, IntDistribution):
        return trial.suggest_int(name, known.low, known.high, step=known.step, log=known.log)
    assert isinstance(known, FloatDistribution)
    return trial.suggest_float(name, known.low, known.high, step=known.step, log=known.log)


def _options(domain: Choice) -> tuple[bool | int | float | str, ...]:
    return tuple(
        f"{at}: {spell(option)}" if isinstance(option, tuple) else option
        for at, option in enumerate(domain.options)
    )


def _subset(domain: Subset, taken: list[bool]) -> Pick:
    """Returns the list, mended where it is shorter or longer than allowed.

    Which elements come or go is decided by the elements taken, so the same proposal always means
    the same list and no element is preferred.
    """
    if not taken:  # only one list is possible
        return domain.elements[: domain.least]
    order = list(range(len(taken)))
    Random(str(taken)).shuffle(order)
    for wrong, few in ((True, sum(taken) - domain.most), (False, domain.least - sum(taken))):
        for at in [index for index in order if taken[index] is wrong][: max(few, 0)]:
            taken[at] = not wrong
    return tuple(e for e, each in zip(domain.elements, taken, strict=True) if each)
