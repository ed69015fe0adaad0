"""The language as JSON Schema (draft-07), for editors: completion, hover help, red underlines.

It is made of the tables that the checker reads, so it knows what the checker knows, as far as a
schema can say it: keys, types, ranges, words. What an expression gives, and whether shapes fit,
only `flopwise check` tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

from flopwise.blocks import BLOCKS, Block
from flopwise.dsl import tables
from flopwise.dsl.files import VERSION
from flopwise.dsl.presets import PRESET, preset_rule
from flopwise.dsl.recipe import Recipe, recipe_rules
from flopwise.dsl.shapes import (
    EXPRESSION,
    IDENTIFIER,
    LITERAL,
    Schema,
    either,
    section,
    value_schema,
)
from flopwise.dsl.values import Rule, RuleLike

__all__ = ["make_schema"]

DRAFT = "http://json-schema.org/draft-07/schema#"
NULL: Schema = {"type": "null"}
BORROWED = ("extends", "use", "blocks")  # keys that bring blocks the schema cannot know
IDS: Schema = {"type": "string", "description": "A stage, or STAGE.PORT for a named output."}


def make_schema(blocks: Mapping[str, Block] = BLOCKS, *, complete: bool = False) -> Schema:
    """Returns the schema of specs.

    Args:
        blocks: The blocks that stages may be.
        complete: Whether there are no others: the blocks are those of one spec, its own included.
    """
    top = {name: value_schema(rule, null=True) for name, rule in tables.TOP.items()}
    top |= {name: _described(name, made) for name, made in _sections(blocks).items()}
    strict = {
        "properties": {
            "net": {"additionalProperties": either(_strict_stage(blocks), NULL)},
            "defaults": {"propertyNames": {"enum": [*_shared(blocks), *blocks]}},
        }
    }
    full = {"additionalProperties": {"required": ["block"]}, "minProperties": 1}
    alone = {"properties": {"net": full}}
    own = [] if complete else [{"required": [key]} for key in BORROWED]
    return {
        "$schema": DRAFT,
        "title": "A flopwise spec",
        **section(top, required=("spec", "name")),
        "patternProperties": {"^x_": {"description": "Notes of your own; ignored."}},
        "allOf": [
            strict if complete else {"if": {"anyOf": own}, "else": strict},
            {"if": {"required": ["extends"]}, "else": {"required": ["net"], **alone}},
        ],
        "definitions": {"stage": _stage(blocks), "domain": _domain(), "window": _window()},
    }


def _described(name: str, made: Schema) -> Schema:
    """Returns the schema of a top-level key with its hover help; null removes a parent's."""
    rule = tables.TOP[name]
    if rule.required:
        return {**made, "description": value_schema(rule)["description"]}
    return {**either(made, NULL), "description": value_schema(rule)["description"]}


def _sections(blocks: Mapping[str, Block]) -> Mapping[str, Schema]:
    reserved = sorted(tables.RESERVED_VARIABLES)
    return {
        "spec": {"const": VERSION},
        "name": {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$"},
        "input": section(
            {
                key: value_schema(rule, default=tables.DEFAULT_VALUES[f"input.{key}"])
                for key, rule in tables.INPUT.items()
            }
        ),
        "classes": value_schema(tables.TOP["classes"], default=tables.DEFAULT_VALUES["classes"]),
        "vars": {
            "type": "object",
            "propertyNames": {"pattern": IDENTIFIER, "not": {"enum": reserved}},
            "additionalProperties": either(LITERAL, NULL),
        },
        "use": _list({"type": "string"}),
        "defaults": _defaults(blocks),
        "blocks": _map(either(_composite(), NULL)),
        "net": _net(),
        "features": _list(IDS),
        "expect": _literals(tables.EXPECT),
        "search": _search(),
        "table": _table(),
        "evaluate": _evaluate(),
        "export": _literals(tables.EXPORT),
        "train": _train(),
    }


def _map(value: Schema, **more: object) -> Schema:
    return {"type": "object", "additionalProperties": value, **more}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _literals(rules: Mapping[str, Rule], **made: Schema) -> Schema:
    """Returns a section in which values are written out; `made` replaces those of some keys."""
    properties = {
        key: {**made[key], "description": value_schema(rule)["description"]}
        if key in made
        else value_schema(rule, literal=True)
        for key, rule in rules.items()
    }
    return section(properties, required=[rule.name for rule in rules.values() if rule.required])


def _evaluate() -> Schema:
    slack = value_schema(Rule(name="", type="percent", low=0), literal=True)
    return _literals(tables.EVALUATE, tolerance=_map(slack))


def _net() -> Schema:
    names = sorted(tables.RESERVED_STAGES)
    return _map(
        either({"$ref": "#/definitions/stage"}, NULL),
        propertyNames={"pattern": IDENTIFIER, "not": {"enum": names}},
    )


def _reads() -> Schema:
    return {
        **either(IDS, {**_list(IDS), "minItems": 1}, _map(IDS, minProperties=1)),
        "description": tables.NODE["from"].doc,
    }


def _stage(blocks: Mapping[str, Block]) -> Schema:
    """Returns what a stage may be: its block decides which other keys there are."""
    names = {"enum": list(blocks), "description": tables.NODE["block"].doc}
    own = {"type": "string", "pattern": IDENTIFIER}
    return {
        "type": "object",
        "properties": {"block": either(names, EXPRESSION, own)},
        "allOf": [
            {
                "if": {"properties": {"block": {"const": name}}, "required": ["block"]},
                "then": {
                    "properties": {**_node(), **_settings(block)},
                    "propertyNames": {"pattern": _names([*_node(), *block.fields])},
                    "description": block.doc.partition("\n")[0],
                },
            }
            for name, block in blocks.items()
        ],
    }


def _names(keys: Iterable[str]) -> str:
    """Returns a pattern of keys, each perhaps for one repetition."""
    return rf"^({'|'.join(keys)})(\[[0-9]+\])?$"


def _strict_stage(blocks: Mapping[str, Block]) -> Schema:
    """Returns what holds besides where all blocks are known."""
    settings = {key for block in blocks.values() for key in block.fields}
    return {
        "properties": {"block": either({"enum": list(blocks)}, EXPRESSION)},
        "propertyNames": {"pattern": _names(sorted({*_node(), *settings}))},
    }


def _node() -> dict[str, Schema]:
    rules = {key: value_schema(rule, null=True) for key, rule in tables.NODE.items()}
    place = {"type": "string", "description": "Where a new stage stands among inherited ones."}
    return {**rules, "block": {}, "from": _reads(), "after": place, "before": place}


def _settings(block: Block) -> dict[str, Schema]:
    return {
        key: value_schema(field, null=True, default=field.default)
        for key, field in block.fields.items()
    }


def _shared(blocks: Mapping[str, Block]) -> dict[str, Schema]:
    """Returns the settings that blocks may share, each as the first that has it says."""
    found: dict[str, Schema] = {}
    for block in blocks.values():
        for key, field in block.fields.items():
            if not field.local:
                doc = value_schema(field)["description"]
                found.setdefault(key, {**either(LITERAL, NULL), "description": doc})
    return found


def _defaults(blocks: Mapping[str, Block]) -> Schema:
    shared = _shared(blocks)
    known = {}
    for name, block in blocks.items():  # a word may be both: `norm` is a setting and a block
        both = [shared[name]] if name in shared else [NULL]
        known[name] = {**either(section(_settings(block)), *both), "description": _first(block)}
    return {"type": "object", "properties": {**shared, **known}}


def _first(block: Block) -> str:
    return block.doc.partition("\n")[0]


def _composite() -> Schema:
    types = list(tables.PARAM["type"].choices)
    param = either({"enum": types}, _literals(tables.PARAM))
    return _literals(
        tables.COMPOSITE, params=_map(param), net=_net(), ports=either(_list(IDS), _map({}))
    )


def _domain() -> Schema:
    values = {**_list({}), "minItems": 1}
    kinds = ("choice", "range", "subset", "permutation")
    pair = {**_list({"type": "number"}), "minItems": 2, "maxItems": 2}
    truth = either(EXPRESSION, {"type": "boolean"})
    made = _literals(
        tables.DOMAIN,
        choice=values,
        range=pair,
        step={"type": "number", "exclusiveMinimum": 0},
        subset=values,
        permutation=values,
        when=either(truth, _list(truth)),
    )
    return {**made, "oneOf": [{"required": [kind]} for kind in kinds]}


def _window() -> Schema:
    rules: list[RuleLike] = [Rule(name=n, type="quantity", low=0) for n in ("target", "min", "max")]
    rules.append(Rule(name="within", type="percent", low=0, high=1))
    edges = {rule.name: value_schema(rule, literal=True) for rule in rules}
    around = {"required": ["target", "within"], "maxProperties": 2}
    between = {"propertyNames": {"enum": ["min", "max"]}, "minProperties": 1}
    return {**section(edges), "oneOf": [around, between]}


def _search() -> Schema:
    window = {"$ref": "#/definitions/window"}
    budget = {**section(dict.fromkeys(tables.METRICS, window)), "minProperties": 1}
    one, several = (
        _aim(words) for words in (tables.OBJECTIVES, tables.OBJECTIVES + tables.METRICS)
    )
    words = {"enum": list(tables.SCORES)}
    share = value_schema(Rule(name="short", type="percent", low=0.001, high=1), literal=True)
    quantity = value_schema(Rule(name="to", type="quantity", low=0), literal=True)
    fit = _literals(tables.FIT, to=section(dict.fromkeys(tables.METRICS, quantity)))
    return _literals(
        tables.SEARCH,
        space=_map({"$ref": "#/definitions/domain"}),
        budget=either(budget, {**_list(budget), "minItems": 1}),
        require=_list(EXPRESSION),
        fit=fit,
        objective=either(one, {**_list(several), "minItems": 1}),
        sampler=_literals(
            tables.SAMPLER,
            short=either(share, {**_list(share), "minItems": 1}),
            scores=_list(words),
            args=_map({}),
        ),
        evaluator=_evaluator(),
        pruner=_literals(tables.PRUNER, args=_map({})),
        final=_literals(tables.FINAL),
    )


def _evaluator() -> Schema:
    names = {**_list({"type": "string"}), "minItems": 1}
    columns = either({"type": "string"}, names)
    scores = _map(either(columns, _map(columns)))
    key = either({"type": "string"}, names, _map({"type": "string"}))
    made = _literals(tables.EVALUATOR, key=key, scores=scores)
    return {**made, "oneOf": [{"required": [kind]} for kind in ("table", "function", "score")]}


def _aim(words: tuple[str, ...]) -> Schema:
    ways: dict[str, Schema] = {way: {"enum": list(words)} for way in ("maximize", "minimize")}
    return section(ways, minProperties=1, maxProperties=1)


def _table() -> Schema:
    ref = _map({"type": ["number", "string", "null"]})
    row = _literals(
        tables.ROW,
        ref=ref,
        expect=_literals(tables.EXPECT),
        explained=_map(_literals(tables.REASON)),
        unresolved=_map({"type": "string"}),
    )
    row["not"] = {"required": ["from", "spec"]}
    rows = _map(row, propertyNames={"pattern": r"^[^.]+$"})
    return {
        **_literals(tables.TABLE, columns=_list({"type": "string"}), rows=rows),
        "anyOf": [{"required": ["rows"]}, {"required": ["matrix"]}],
    }


def _train() -> Schema:
    defaults = {field.name: field.default for field in fields(Recipe)}
    rules = {PRESET: preset_rule(), **recipe_rules()}
    return section(
        {k: value_schema(rule, null=True, default=defaults.get(k)) for k, rule in rules.items()}
    )
