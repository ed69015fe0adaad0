"""Recipes that cannot be followed, told at the places they are written, before any training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod

from flopwise.dsl import Domain, Recipe, Spec, Value
from flopwise.errors import Fault, Place, SpecError
from flopwise.train import Data, wrong_settings

__all__ = ["refuse_settings"]

VALUES = 64
"""Most values of a target that are looked at one by one; of larger domains only the ends are."""
SHOWN = 5
"""Most faults of one kind of a setting that are told one by one."""
COMBINATIONS = 128
"""Most recipes that are looked at in combination; of more, each value beside written ones."""


def refuse_settings(
    specs: Iterable[Spec], data: Data, processes: int = 1, *, searched: bool = False
) -> None:
    """Refuses settings that no training could follow.

    Args:
        specs: Specs on the same images.
        data: The images.
        processes: How many share each training.
        searched: Whether what their searches may pick is looked at too.

    Raises:
        SpecError: All that is wrong, each fault once.
    """
    found: dict[tuple[str, Place | None], dict[str, Fault]] = {}
    for spec in specs if searched else (replace(each, search=None) for each in specs):
        for recipe in dict.fromkeys(_recipes(spec)):
            for setting, fault in wrong_settings(data, recipe, processes):
                place = _place(spec, setting)
                alike = found.setdefault((fault.code, place), {})
                alike.setdefault(fault.message, replace(fault, place=place))
    if found:
        raise SpecError(fault for alike in found.values() for fault in _shown([*alike.values()]))


def _shown(faults: Sequence[Fault]) -> Iterator[Fault]:
    """Yields faults of one kind and place; of many the first, and how many more there are."""
    yield from faults[: SHOWN - 1]
    for last in faults[SHOWN - 1 : SHOWN]:
        more = f"{len(faults) - SHOWN} more values that may be picked here are wrong as well"
        yield replace(last, notes=(*last.notes, more)) if len(faults) > SHOWN else last


def _recipes(spec: Spec) -> Iterator[Recipe]:
    """Yields the written recipe and those that a search may pick.

    Targets that `require` names stay as written: what they go wrong with may be ruled out by it.
    """
    yield spec.recipe
    if not spec.search:
        return
    ruled = {name for each in spec.search.require for name in each.names}
    domains = {name: each for name, each in spec.search.space.items() if name not in ruled}
    found = ((target, _values(domain)) for target, domain in domains.items())
    several = {target: values for target, values in found if _counts(spec, target, values)}
    points = [{target: value} for target, values in several.items() for value in values]
    if prod(map(len, several.values())) <= COMBINATIONS:
        points = [dict(zip(several, each, strict=True)) for each in product(*several.values())]
    for point in points:
        yield spec.recipe_for(spec.active(point))


def _values(domain: Domain) -> tuple[Value, ...]:
    return domain.values() if domain.size <= VALUES else domain.ends()


def _counts(spec: Spec, target: str, values: Iterable[Value]) -> bool:
    """Whether a target changes the recipe, itself or through an expression."""
    return any(spec.recipe_for({target: value}) != spec.recipe for value in values)


def _place(spec: Spec, setting: str) -> Place | None:
    """Returns where a setting gets its value: the domain of a search, or the line in `train`."""
    if spec.search and setting in spec.search.places:
        return spec.search.places[setting]
    written = spec.plan.places.get(setting)
    return written.place if written else None
