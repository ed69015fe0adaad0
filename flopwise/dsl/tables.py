"""The keys of the language: one declarative table per section."""

from __future__ import annotations

import keyword
from collections.abc import Mapping

from flopwise.blocks import Block
from flopwise.cost import CONVENTIONS
from flopwise.dsl.functions import FUNCTIONS, Value
from flopwise.dsl.grammar import WORDS
from flopwise.dsl.values import Rule, RuleLike

__all__ = [
    "COMPOSITE",
    "DEFAULT_VALUES",
    "DOMAIN",
    "EXPECT",
    "FINAL",
    "FIT",
    "INPUT",
    "METRICS",
    "NODE",
    "OBJECTIVES",
    "PARAM",
    "RESERVED_STAGES",
    "RESERVED_VARIABLES",
    "ROW",
    "SAMPLER",
    "SAMPLERS",
    "SEARCH",
    "TABLE",
    "TOP",
    "fields_of",
]

METRICS = ("macs", "params", "activations")
OBJECTIVES = ("top1", "balanced", "loss")
SAMPLERS = ("tpe", "random", "grid", "nsga2")


def _table(*rules: Rule) -> Mapping[str, Rule]:
    """Returns rules by the key they are for."""
    return {rule.name: rule for rule in rules}


TOP = _table(
    Rule(name="spec", type="int", example="spec: 1", required=True, doc="Version of the language."),
    Rule(
        name="name", type="text", example="name: my_net", required=True, doc="Name of the network."
    ),
    Rule(name="doc", type="text", doc="Free text."),
    Rule(name="extends", type="text", doc="The spec this one is laid on: a file or std/NAME."),
    Rule(
        name="input",
        type="map",
        example="input: {size: 224, channels: 3}",
        doc="Size and channels of the images.",
    ),
    Rule(
        name="classes",
        type="int",
        example="classes: 10",
        low=1,
        high=1e7,
        doc="How many classes there are.",
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
        example="blocks:  and below it a name, with  params  and  net",
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
        doc="true refuses converters between maps and tokens that are not written.",
    ),
    Rule(name="inferred", type="any", doc="What `flopwise resolve` found; checked, else ignored."),
    Rule(name="expect", type="map", doc="Costs the network must have."),
    Rule(name="search", type="map", doc="What may vary, within which budget."),
    Rule(
        name="table",
        type="map",
        example="table: {rows: {wide: {set: {w: 96}}}}",
        doc="Named networks, each a few changes away from another.",
    ),
    Rule(name="train", type="map", doc="How the network is trained."),
    Rule(name="export", type="map", doc="How the network is exported."),
)
COMPOSITE = _table(
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
        example="net:  and below it a line per stage, as in the network",
        doc="The stages inside.",
    ),
    Rule(
        name="output",
        type="any",
        example="output: {map: body, mask: gate}",
        doc="The stage that is its output, or a map of several; else the last stage.",
    ),
    Rule(name="doc", type="text", doc="What it does, in a sentence."),
)
PARAM = _table(
    Rule(
        name="type",
        type="text",
        required=True,
        choices=("int", "float", "bool", "text", "choice", "list[int]"),
        example="type: int",
        doc="What it holds.",
    ),
    Rule(name="default", type="value", doc="Its value where a stage does not write it."),
    Rule(name="min", type="float", doc="The smallest allowed number."),
    Rule(name="max", type="float", doc="The largest allowed number."),
    Rule(name="odd", type="bool", doc="Whether even numbers are refused."),
    Rule(name="multiple_of", type="int", low=1, doc="What a number must be a multiple of."),
    Rule(name="choices", type="list", doc="The words of a choice."),
    Rule(name="doc", type="text", doc="What it does, in a sentence."),
)
INPUT = _table(
    Rule(name="size", type="size", low=1, high=65536, doc="Pixels: one number or [height, width]."),
    Rule(name="channels", type="int", low=1, high=65536, doc="3 for colour, 1 for grey."),
)
NODE = _table(
    Rule(name="block", type="text", required=True, doc="What the stage repeats."),
    Rule(name="depth", type="int", low=1, high=1000, doc="How often."),
    Rule(name="when", type="bool", doc="false leaves the stage out; its readers read its input."),
    Rule(name="from", type="any", doc="The stage, or list of stages, it reads; else the previous."),
)
EXPECT = _table(*(Rule(name=metric, type="quantity", low=0) for metric in METRICS))
DEFAULT_VALUES: Mapping[str, Value] = {"classes": 1000, "input.size": 224, "input.channels": 3}
# Stages become attributes of a torch module, which has these already (a test keeps the list true).
ATTRIBUTES = frozenset(
    {
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children",
    "compile", "cpu", "cuda", "default_cfg", "double", "dump_patches", "eval", "extra_repr",
    "feature_info", "float", "forward", "forward_features", "forward_head",
    "forward_intermediates", "get_buffer", "get_classifier", "get_extra_state", "get_parameter",
    "get_submodule", "grad_checkpointing", "group_matcher", "half", "head_hidden_size",
    "input_size", "ipu", "load_state_dict", "modules", "mtia", "named_buffers", "named_children",
    "named_modules", "named_parameters", "no_weight_decay", "num_classes", "num_features",
    "parameters", "pretrained_cfg", "prune_intermediate_layers", "register_backward_hook",
    "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module",
    "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
    "requires_grad_", "reset_classifier", "set_dropout", "set_drop_path", "set_extra_state",
    "set_grad_checkpointing", "set_input_size", "set_submodule", "share_memory", "state_dict",
    "to", "to_empty", "train", "training", "type", "xpu", "zero_grad",
    }
)  # fmt: skip


RESERVED_STAGES = ATTRIBUTES | frozenset(keyword.kwlist) | {"input"}
RESERVED_VARIABLES = frozenset(
    {"classes", "input", "i", "n", "depth_total", *METRICS, *WORDS, *FUNCTIONS}
)
SEARCH = _table(
    Rule(
        name="space",
        type="map",
        example="space: {w: {choice: [32, 48, 64]}}",
        required=True,
        doc="Target path -> choice, range, subset or permutation.",
    ),
    Rule(name="budget", type="any", doc="Metric -> window; or a list of such maps."),
    Rule(
        name="require",
        type="list",
        example="require: [$(w % 8 == 0)]",
        doc="Expressions that must be true.",
    ),
    Rule(
        name="fit",
        type="map",
        example="fit: {vary: w, to: {macs: 4.5G}, within: 1%}",
        doc="A whole number that is solved for a cost instead of being sampled.",
    ),
    Rule(
        name="objective",
        type="any",
        example="objective: {maximize: top1}",
        doc="{maximize: top1} or {minimize: loss}; or a list, such as with {minimize: macs}.",
    ),
    Rule(name="trials", type="int", low=1, high=1_000_000, doc="How many candidates are trained."),
    Rule(
        name="max_rejects",
        type="int",
        low=1,
        high=1_000_000,
        doc="Draws that may miss the budget before a search gives up on finding one more.",
    ),
    Rule(
        name="sampler",
        type="map",
        example="sampler: {kind: tpe, seed: 0}",
        doc="Who proposes candidates.",
    ),
    Rule(
        name="final",
        type="map",
        example="final: {top: 1, seeds: 3}",
        doc="How the best are judged at the end.",
    ),
)
DOMAIN = _table(
    Rule(name="choice", type="any", doc="The values, such as [3, 5, 7]; a list may be one."),
    Rule(name="range", type="any", doc="The smallest and the largest value."),
    Rule(name="step", type="any", doc="The distance between two values of a range."),
    Rule(name="log", type="bool", doc="Whether a range is drawn on a logarithmic scale."),
    Rule(name="subset", type="any", doc="Elements of which some are taken; a list."),
    Rule(name="min", type="any", doc="How many elements of a subset at least."),
    Rule(name="max", type="any", doc="How many elements of a subset at most."),
    Rule(name="permutation", type="any", doc="Elements that are put in some order; a list."),
    Rule(name="when", type="value", doc="The target counts only while this is true."),
)
FIT = _table(
    Rule(
        name="vary",
        type="text",
        required=True,
        example="vary: w",
        doc="The target that is solved; a whole number.",
    ),
    Rule(
        name="to",
        type="map",
        required=True,
        example="to: {macs: 4.5G}",
        doc="The cost it is solved for.",
    ),
    Rule(name="within", type="percent", low=0, high=1, doc="How far off it may be; 1% by default."),
    Rule(name="range", type="any", doc="Its values, if 'space' does not say them."),
    Rule(name="step", type="any", doc="The distance between two of them."),
)
SAMPLER = _table(
    Rule(
        name="kind",
        type="text",
        choices=SAMPLERS,
        doc="tpe and nsga2 (for several objectives) learn; random draws; grid lists all.",
    ),
    Rule(name="seed", type="int", low=0, high=2**32, doc="Seed of the proposals."),
)
FINAL = _table(
    Rule(name="top", type="int", low=1, high=1000, doc="How many of the best are trained again."),
    Rule(name="seeds", type="int", low=1, high=1000, doc="Trainings of each."),
    Rule(name="epochs", type="int", low=1, high=100_000, doc="Epochs of each training."),
)

TABLE = _table(
    Rule(name="title", type="text", doc="What the table shows."),
    Rule(name="source", type="text", doc="Where its reference figures come from."),
    Rule(
        name="inherit",
        type="text",
        choices=("previous", "base"),
        doc="What a row without 'from' starts from: the row above it (default) or this spec.",
    ),
    Rule(name="columns", type="list", example="columns: [top1, macs]", doc="Reference columns."),
    Rule(
        name="convention",
        type="text",
        choices=tuple(CONVENTIONS),
        doc="How the MACs of the reference column are counted.",
    ),
    Rule(
        name="rows",
        type="map",
        example="rows: {wide: {set: {w: 96}}}",
        doc="Name of a network -> its row.",
    ),
    Rule(
        name="matrix",
        type="map",
        example="matrix: {kernel: {k3: {set: {k: 3}}, k5: {set: {k: 5}}}}",
        doc="Axis -> label -> changes; a row for each combination.",
    ),
)
ROW = _table(
    Rule(name="from", type="text", doc="The earlier row it starts from; base is this spec."),
    Rule(name="spec", type="text", doc="The file, or std/NAME, it starts from."),
    Rule(name="set", type="map", example="set: {w: 96}", doc="Path -> value; null removes."),
    Rule(name="ref", type="map", example="ref: {macs: 4.5G}", doc="Published figure per column."),
    Rule(
        name="convention",
        type="text",
        choices=tuple(CONVENTIONS),
        doc="How the MACs of this row's reference are counted.",
    ),
    Rule(name="expect", type="map", doc="Costs the row's network must have."),
    Rule(name="note", type="text", doc="Free text."),
    Rule(name="skip", type="bool", doc="true keeps the row out of printed tables."),
)


def fields_of(block: Block | None) -> Mapping[str, RuleLike]:
    """Returns everything a stage of this block may write, `depth` included."""
    fields = block.fields if block else {}
    return {**fields, "depth": NODE["depth"], "when": NODE["when"]}
