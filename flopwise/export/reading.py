"""Reading a network as a family of timm would: its settings, and every reason against it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flopwise.blocks import Layer, Type
from flopwise.dsl import Network, Stage
from flopwise.errors import RunError

__all__ = ["ACTS", "NotNativeError", "Reading"]

ACTS = {  # our word for an activation -> timm's
    "relu": "relu",
    "relu6": "relu6",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "hardswish": "hard_swish",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hard_sigmoid": "hard_sigmoid",
    "none": "identity",
}


GROUPS = 32
"""Of timm's group norm."""


class NotNativeError(RunError):
    """The network is no member of a family that stock timm builds from JSON.

    Attributes:
        reasons: Every setting that stands in the way, each with what timm wants.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        lines = "".join(f"\n  - {reason}" for reason in self.reasons)
        super().__init__(f"stock timm cannot build this network from JSON alone:{lines}")


@dataclass
class Reading:
    """One network in the eyes of one family.

    Attributes:
        network: What is read.
        family: The family's name in prose.
        reasons: What stands in the way so far.
    """

    network: Network
    family: str
    reasons: list[str] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    @cached_property
    def keys(self) -> dict[str, tuple[int, ...]]:
        """The checkpoint's keys with their shapes."""
        return self.network.graph.keys()

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The layer of each stage."""
        return {layer.name: layer for layer in self.network.graph.layers if layer.name}

    def need(self, truth: bool, reason: str) -> None:
        """Notes a reason against the network unless something holds."""
        if not truth:
            self.reasons.append(reason)

    def finish(self) -> None:
        """Raises all reasons, those for settings that the family never asked about included."""
        for stage in self.network.stages:
            for name, asked in stage.block.fields.items():
                if (stage.name, name) not in self._seen:
                    values = [settings[name] for settings in stage.settings]
                    odd = [value for value in values if value != asked.default]
                    self.need(
                        not odd, f"{stage.name}.{name} {odd[:1]}: {self.family} has no such setting"
                    )
        if self.reasons:
            raise NotNativeError(self.reasons)

    def layout(self, pattern: str, words: str) -> tuple[Stage, ...]:
        """Returns the stages if their blocks stand in the family's order; raises otherwise."""
        stages = self.network.stages
        order = " ".join(stage.block.name for stage in stages)
        graph = self.network.graph
        chain = all(layer.inputs == (place,) for place, layer in enumerate(graph.layers))
        self.need(chain, f"stages are wired with 'from': {self.family} is a plain chain")
        fits = re.fullmatch(pattern, order)
        self.need(
            fits is not None, f"the stages are {order.replace(' ', ', ')}; {self.family} is {words}"
        )
        if self.reasons:
            raise NotNativeError(self.reasons)
        return stages

    def value(self, stage: Stage, setting: str) -> Any:
        """Returns a setting that all repetitions of a stage must share."""
        self._seen.add((stage.name, setting))
        once = stage.block.fields[setting].first or setting not in stage.block.own
        values = [settings[setting] for settings in stage.settings[: 1 if once else None]]
        self.need(
            len(set(values)) == 1,
            f"{stage.name}.{setting} differs between repetitions ({_list(values)})",
        )
        return values[0]

    def shared(self, stages: Sequence[Stage], setting: str) -> Any:
        """Returns a setting that several stages must share; None where there is no such stage."""
        values = [self.value(stage, setting) for stage in stages]
        told = _list(f"{stage.name} {value}" for stage, value in zip(stages, values, strict=True))
        self.need(
            len(set(values)) <= 1,
            f"{setting} differs between stages ({told}); {self.family} has one",
        )
        return values[0] if values else None

    def fixed(self, stage: Stage, setting: str, wanted: object) -> None:
        """Demands one value of a setting."""
        found = self.value(stage, setting)
        self.need(found == wanted, f"{stage.name}.{setting} {found} ({self.family} fixes {wanted})")

    def act(self, stages: Sequence[Stage]) -> str:
        """Returns timm's name of the one activation of these stages."""
        found: str = self.shared(stages, "act")
        self.need(found in ACTS, f"act {found}: timm has no activation of that name")
        return ACTS.get(found, found)

    def even_groups(self, norm: str) -> None:
        """Demands that a group norm has timm's 32 groups; ours has as many as the width allows."""
        norms = {s[0] for key, s in self.keys.items() if len(s) == 1 and key.endswith(".weight")}
        odd = sorted(width for width in norms if width % GROUPS) if norm == "gn" else []
        told = f"group norms of {_list(odd)} channels ({self.family} has {GROUPS} groups)"
        self.need(not odd, told)

    def covered(self, stage: Stage, *settings: str) -> None:
        """Says that settings are read off the shapes they lead to."""
        self._seen.update((stage.name, setting) for setting in settings)

    def widths(self, stage: Stage, layer: str) -> list[int]:
        """Returns the output channels of a layer in every repetition of a stage."""
        return [self.keys[f"{stage.name}.{i}.{layer}.weight"][0] for i in range(stage.depth)]

    def output(self, stage: Stage) -> Type:
        """Returns what a stage puts out."""
        return self.layers[stage.name].outputs[0]


def _list(values: Any) -> str:
    return ", ".join(map(str, values))
