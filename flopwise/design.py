"""The facade: a spec and everything that can be done with it. The command line has no more.

>>> import flopwise
>>> design = flopwise.load("std/resnet18")
>>> design.cost().params
11689512
>>> design.set(w=32).cost().macs < design.cost().macs
True
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise import dsl
from flopwise.dsl.files import presets
from flopwise.errors import FlopwiseError, RunError, SpecError

if TYPE_CHECKING:  # types only: torch, timm and optuna arrive when a method needs them
    from flopwise.cost import Cost
    from flopwise.nets.runtime import Network as Module

__all__ = ["Design", "export", "load", "loads", "search"]


@dataclass(frozen=True, eq=False)
class Design:
    """A loaded spec: one concrete network, perhaps with a space around it.

    Attributes:
        spec: The checked spec.
    """

    spec: dsl.Spec

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def network(self) -> dsl.Network:
        """The network as it is written."""
        return self.spec.network()

    @property
    def hash(self) -> str:
        """Identity of the network: equal for equal layer graphs, whatever their names."""
        return self.network.hash

    def set(self, paths: Mapping[str, object] = {}, /, **variables: object) -> Design:
        """Returns the same spec with other values at these paths.

        Args:
            paths: Dotted path or variable -> value; a text is read as YAML, so `"$(2*w)"` works.
            **variables: The same, for paths that are Python names.
        """
        return Design(self.spec.set(_sets({**paths, **variables})))

    def cost(self) -> Cost:
        """Returns MACs, parameters and activations, in total and per stage. No torch."""
        from flopwise.cost import cost

        return cost(self.network.graph)

    def facts(self) -> dict[str, Any]:
        """Returns what `flopwise show --json` prints: plain values, exact integers."""
        spec = self.spec
        return {
            "name": spec.name,
            "hash": self.hash,
            "input": [spec.input.channels, *spec.input.size],
            "classes": spec.classes,
            **self.cost().as_dict(),
        }

    def render(self) -> str:
        """Returns the resolved spec: the same network without variables, defaults or parents."""
        return self.spec.render({})

    def source(self) -> str:
        """Returns the network as PyTorch source that needs torch and timm only."""
        from flopwise import nets

        return nets.source(self.network)

    def build(self, *, seed: int | None = None, device: str | None = None) -> Module:
        """Returns the network as a torch module with timm's model contract.

        Args:
            seed: Seed of the weights; None draws from torch's global generator.
            device: Where it is built; `meta` allocates nothing.
        """
        from flopwise import nets

        return nets.build(self.network, seed=seed, device=device)


def load(
    path: str | Path, paths: Mapping[str, object] = {}, /, **variables: object
) -> Design:
    """Reads a spec.

    Args:
        path: A YAML file, or a shipped network: `std/resnet50`, or `resnet50` if no file is called so.
        paths: Dotted path or variable -> value, set on top of what the file says.
        **variables: The same, for paths that are Python names.

    Raises:
        SpecError: Every fault of the file at once.
    """
    if str(path) in presets() and not Path(path).exists():
        path = f"std/{path}"
    return Design(dsl.load(path, sets=_sets({**paths, **variables})))


def loads(text: str, *, name: str = "<text>") -> Design:
    """Reads a spec from a text; `name` is what faults call it."""
    return Design(dsl.loads(text, name=name))


def _sets(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Writes values as YAML; texts are YAML already."""
    return tuple(
        (path, value if isinstance(value, str) else json.dumps(value))
        for path, value in values.items()
    )


def search(*a, **k): ...
def export(*a, **k): ...
