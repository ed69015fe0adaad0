"""What a space says that cannot be meant: values that make no network, whatever the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flopwise.dsl.domains import Choice, Domain, Range, spell
from flopwise.dsl.expr import Value
from flopwise.dsl.network import Network
from flopwise.dsl.space import Search
from flopwise.errors import Fault, SpecError

__all__ = ["unfit"]

MISFITS = ("E202", "E203", "E204", "E206", "E207")
"""What is wrong with a value itself, wherever it comes from."""


def unfit(search: Search, network: Callable[[Mapping[str, Value]], Network]) -> Iterator[Fault]:
    """Warns of variables with a value that a stage refuses whatever the others are.

    Args:
        search: The space.
        network: Builds the network of picks; the rest keeps its written value.
    """
    for target, domain in search.space.items():
        if "." in target or target in search.when:
            continue  # a place is checked as it is read; a condition may make others count
        for value in _samples(domain):
            try:
                network({target: value})
            except SpecError as error:
                if error.faults[0].code not in MISFITS:
                    continue
                told = error.faults[0]
                fact = f"'{target}' = {spell(value)} makes no network: {told.message}"
                also = ((told.place, "refused here"),) if told.place else ()
                slip = told.helps if told.code == "E202" else ()
                help_ = "take such values out of the domain; a search draws them for nothing"
                place = search.places[target]
                yield Fault(
                    code="W504", message=fact, place=place, also=also, helps=slip or (help_,)
                )
                break


def _samples(domain: Domain) -> tuple[Value, ...]:
    """Returns all values of a choice, and the ends and the first step of a range."""
    if isinstance(domain, Choice):
        return domain.options
    if isinstance(domain, Range) and domain.step is not None:
        return (domain.low, domain.low + domain.step, domain.high)
    return tuple(domain.ends())
