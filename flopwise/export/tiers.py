"""What a spec and the networks of its space can be shipped as, told before anything is trained.

Arithmetic alone: no torch. A small space is looked at as a whole. Of a larger one every value is
tried alone, then corners and seeded draws; what these do not explain value by value is cut down to
the fewest values that cost the better form together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice, product
from math import prod
from random import Random
from time import process_time
from typing import Any

from flopwise.dsl import Spec
from flopwise.dsl.domains import Dice, Domain, spell
from flopwise.dsl.expr import Value
from flopwise.errors import SpecError
from flopwise.export.config import TierName
from flopwise.export.family import Tier, tier

__all__ = ["Cost", "Tiers", "tiers"]

SHOWN = 6
"""Most reasons that are listed."""
MOST = 1024
"""Most networks of a space that is looked at as a whole."""
CORNERS = 128
DRAWS = 256
"""How many are looked at in a larger one."""
LISTED = 16
"""Most values of one target that are tried; of more, as many that lie evenly."""
RANK: dict[TierName, int] = {"native": 0, "carrier": 1, "standalone": 2}
Picks = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Values that change the tier of the written network.

    Attributes:
        picks: The values; several of them do it only together.
        tier: What the network becomes.
        reason: Why; empty where it becomes better.
        always: Whether no network that was looked at has these values and a better tier.
    """

    picks: Picks
    tier: TierName
    reason: str
    always: bool

    def __str__(self) -> str:
        many = "together are" if len(self.picks) > 1 else "is"
        other = "" if self.always else " unless others change too"
        why = f"{other}: {self.reason}" if self.reason else ""
        return f"{_spelled(self.picks)} {many} {self.tier}{why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """The tiers of a spec.

    Attributes:
        written: That of the network as it is written.
        looked: Networks of the space that were looked at.
        every: Whether the space has no others.
        counts: Tier -> how many of them have it.
        costs: Values that make it worse, then those that make it better.
    """

    written: Tier
    looked: int = 0
    every: bool = True
    counts: Mapping[TierName, int] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns what `check --json` prints; without a space only the tier."""
        told = asdict(self.written)
        told = {"tier": told.pop("name"), **told}
        if self.looked:
            told["corners"] = {"looked": self.looked, "every": self.every, **self.counts}
            told["costs"] = [asdict(cost) for cost in self.costs]
        return told

    def __str__(self) -> str:
        told = [f"not native: {reason}" for reason in self.written.reasons]
        told += map(str, self.costs)
        lines = [f"export: {_name(self.written)} as written{self._counted()}"]
        lines += [f"  {line}" for line in told[:SHOWN]]
        if len(told) > SHOWN:
            lines.append(f"  and {len(told) - SHOWN} more")
        return "\n".join(lines)

    def _counted(self) -> str:
        if not self.looked:
            return ""
        of = f"the {self.looked} networks of the space"
        if not self.every:
            of = f"{self.looked} networks of the space that were looked at"
        if len(self.counts) == 1:
            return f", and so are {of if not self.every else 'all of ' + of}"
        return f"; of {of}, " + ", ".join(f"{n} {name}" for name, n in self.counts.items())


def tiers(spec: Spec, *, seconds: float = 2.0) -> Tiers:
    """Looks at the written network and at those of its space.

    Args:
        spec: A spec, with a space or without.
        seconds: CPU time after which no more networks are looked at.
    """
    if spec.search is None:
        return Tiers(written=tier(spec.network()))
    return _Space(spec, process_time() + seconds).tiers()


class _Space:
    """One space; remembers what it has looked at."""

    def __init__(self, spec: Spec, end: float) -> None:
        assert spec.search is not None
        fit = {spec.search.fit.vary: spec.search.fit.domain} if spec.search.fit else {}
        space = {**spec.search.space, **fit}
        self.spec, self.end = spec, end
        self.space = {t: each for t, each in space.items() if not t.startswith("train.")}
        self.axes = {target: _values(domain) for target, domain in self.space.items()}
        self.base = {t: v for t, v in spec.written.items() if t in self.axes}
        self.seen: dict[tuple[tuple[str, Value], ...], Tier | None] = {}

    def tiers(self) -> Tiers:
        written = self.look(self.base)
        assert written is not None, "the written network was built before"
        every = prod(each.size for each in self.space.values()) <= MOST
        for picks in self._all() if every else self._some():
            if process_time() > self.end:
                every = False
                break
            self.look(picks)
        names = [found.name for key, found in self.seen.items() if found and self._inside(key)]
        counts = Counter(names)
        return Tiers(
            written=written,
            looked=len(names),
            every=every,
            counts={name: counts[name] for name in RANK if counts[name]},
            costs=(*self._worse(written), *self._better(written)),
        )

    def look(self, picks: Picks) -> Tier | None:
        """Returns the tier of a network; None where the picks make none."""
        active = self.spec.active(picks)
        key = tuple(sorted(active.items()))
        if key not in self.seen:
            try:
                self.seen[key] = tier(self.spec.network(active))
            except SpecError:  # such as heads that do not divide a width
                self.seen[key] = None
        return self.seen[key]

    def _all(self) -> Iterator[Picks]:
        for values in product(*(domain.values() for domain in self.space.values())):
            yield dict(zip(self.space, values, strict=True))

    def _some(self) -> Iterator[Picks]:
        """Yields each value alone, some corners, and seeded draws."""
        for target, values in self.axes.items():
            yield from ({**self.base, target: value} for value in values)
        ends = {target: domain.ends() for target, domain in self.space.items()}
        for corner in islice(product((0, 1), repeat=len(ends)), CORNERS):
            yield {t: each[at] for (t, each), at in zip(ends.items(), corner, strict=True)}
        random = Random(0)
        dice = Dice(below=random.randrange, between=random.uniform)
        for _ in range(DRAWS):
            yield {target: domain.draw(dice) for target, domain in self.space.items()}

    def _worse(self, written: Tier) -> Iterator[Cost]:
        """Yields the values that cost the written network its tier, alone or together."""
        known: list[Cost] = []
        for key, found in sorted(self.seen.items(), key=lambda item: self._distance(item[0])):
            if found is None or RANK[found.name] <= RANK[written.name] or len(known) > 8 * SHOWN:
                continue
            picks = dict(key)
            if any(c.tier == found.name and c.picks.items() <= picks.items() for c in known):
                continue
            cost = self._cost(picks, partial(_ranks, at_least=RANK[found.name]))
            known.append(cost)
            yield cost

    def _better(self, written: Tier) -> Iterator[Cost]:
        """Yields the fewest values that give the written network the best tier of the space."""
        found = {key: each for key, each in self.seen.items() if each}
        best = min(found, key=lambda key: (RANK[found[key].name], self._distance(key)))
        rank = RANK[found[best].name]
        if rank < RANK[written.name]:
            yield self._cost(dict(best), partial(_ranks, at_most=rank))

    def _cost(self, picks: Picks, holds: Callable[[Tier], bool]) -> Cost:
        """Returns the fewest of these picks that, beside the written values, still do it."""
        changed = {t: value for t, value in picks.items() if self.base.get(t) != value}
        for target in list(changed):
            fewer = {t: value for t, value in changed.items() if t != target}
            found = self.look({**self.base, **fewer})
            if fewer and found and holds(found):
                changed = fewer
        made = self.look({**self.base, **changed})
        assert made is not None, "what was looked at makes a network"
        others = (each for key, each in self.seen.items() if changed.items() <= dict(key).items())
        always = all(RANK[each.name] >= RANK[made.name] for each in others if each)
        reason = made.reasons[0] if made.reasons else ""
        return Cost(picks=changed, tier=made.name, reason=reason, always=always)

    def _inside(self, key: tuple[tuple[str, Value], ...]) -> bool:
        """Whether a network is one of the space; the written one need not be."""
        return all(self.space[target].contains(value) for target, value in key)

    def _distance(self, key: tuple[tuple[str, Value], ...]) -> int:
        """Returns how many targets differ from what is written."""
        return sum(self.base.get(target) != value for target, value in key)


def _values(domain: Domain) -> tuple[Value, ...]:
    """Returns the values of a domain that are tried: all, or some that lie evenly."""
    try:
        values = tuple(domain.values()) if domain.size <= MOST else ()
    except ValueError:  # infinitely many
        values = ()
    if not values:
        random = Random(0)
        dice = Dice(below=random.randrange, between=random.uniform)
        values = (*domain.ends(), *(domain.draw(dice) for _ in range(LISTED - 2)))
    step = -(-len(values) // LISTED)
    return tuple(dict.fromkeys((*values[::step], values[-1])))


def _ranks(found: Tier, *, at_least: int = 0, at_most: int = len(RANK)) -> bool:
    return at_least <= RANK[found.name] <= at_most


def _spelled(picks: Picks) -> str:
    return ", ".join(f"{target}={spell(value)}" for target, value in picks.items())


def _name(found: Tier) -> str:
    if found.name == "standalone":
        return "standalone (with model.py)"
    dead = f"; {found.dead_params:,} dead parameters" if found.dead_params else ""
    return f"{found.name} ({found.family}{dead})"
