"""The keys of the sections around the network: `search`, `expect`, `table` and what is in them."""

from __future__ import annotations

from flopwise.cost import CONVENTIONS, PARAM_CONVENTIONS
from flopwise.dsl.values import Rule, by_key

__all__ = [
    "DOMAIN",
    "EXPORT",
    "FINAL",
    "FIT",
    "METRICS",
    "OBJECTIVES",
    "REASON",
    "ROW",
    "SEARCH",
    "TABLE",
]

METRICS = ("macs", "params", "activations")
OBJECTIVES = ("top1", "balanced", "loss", "score")

SEARCH = by_key(
    Rule(
        name="space",
        type="map",
        example="space: {w: {choice: [32, 48, 64]}}",
        required=True,
        doc="Target path -> choice, range, subset or permutation.",
    ),
    Rule(
        name="budget",
        type="any",
        example="budget: {macs: {target: 4.5G, within: 1%}}",
        doc="Metric -> window; or a list of such maps.",
    ),
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
    Rule(
        name="trials",
        type="int",
        low=1,
        high=1_000_000,
        example="trials: 50",
        doc="How many candidates are trained.",
    ),
    Rule(
        name="max_rejects",
        type="int",
        low=1,
        high=1_000_000,
        example="max_rejects: 1000",
        doc="Draws that may miss the budget before a search gives up on finding one more.",
    ),
    Rule(
        name="sampler",
        type="map",
        example="sampler: {kind: tpe, seed: 0}",
        doc="Who proposes candidates.",
    ),
    Rule(
        name="evaluator",
        type="map",
        example="evaluator: {table: results.csv, scores: {top1: accuracy}}",
        doc="Who scores them; a training if not written.",
    ),
    Rule(
        name="pruner",
        type="map",
        example="pruner: {kind: halving}",
        doc="Who ends trainings that fall behind; nobody if not written.",
    ),
    Rule(
        name="final",
        type="map",
        example="final: {top: 1, seeds: 3}",
        doc="How the best are judged at the end.",
    ),
)
DOMAIN = by_key(
    Rule(
        name="choice",
        type="any",
        example="choice: [3, 5, 7]",
        doc="The values, such as [3, 5, 7]; a list may be one.",
    ),
    Rule(
        name="range",
        type="any",
        example="range: [48, 128]",
        doc="The smallest and the largest value.",
    ),
    Rule(
        name="step",
        type="any",
        example="step: 8",
        doc="The distance between two values of a range.",
    ),
    Rule(
        name="log",
        type="bool",
        example="log: true",
        doc="Whether a range is drawn on a logarithmic scale.",
    ),
    Rule(
        name="subset",
        type="any",
        example="subset: [stage1, stage2, stage3]",
        doc="Elements of which some are taken; a list.",
    ),
    Rule(name="min", type="any", example="min: 1", doc="How many elements of a subset at least."),
    Rule(name="max", type="any", example="max: 2", doc="How many elements of a subset at most."),
    Rule(
        name="permutation",
        type="any",
        example="permutation: [conv, norm, act]",
        doc="Elements that are put in some order; a list.",
    ),
    Rule(
        name="when",
        type="value",
        example="when: $se",
        doc="The target counts only while this is true.",
    ),
)
FIT = by_key(
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
    Rule(
        name="within",
        type="percent",
        low=0,
        high=1,
        example="within: 1%",
        doc="How far off it may be; 1% by default.",
    ),
    Rule(
        name="range",
        type="any",
        example="range: [48, 128]",
        doc="Its values, if 'space' does not say them.",
    ),
    Rule(name="step", type="any", example="step: 8", doc="The distance between two of them."),
)
FINAL = by_key(
    Rule(
        name="top",
        type="int",
        low=1,
        high=1000,
        example="top: 1",
        doc="How many of the best are trained again; 3 if it is not written.",
    ),
    Rule(
        name="seeds",
        type="int",
        low=1,
        high=1000,
        example="seeds: 3",
        doc="Trainings of each, and of the written network; 3 if it is not written.",
    ),
    Rule(
        name="epochs",
        type="int",
        low=1,
        high=100_000,
        example="epochs: 20",
        doc="Epochs of each training.",
    ),
)

TABLE = by_key(
    Rule(
        name="title",
        type="text",
        example="title: From ResNet-50 to ConvNeXt-T",
        doc="What the table shows.",
    ),
    Rule(
        name="source",
        type="text",
        example="source: arXiv:2201.03545",
        doc="Where its reference figures come from.",
    ),
    Rule(
        name="inherit",
        type="text",
        choices=("previous", "base"),
        example="inherit: base",
        doc="What a row without 'from' starts from: the row above it (default) or this spec.",
    ),
    Rule(name="columns", type="list", example="columns: [top1, macs]", doc="Reference columns."),
    Rule(
        name="convention",
        type="text",
        choices=tuple(CONVENTIONS),
        example="convention: fvcore",
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
ROW = by_key(
    Rule(
        name="from",
        type="text",
        example="from: kernel_7",
        doc="The earlier row it starts from; base is this spec.",
    ),
    Rule(
        name="against",
        type="text",
        example="against: kernel_7",
        doc="The earlier row that its training is compared with; else the one it starts from, "
        "or the first.",
    ),
    Rule(
        name="spec",
        type="text",
        example="spec: std/resnet50",
        doc="The file, or std/NAME, it starts from.",
    ),
    Rule(name="set", type="map", example="set: {w: 96}", doc="Path -> value; null removes."),
    Rule(name="ref", type="map", example="ref: {macs: 4.5G}", doc="Published figure per column."),
    Rule(
        name="convention",
        type="text",
        choices=tuple(CONVENTIONS),
        example="convention: fvcore",
        doc="How the MACs of this row's reference are counted.",
    ),
    Rule(
        name="params_convention",
        type="text",
        choices=tuple(PARAM_CONVENTIONS),
        example="params_convention: without_position",
        doc="What its reference counts as parameters; the learned ones if not written.",
    ),
    Rule(
        name="explained",
        type="map",
        example="explained: {macs: {why: printed one row up, printed: kernel_7}}",
        doc="Column -> why its figure is not what is counted, and the row that shows it.",
    ),
    Rule(
        name="unresolved",
        type="map",
        example="unresolved: {macs: no counter that was tried gives it}",
        doc="Column -> what was tried to find out why its figure is not what is counted.",
    ),
    Rule(
        name="expect",
        type="map",
        example="expect: {params: 25.6M}",
        doc="Costs the row's network must have.",
    ),
    Rule(name="note", type="text", example="note: as in the appendix", doc="Free text."),
    Rule(
        name="skip",
        type="bool",
        example="skip: true",
        doc="true leaves the row out of what is counted and compared.",
    ),
)
EXPORT = by_key(
    Rule(
        name="license",
        type="text",
        example="license: apache-2.0",
        doc="Licence of the weights, by the Hub's short name; other if left out.",
    ),
    Rule(
        name="tag",
        type="text",
        example="tag: in1k",
        doc="What timm calls these weights among others of one architecture; flopwise if left out.",
    ),
    Rule(
        name="timm",
        type="text",
        example="timm: convnext_tiny",
        doc="A model of timm whose weights must have the same names and shapes, all but the last.",
    ),
)
REASON = by_key(
    Rule(
        name="why",
        type="text",
        required=True,
        example="why: printed one row up",
        doc="The reason, in one line.",
    ),
    Rule(
        name="printed",
        type="text",
        example="printed: std/convnext_table1#convnext_b_384_22k",
        doc="A row, here or in std/TABLE#ROW, whose printed figure is what is counted here.",
    ),
    Rule(
        name="counted",
        type="text",
        example="counted: kernel_7",
        doc="A row whose count, in its own conventions, is what is printed here.",
    ),
)
