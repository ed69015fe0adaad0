"""The keys of the language: one declarative table per section."""

from __future__ import annotations

from collections.abc import Mapping

from flopwise.blocks import Block
from flopwise.dsl.functions import Value
from flopwise.dsl.reserved import RESERVED_STAGES, RESERVED_VARIABLES
from flopwise.dsl.sections import (
    DOMAIN,
    EXPORT,
    FINAL,
    FIT,
    METRICS,
    OBJECTIVES,
    REASON,
    ROW,
    SEARCH,
    TABLE,
)
from flopwise.dsl.trials import EVALUATOR, PRUNER, SAMPLER, SAMPLERS, SCORES
from flopwise.dsl.values import Rule, RuleLike, by_key

__all__ = [
    "COMPOSITE",
    "DEFAULT_VALUES",
    "DOMAIN",
    "EVALUATE",
    "EVALUATOR",
    "EXPECT",
    "EXPORT",
    "FINAL",
    "FIT",
    "INPUT",
    "METRICS",
    "NODE",
    "OBJECTIVES",
    "PARAM",
    "PRUNER",
    "REASON",
    "RESERVED_STAGES",
    "RESERVED_VARIABLES",
    "ROW",
    "SAMPLER",
    "SAMPLERS",
    "SCORES",
    "SEARCH",
    "TABLE",
    "TOP",
    "fields_of",
]

TOP = by_key(
    Rule(name="spec", type="int", example="spec: 1", required=True, doc="Version of the language."),
    Rule(
        name="name", type="text", example="name: my_net", required=True, doc="Name of the network."
    ),
    Rule(name="doc", type="text", example="doc: What is special about it.", doc="Free text."),
    Rule(
        name="extends",
        type="text",
        example="extends: ./base.yaml",
        doc="The spec this one is laid on: a file or std/NAME.",
    ),
    Rule(
        name="input",
        type="map",
        example="input: {size: 224, channels: 3}",
        doc="Size and channels of the images; 224 and 3 if not written.",
    ),
    Rule(
        name="classes",
        type="int",
        example="classes: 10",
        low=1,
        high=1e7,
        doc="How many classes there are; 1000 if not written.",
    ),
    Rule(
        name="vars",
        type="map",
        example="vars: {w: 64}",
        doc="Named values for $name and $(expression).",
    ),
    Rule(
        name="defaults",
        type="map",
        example="defaults: {act: gelu}",
        doc="Settings for every block, or for one kind of block.",
    ),
    Rule(
        name="use",
        type="list",
        example="use: [./my_blocks.py]",
        doc="Python files with blocks of your own.",
    ),
    Rule(
        name="blocks",
        type="map",
        example="blocks: {thin: {net: {body: {block: conv, kernel: 1}}}}",
        doc="Blocks made of other blocks.",
    ),
    Rule(
        name="net",
        type="map",
        example="net:  and below it a line per stage, such as  stem: {block: conv, dim: 64}",
        required=True,
        doc="The stages, one per line.",
    ),
    Rule(
        name="output",
        type="text",
        example="output: head",
        doc="The stage that is the result; the last one that no other reads if not written.",
    ),
    Rule(
        name="features",
        type="list",
        example="features: [stage1, stage4]",
        doc="Stages whose outputs timm may take as features.",
    ),
    Rule(
        name="strict_kinds",
        type="bool",
        example="strict_kinds: true",
        doc="true refuses converters between maps and tokens that are not written.",
    ),
    Rule(
        name="inferred",
        type="any",
        example="inferred: {macs: 4089184256}",
        doc="What `flopwise resolve` found; checked, else ignored.",
    ),
    Rule(
        name="expect",
        type="map",
        example="expect: {macs: 4.09G, params: 25.6M}",
        doc="Costs the network must have.",
    ),
    Rule(
        name="search",
        type="map",
        example="search: {space: {w: {choice: [32, 64]}}}",
        doc="What may vary, within which budget.",
    ),
    Rule(
        name="table",
        type="map",
        example="table: {rows: {wide: {set: {w: 96}}}}",
        doc="Named networks, each a few changes away from another.",
    ),
    Rule(
        name="train",
        type="map",
        example="train: {data: photos/, epochs: 50}",
        doc="How the network is trained.",
    ),
    Rule(
        name="evaluate",
        type="map",
        example="evaluate: {tolerance: {macs: 1%}}",
        doc="How far the figures of a table may be off.",
    ),
    Rule(
        name="export",
        type="map",
        example="export: {license: mit, tag: in1k}",
        doc="What an exported folder says of its weights.",
    ),
)
COMPOSITE = by_key(
    Rule(
        name="params",
        type="map",
        example="params: {dim: int, ratio: {type: float, default: 0.25}}",
        doc="Its settings: name -> type, or a map of type, default and limits.",
    ),
    Rule(
        name="kind",
        type="text",
        choices=("map", "tokens", "vec", "same"),
        example="kind: map",
        doc="What it takes; same is whatever comes.",
    ),
    Rule(
        name="ports",
        type="any",
        example="ports: [main, skip]",
        doc="Names of its inputs, or a map from each to what it takes; else one, called input.",
    ),
    Rule(
        name="net",
        type="map",
        required=True,
        example="net: {body: {block: conv, kernel: 1}}",
        doc="The stages inside.",
    ),
    Rule(
        name="output",
        type="any",
        example="output: {map: body, mask: gate}",
        doc="The stage that is its output, or a map of several; else the last stage.",
    ),
    Rule(
        name="doc",
        type="text",
        example="doc: A squeeze and two branches.",
        doc="What it does, in a sentence.",
    ),
)
PARAM = by_key(
    Rule(
        name="type",
        type="text",
        required=True,
        choices=("int", "float", "bool", "text", "choice", "list[int]"),
        example="type: int",
        doc="What it holds.",
    ),
    Rule(
        name="default",
        type="value",
        example="default: 64",
        doc="Its value where a stage does not write it.",
    ),
    Rule(name="min", type="float", example="min: 1", doc="The smallest allowed number."),
    Rule(name="max", type="float", example="max: 512", doc="The largest allowed number."),
    Rule(name="odd", type="bool", example="odd: true", doc="Whether even numbers are refused."),
    Rule(
        name="multiple_of",
        type="int",
        low=1,
        example="multiple_of: 8",
        doc="What a number must be a multiple of.",
    ),
    Rule(name="choices", type="list", example="choices: [avg, max]", doc="The words of a choice."),
    Rule(
        name="doc",
        type="text",
        example="doc: Width inside the block.",
        doc="What it does, in a sentence.",
    ),
)
INPUT = by_key(
    Rule(
        name="size",
        type="size",
        low=1,
        high=65536,
        example="size: 224",
        doc="Pixels: one number or [height, width].",
    ),
    Rule(
        name="channels",
        type="int",
        low=1,
        high=65536,
        example="channels: 3",
        doc="3 for colour, 1 for grey.",
    ),
)
NODE = by_key(
    Rule(
        name="block",
        type="text",
        required=True,
        example="block: conv",
        doc="What the stage repeats.",
    ),
    Rule(name="depth", type="int", low=1, high=1000, example="depth: 3", doc="How often."),
    Rule(
        name="when",
        type="bool",
        example="when: $(kind == 'wide')",
        doc="false leaves the stage out; its readers read its input.",
    ),
    Rule(
        name="from",
        type="any",
        example="from: [stage1, stage2]",
        doc="The stage, or list of stages, it reads; else the previous.",
    ),
)
EVALUATE = by_key(
    Rule(
        name="tolerance",
        type="map",
        example="tolerance: {macs: 1%, top1: 0.3}",
        doc="Column -> share, or number in the column's unit; the written precision if left out.",
    ),
)
EXPECT = by_key(
    Rule(
        name="macs",
        type="quantity",
        low=0,
        example="macs: 4.09G",
        doc="Multiply-adds, at the precision they are written in.",
    ),
    Rule(name="params", type="quantity", low=0, example="params: 25.6M", doc="Learned numbers."),
    Rule(
        name="activations",
        type="quantity",
        low=0,
        example="activations: 11.1M",
        doc="Elements that the layers with multiply-adds put out.",
    ),
    Rule(
        name="out",
        type="value",
        example="out: [1000]",
        doc="Shape of the output, without the batch.",
    ),
    Rule(
        name="tolerance",
        type="percent",
        low=0,
        high=1,
        example="tolerance: 1%",
        doc="How far a cost may be off; the written precision if left out.",
    ),
)
DEFAULT_VALUES: Mapping[str, Value] = {"classes": 1000, "input.size": 224, "input.channels": 3}


def fields_of(block: Block | None) -> Mapping[str, RuleLike]:
    """Returns everything a stage of this block may write, `depth` included."""
    fields = block.fields if block else {}
    return {**fields, "depth": NODE["depth"], "when": NODE["when"]}
