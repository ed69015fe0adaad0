"""Settings that count only beside another one are marked, and the marks are true."""

from __future__ import annotations

import pytest

from flopwise.blocks import BLOCKS, Graph
from flopwise.dsl import loads
from flopwise.errors import BlockError
from flopwise.testing.examples import Example, derive, values

FREE = {
    # Where the stage has a stride:
    *((block, name) for block in ("basic", "residual") for name in ("shortcut", "shrink")),
    *((block, "shortcut") for block in ("preact", "preact_basic")),
    *(("mbconv", name) for name in ("pool", "shrink")),
    *(("map_vit", name) for name in ("pool", "widen", "shortcut_bias")),
    ("avgpool", "pad"),  # the tried kernel refuses a padding above its half
    ("avgpool", "stride"),  # the tried map is smaller than the window
    ("class_token", "std"),  # initial values are no part of the graph
    ("convnext", "layer_scale"),
    ("dense", "dim"),  # of the transition before the first block
    ("dense_vit", "heads"),  # only one divides the widths of the tried stage
    ("ghost", "kernel"),
    ("maxpool", "pad"),
    ("nfnet", "eca"),  # refused beside the se that is there
    ("nfnet", "group_width"),  # wider than the tried stage
    ("nfnet", "se"),
    ("performer", "dropout"),
    ("registers", "std"),
    ("residual", "downsample"),  # only where the stage has a stride
    ("std_stem", "act"),  # only between several convolutions
    ("to_map", "drop"),  # only where there is a class token
}


def spelled(graph: Graph) -> str:
    """Spells all that a graph computes."""
    return str(
        [
            (
                layer.kind,
                layer.name,
                sorted((key, str(value)) for key, value in layer.settings.items()),
                layer.parameters,
                layer.inputs,
                layer.graph and spelled(layer.graph),
            )
            for layer in graph.layers
        ]
    )


def changes(block: str, settings: dict[str, object], name: str) -> set[bool]:
    """Tells for each kind of input whether another value of a setting makes another graph."""
    found = set()
    for plain in (e for e in derive(BLOCKS[block]) if not e.changed):
        whole = Example(plain.block, plain.input, {**plain.settings, **settings})
        for value in values(plain.block.fields[name]):
            other = Example(plain.block, plain.input, {**whole.settings, name: value})
            try:
                found.add(spelled(whole.graph) != spelled(other.graph))
            except BlockError:
                continue
    return found


MARKED = [
    (block.name, field.name, *field.only)
    for block in BLOCKS.values()
    for field in block.fields.values()
    if field.only
]


@pytest.mark.parametrize(("block", "name", "other", "wanted"), [(*m, "")[:4] for m in MARKED])
def test_a_marked_setting_counts_only_beside_the_other(
    block: str, name: str, other: str, wanted: str
) -> None:
    field = BLOCKS[block].fields[other]
    some = [wanted] if wanted else [v for v in values(field) if v not in ("none", 0, False)]
    nothing = [v for v in field.choices if v not in some] or [0 if field.default else field.default]
    assert any(True in changes(block, {other: value}, name) for value in some)
    assert changes(block, {other: nothing[0]}, name) <= {False}


def test_a_resolved_spec_may_say_what_does_nothing() -> None:
    text = loads("spec: 1\nname: net\nextends: std/vit_s16\n").render()
    assert "hidden_act" in text and loads(text).warnings == ()


def test_every_setting_that_does_nothing_alone_is_marked() -> None:
    alone = {
        (block.name, field.name)
        for block in BLOCKS.values()
        for field in block.fields.values()
        if changes(block.name, {}, field.name) == {False}
    }
    assert {pair for pair in alone if not BLOCKS[pair[0]].fields[pair[1]].only} <= FREE
