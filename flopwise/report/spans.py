"""Which values a stage's numbers take over a search space."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from math import prod

from flopwise.cost import Cost, StageCost, cost
from flopwise.dsl import Domain, Range, Spec
from flopwise.errors import SpecError

__all__ = ["Spans"]

MANY = 65  # values of one domain that are all looked at; of longer ranges the ends are
POINTS = 256  # networks that are looked at where several targets change one number
LISTED = 8  # values that are listed one by one

SINGLE = re.compile(r"\[(\d+|\*)\]")

Key = tuple[str, str]


class Spans:
    """The values of every number of every stage, by building the networks and looking."""

    def __init__(self, spec: Spec, written: Cost) -> None:
        """Looks at each target alone, then at the targets that change the same number."""
        self.spec = spec
        self.written = dict(_facts(written))
        self.space: Mapping[str, Domain] = {
            SINGLE.sub("", target): domain  # repetitions share a row, so they vary together
            for target, domain in (spec.search.space if spec.search else {}).items()
            if not target.startswith("train.")
        }
        self.found: dict[Key, list[str | int]] = {}
        self.causes: dict[Key, list[str]] = {}
        for target in self.space:
            for key, values in self._look((target,)).items():
                if set(values) - {self.written.get(key)}:
                    self.causes.setdefault(key, []).append(target)
                    self.found[key] = values
        self._look_together()

    def of(self, stage: str) -> Callable[[str], str]:
        """Returns what spells the values of a stage's columns."""

        def spell(column: str) -> str:
            key = (stage, column)
            if key not in self.found:
                return str(self.written[key] or "")
            domains = [self.space[target] for target in self.causes[key]]
            ranged = len(domains) == 1 and isinstance(domains[0], Range)
            return _spell(self.found[key], ranged)

        return spell

    def _look_together(self) -> None:
        seen: dict[tuple[str, ...], Mapping[Key, list[str | int]]] = {}
        for key, targets in self.causes.items():
            together = tuple(targets)
            if len(together) > 1:
                if together not in seen:
                    seen[together] = self._look(together)
                self.found[key] = seen[together][key]

    def _look(self, targets: Sequence[str]) -> dict[Key, list[str | int]]:
        """Returns all values of all numbers while these targets vary."""
        values = [_values(self.space[target]) for target in targets]
        if prod(map(len, values)) > POINTS:
            values = [[each[0], each[-1]] for each in values]
        found: dict[Key, list[str | int]] = {}
        for point in islice(product(*values), POINTS):
            for key, value in self._facts_at(dict(zip(targets, point, strict=True))):
                if value not in (known := found.setdefault(key, [])):
                    known.append(value)
        return found

    def _facts_at(self, picks: Mapping[str, object]) -> Iterator[tuple[Key, str | int]]:
        try:
            network = self.spec.network(picks)  # type: ignore[arg-type]
        except SpecError:  # such as heads that do not divide a width: no network, no numbers
            return
        yield from _facts(cost(network.graph))


def _facts(costs: Cost) -> Iterator[tuple[Key, str | int]]:
    for stage in costs.stages:
        yield (stage.name, "output"), _positions(stage)
        for column in ("block", "kernel", "width", "depth", "stride"):
            yield (stage.name, column), getattr(stage, column)


def _positions(stage: StageCost) -> str:
    """Says the height and width of a map, or the number of tokens."""
    if stage.kind == "vec":
        return ""
    return "x".join(map(str, stage.output[1:] if stage.kind == "map" else stage.output[:1]))


def _values(domain: Domain) -> list[object]:
    """Returns all values, or the first few and the last."""
    if isinstance(domain, Range) and domain.size > MANY:
        step = domain.step or (1 if domain.whole else 0)
        return [*dict.fromkeys((domain.low, domain.low + step, domain.high))]
    return list(domain.values()) if domain.size <= 4 * MANY else []


def _spell(values: Sequence[str | int], ranged: bool) -> str:
    numbers = sorted(value for value in values if isinstance(value, int))
    words = [value for value in values if isinstance(value, str)]
    if len(numbers) < 2 or words:
        listed = ",".join(str(value) for value in (*numbers, *words)[:LISTED])
        more = ",..." if len(values) > LISTED else ""
        return f"{{{listed}{more}}}" if len(values) > 1 else listed
    steps = {b - a for a, b in pairwise(numbers)}
    step = numbers[1] - numbers[0]
    even = len(steps) == 1 or all(each % step == 0 for each in steps)
    if not ranged and len(numbers) <= LISTED:
        return "{" + ",".join(map(str, numbers)) + "}"
    tail = f"/{step}" if even and step > 1 else ""
    return f"{numbers[0]}..{numbers[-1]}{tail}"
