"""The keys of the language: one declarative table per section."""

from __future__ import annotations

import keyword
from collections.abc import Mapping

from flopwise.blocks import Block
from flopwise.dsl.functions import FUNCTIONS, Value
from flopwise.dsl.grammar import WORDS
from flopwise.dsl.values import Rule, RuleLike

__all__ = [
    "DEFAULT_VALUES",
    "EXPECT",
    "FINAL",
    "INPUT",
    "METRICS",
    "NODE",
    "OBJECTIVES",
    "RESERVED_STAGES",
    "RESERVED_VARIABLES",
    "SAMPLER",
    "SEARCH",
    "TOP",
    "fields_of",
]

METRICS = ("macs", "params", "activations")
OBJECTIVES = ("top1", "balanced", "loss")


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
        name="net",
        type="map",
        example="net:  and below it a line per stage, such as  stem: {block: conv, dim: 64}",
        required=True,
        doc="The stages, one per line.",
    ),
    Rule(name="expect", type="map", doc="Costs the network must have."),
    Rule(name="search", type="map", doc="What may vary, within which budget."),
    Rule(name="train", type="map", doc="How the network is trained."),
    Rule(name="export", type="map", doc="How the network is exported."),
)
INPUT = _table(
    Rule(name="size", type="size", low=1, high=65536, doc="Pixels: one number or [height, width]."),
    Rule(name="channels", type="int", low=1, high=65536, doc="3 for colour, 1 for grey."),
)
NODE = _table(
    Rule(name="block", type="text", required=True, doc="What the stage repeats."),
    Rule(name="depth", type="int", low=1, high=1000, doc="How often."),
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
        doc="Target path -> choice or range.",
    ),
    Rule(name="budget", type="any", doc="Metric -> window; or a list of such maps."),
    Rule(
        name="require",
        type="list",
        example="require: [$(w % 8 == 0)]",
        doc="Expressions that must be true.",
    ),
    Rule(
        name="objective",
        type="map",
        example="objective: {maximize: top1}",
        doc="{maximize: top1} or {minimize: loss}.",
    ),
    Rule(name="trials", type="int", low=1, high=1_000_000, doc="How many candidates are trained."),
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
SAMPLER = _table(
    Rule(name="kind", type="text", choices=("tpe", "random"), doc="tpe learns, random does not."),
    Rule(name="seed", type="int", low=0, high=2**32, doc="Seed of the proposals."),
)
FINAL = _table(
    Rule(name="top", type="int", low=1, high=1000, doc="How many of the best are trained again."),
    Rule(name="seeds", type="int", low=1, high=1000, doc="Trainings of each."),
    Rule(name="epochs", type="int", low=1, high=100_000, doc="Epochs of each training."),
)


def fields_of(block: Block) -> Mapping[str, RuleLike]:
    """Returns everything a stage of this block may write, `depth` included."""
    return {**block.fields, "depth": NODE["depth"]}
