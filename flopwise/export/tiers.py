"""What a spec and the corners of its space can be shipped as, told before anything is trained.

Arithmetic alone: no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import process_time
from typing import Any

from flopwise.dsl import Spec
from flopwise.dsl.domains import Choice, spell
from flopwise.errors import SpecError
from flopwise.export.family import Tier, tier

__all__ = ["Tiers", "tiers"]

SHOWN = 4
"""Most reasons that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """The tiers of a spec.

    Attributes:
        written: That of the network as it is written.
        looked: Corners of the space that could be built and were looked at.
        native: How many of them stock timm builds.
        costs: Target and value -> why that value alone costs a native network its tier.
    """

    written: Tier
    looked: int = 0
    native: int = 0
    costs: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"export: {_name(self.written)} as written"]
        if self.looked:
            many = f"{self.looked} corners of the space looked at"
            if self.native in (0, self.looked):
                same = "native" if self.native else "standalone"
                lines[0] += f", {same} at all {many}"
            else:
                lines[0] += f", native at {self.native} of {many}"
        if self.written.name == "native":
            told = [f"{value} is standalone: {reason}" for value, reason in self.costs.items()]
        else:
            told = [f"not native: {reason}" for reason in self.written.reasons]
        lines += [f"  {line}" for line in told[:SHOWN]]
        if len(told) > SHOWN:
            lines.append(f"  and {len(told) - SHOWN} more")
        return "\n".join(lines)


def tiers(spec: Spec, *, seconds: float = 0.2) -> Tiers:
    """Looks at the written network, each target at its values or ends, and all ends together.

    Args:
        spec: A spec, with a space or without.
        seconds: CPU time after which no more corners are looked at.
    """
    end = process_time() + seconds
    written = tier(spec.network())
    found: dict[str, Tier] = {}
    for picks in _corners(spec):
        if process_time() > end:
            break
        try:
            corner = tier(spec.network(spec.active(picks)))
        except SpecError:  # such as heads that do not divide a width
            continue
        found[", ".join(f"{k}={spell(v)}" for k, v in picks.items())] = corner
    return Tiers(
        written=written,
        looked=len(found),
        native=sum(corner.name == "native" for corner in found.values()),
        costs={
            picks: corner.reasons[0]
            for picks, corner in found.items()
            if corner.name == "standalone" and ", " not in picks
        },
    )


def _corners(spec: Spec) -> Iterator[dict[str, Any]]:
    """Yields each target alone at its values or ends, then all of them at their ends."""
    space = spec.search.space if spec.search else {}
    for target, domain in space.items():
        values = domain.values() if isinstance(domain, Choice) else domain.ends()
        yield from ({target: value} for value in dict.fromkeys(values))
    if len(space) > 1:
        yield from ({t: domain.ends()[end] for t, domain in space.items()} for end in (0, 1))


def _name(found: Tier) -> str:
    return f"native ({found.family})" if found.name == "native" else "standalone (with model.py)"
