"""Two networks beside each other, in words."""

from __future__ import annotations

from collections.abc import Iterator

from flopwise.dsl.differing import Comparison
from flopwise.report.tables import Table, draw
from flopwise.report.words import quantity

__all__ = ["describe_comparison"]


def describe_comparison(found: Comparison) -> str:
    """Says what differs: stages and settings, costs, recipe."""
    return "\n".join(_lines(found))


def _lines(found: Comparison) -> Iterator[str]:
    old, new = found.names
    short = [each[:16] for each in found.hashes]
    if found.same:
        yield f"{old} and {new} are the same network, hash {short[0]}"
    else:
        yield f"{old} (hash {short[0]}) -> {new} (hash {short[1]})"
    if found.network:
        yield ""
        yield from map(str, found.network)
    yield ""
    yield draw(_costs(found)).rstrip()
    if found.recipe:
        yield ""
        yield from map(str, found.recipe)


def _costs(found: Comparison) -> Table:
    heads = {"macs": "MACs"}
    rows = tuple(
        (heads.get(metric, metric), old, new, _signed(new - old), _share(old, new))
        for metric, (old, new) in found.costs.items()
    )
    return Table(heads=("", *_distinct(found.names), "difference", ""), rows=rows)


def _distinct(names: tuple[str, str]) -> tuple[str, str]:
    return names if names[0] != names[1] else (f"{names[0]} (old)", f"{names[1]} (new)")


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{quantity(abs(count))}" if count else "0"


def _share(old: int, new: int) -> str:
    return f"{(new - old) / old:+.1%}" if old else ""
