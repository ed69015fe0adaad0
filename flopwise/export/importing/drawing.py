"""Stages to the text of a spec, as a person would write it: no default is spelled out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flopwise.blocks import BLOCKS
from flopwise.dsl.files import VERSION
from flopwise.dsl.flow import flow, text
from flopwise.dsl.format import format_text

__all__ = ["Each", "Head", "Line", "draw"]

STYLES = ("norm", "act", "eps", "gamma", "pad")
"""Settings that a whole network often shares, whatever its blocks."""
PLACED = frozenset({"dim", "hidden", "heads", "stride", "depth", "layout"})
"""Settings that are read line by line, even where all stages agree."""


class Each(tuple[Any, ...]):
    """The values of a setting in the repetitions of a stage."""


@dataclass(frozen=True, slots=True)
class Line:
    """A stage of the table.

    Attributes:
        name: Its id.
        block: The block it repeats.
        settings: What the model has; a default of the block may be among it.
        depth: How often it is repeated; None for a block that stands alone.
    """

    name: str
    block: str
    settings: Mapping[str, Any]
    depth: int | None = None

    def written(self) -> dict[str, Any]:
        """Returns the settings that are no defaults."""
        fields = BLOCKS[self.block].fields
        plain = {key: _plain(value) for key, value in self.settings.items() if value is not None}
        return {k: v for k, v in plain.items() if fields[k].required or v != fields[k].default}

    def value(self, key: str) -> Any:
        """Returns what a setting has, be it its default."""
        return self.written().get(key, BLOCKS[self.block].fields[key].default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands above the table.

    Attributes:
        name: The name of the spec.
        doc: Where it comes from.
        remark: What the language has no key for.
        size: Height and width of the images.
        channels: Their channels.
        classes: Number of classes.
        expect: Cost -> the count.
    """

    name: str
    doc: str
    remark: str
    size: tuple[int, int]
    channels: int
    classes: int
    expect: Mapping[str, int]


def draw(head: Head, lines: Sequence[Line]) -> str:
    """Returns the text of a spec in its canonical layout."""
    shared, everywhere = _defaults(lines)
    size = head.size[0] if head.size[0] == head.size[1] else list(head.size)
    rows = [
        f"spec: {VERSION}",
        f"name: {text(head.name)}",
        f"doc: {_prose(head.doc)}",
        *([f"# {head.remark}"] if head.remark else []),
        f"input: {flow({'size': size, 'channels': head.channels})}",
        f"classes: {head.classes}",
        "",
    ]
    told = {**everywhere, **{name: settings for name, settings in shared.items() if settings}}
    rows += [f"defaults: {_flow(told)}"] if told else []
    rows.append("net:")
    for line in lines:
        left = line.written().items() - {**everywhere, **shared.get(line.block, {})}.items()
        kept = {key: value for key, value in line.written().items() if (key, value) in left}
        depth = {} if line.depth is None else {"depth": line.depth}
        rows.append(f"  {line.name}: {_flow({'block': line.block, **depth, **kept})}")
    figures = ", ".join(f"{name}: {_figure(count)}" for name, count in head.expect.items())
    rows += [f"expect: {{{figures}}}"] if figures else []
    return format_text("\n".join(rows) + "\n", head.name)


def _defaults(lines: Sequence[Line]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Returns what all stages of a block share, and what all stages with such a setting share."""
    counted = Counter(line.block for line in lines)
    everywhere: dict[str, Any] = {}
    for key in STYLES:
        having = [line for line in lines if _reached(line.block, key)]
        values = {line.value(key) for line in having}
        told = [line for line in having if key in line.written()]
        if len({line.block for line in told}) > 1 and len(values) == 1:
            everywhere[key] = values.pop()
    shared: dict[str, dict[str, Any]] = {}
    for block in (block for block, count in counted.items() if count > 1):
        alike = [line.written().items() for line in lines if line.block == block]
        common = set(alike[0]).intersection(*alike[1:]) - everywhere.items()
        order = [key for key in BLOCKS[block].fields if key not in PLACED]
        found = dict(common)
        shared[block] = {key: found[key] for key in order if key in found}
    return shared, everywhere


def _reached(block: str, key: str) -> bool:
    """Whether file-wide defaults reach a setting of a block."""
    field = BLOCKS[block].fields.get(key)
    return field is not None and not field.local


def _plain(value: Any) -> Any:
    """Returns the value of a setting as it is compared and written."""
    if isinstance(value, Each) and len(set(value)) == 1:
        return value[0]
    return tuple(value) if isinstance(value, list) else value


def _flow(data: Mapping[str, Any]) -> str:
    """Returns settings in braces; values that differ between repetitions are picked by number."""
    words = []
    for key, value in data.items():
        if isinstance(value, Each):
            words.append(f'{key}: "$(pick(i, {", ".join(flow(each) for each in value)}))"')
        elif isinstance(value, Mapping):
            words.append(f"{key}: {_flow(value)}")
        else:
            words.append(f"{key}: {_number(value) if isinstance(value, float) else flow(value)}")
    return "{" + ", ".join(words) + "}"


def _number(value: float) -> str:
    """Spells a ratio as people do: whole ones without a point."""
    return str(int(value)) if value == int(value) else flow(value)


def _figure(count: int) -> str:
    """Spells a count with three digits.

    >>> _figure(25_557_032), _figure(4_089_184_256), _figure(999_999)
    ('25.6M', '4.09G', '1M')
    """
    rounded = float(f"{count:.3g}")
    scales = (("G", 1e9), ("M", 1e6), ("K", 1e3), ("", 1.0))
    unit, size = next(scale for scale in scales if rounded >= scale[1])
    return f"{rounded / size:.3g}{unit}"


def _prose(words: str) -> str:
    """Returns a sentence as YAML reads it, without quotes where none are needed."""
    return text(words) if any(mark in words for mark in ": #\"'{}[]") and ": " in words else words
