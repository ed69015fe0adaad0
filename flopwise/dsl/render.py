"""A network back to text: a spec of the same grammar in which nothing is left to work out.

No variables, defaults, expressions or parents; every setting is written, one stage per line. Read
again it is the same network, and renders to the same text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flopwise.dsl.expr import is_expression
from flopwise.dsl.files import VERSION
from flopwise.dsl.functions import show
from flopwise.dsl.network import Network, Stage
from flopwise.dsl.recipe import Recipe
from flopwise.dsl.scalars import DoubtfulError, read_plain

__all__ = ["render_spec"]

PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-")


def render_spec(
    network: Network,
    doc: str,
    recipe: Recipe,
    trained: Collection[str],
    export: Mapping[str, object],
) -> str:
    """Returns the resolved text of a network.

    Args:
        network: What is rendered.
        doc: The spec's free text.
        recipe: How it is trained.
        trained: The keys of the recipe that are written out; the others have their default.
        export: The `export` section.
    """
    return "\n".join(_lines(network, doc, recipe, trained, export)) + "\n"


def _lines(
    network: Network,
    doc: str,
    recipe: Recipe,
    trained: Collection[str],
    export: Mapping[str, object],
) -> Iterator[str]:
    yield f"spec: {VERSION}"
    yield f"name: {_text(network.name)}"
    if doc:
        yield f"doc: {_text(doc)}"
    height, width = network.input.size
    size = height if height == width else [height, width]
    yield f"input: {_flow({'size': size, 'channels': network.input.channels})}"
    yield f"classes: {network.classes}"
    yield ""
    yield "net:"
    names = [stage.name for stage in network.stages]
    longest = max(map(len, names)) + 1
    for stage, before in zip(network.stages, ["input", *names], strict=False):
        yield f"  {stage.name + ':':<{longest}} {_flow(_stage(stage, before, network.classes))}"
    chosen = {name: value for name, value in asdict(recipe).items() if name in trained}
    if chosen:
        yield ""
        yield f"train: {_flow(chosen)}"
    if export:
        yield ""
        yield f"export: {_flow(export)}"


def _stage(stage: Stage, before: str, classes: int) -> dict[str, Any]:
    """Returns the keys of a stage in the order they are read best."""
    keys: dict[str, Any] = {"block": stage.block.name}
    if stage.depth != 1:
        keys["depth"] = stage.depth
    if stage.inputs != (before,):
        keys["from"] = stage.inputs[0] if len(stage.inputs) == 1 else list(stage.inputs)
    for name in stage.block.fields:
        values = [settings[name] for settings in stage.settings]
        if values[0] is None and len(set(values)) == 1:
            continue  # as the input has it
        if name == "classes" and values == [classes] * len(values):
            continue
        keys[name] = values[0] if len(set(values)) == 1 else _Varying(values)
    return keys


class _Varying:
    """A setting with another value in each repetition."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def __str__(self) -> str:
        return f'"$(pick(i, {", ".join(show(value) for value in self.values)}))"'


def _flow(value: object) -> str:
    """Spells plain data in YAML's flow style, so that every reader reads the same."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return _text(value) if isinstance(value, str) else "null" if value is None else str(value)


def _number(value: float) -> str:
    """Spells a decimal so that YAML 1.1 readers take it for a number too: 1.0e-06."""
    digits = repr(value)
    mantissa, exponent, power = digits.partition("e")
    return f"{mantissa}.0{exponent}{power}" if exponent and "." not in mantissa else digits


def _text(value: str) -> str:
    """Spells a text, in quotes where it would be read as something else."""
    plain = bool(value) and set(value) <= PLAIN and value[0] not in "-./0123456789"
    try:
        same = plain and read_plain(value) == value and not is_expression(value)
    except DoubtfulError:
        same = False
    if same:
        return value
    body = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{body}"'
