"""The settings of a stage over all picks, each worked out once for what it depends on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from flopwise.blocks import Block
from flopwise.blocks.signature import Field
from flopwise.dsl.evaluate import Around, Written, evaluated, written_of
from flopwise.dsl.expr import Value
from flopwise.dsl.plan import Setting, StagePlan

__all__ = ["Settled"]

Varying: TypeAlias = list[tuple[str, Field, Setting, tuple[str, ...], dict[Any, Any]]]


class Settled:
    """What is known of the settings of one stage."""

    def __init__(self, plan: StagePlan) -> None:
        """Takes the stage as it is written."""
        self.plan = plan
        self._written: dict[Any, Written] = {}
        self._split: dict[Any, tuple[dict[str, Any], Varying]] = {}

    def values(
        self, block: Block, names: Collection[str], around: Around, at: int, depth: int
    ) -> dict[str, Any]:
        """Returns some settings of one repetition.

        Args:
            block: The block of the stage.
            names: Which of its settings.
            around: What they are evaluated with.
            at: The number of the repetition.
            depth: How many there are.

        Raises:
            SpecError: One of them cannot be worked out, or does not fit.
        """
        written, scope = self.written(block, around), {**around.scope, "i": at, "n": depth}
        key = (block, tuple(names), id(written), at if written.single else 0)
        if key not in self._split:
            self._split[key] = self._apart(block, names, written.at(at), scope)
        fixed, varying = self._split[key]
        found = dict(fixed)
        for name, field, setting, needed, known in varying:
            worth = tuple([(scope[each].__class__, scope[each]) for each in needed])
            if worth not in known:
                known[worth] = self._value(block, name, field, {name: setting}, scope)
            found[name] = known[worth]
        return found | {name: scope[name] for name in block.scope}

    def written(self, block: Block, around: Around) -> Written:
        """Returns the setting that holds for each field.

        Picks are the same setting wherever they are of the same value.
        """
        picked = [(path, id(each)) for path, each in around.picks.items() if "." in path]
        key = (block, *picked)
        if key not in self._written:
            self._written[key] = written_of(self.plan, block, around)
        return self._written[key]

    def _apart(
        self,
        block: Block,
        names: Collection[str],
        written: Mapping[str, Setting],
        scope: Mapping[str, Value],
    ) -> tuple[dict[str, Any], Varying]:
        """Returns the settings that are always the same, and what the others are made from."""
        fixed: dict[str, Any] = {}
        varying: Varying = []
        for name in names:
            field = block.fields[name]
            setting = written.get(name)
            if setting and setting.names:
                varying.append((name, field, setting, tuple(sorted(setting.names)), {}))
            else:
                fixed[name] = self._value(block, name, field, written, scope)
        return fixed, varying

    def _value(
        self,
        block: Block,
        name: str,
        field: Field,
        written: Mapping[str, Setting],
        scope: Mapping[str, Value],
    ) -> Any:
        part = replace(block, fields={name: field}, scope=())
        return dict(evaluated(self.plan, part, written, scope))[name]
