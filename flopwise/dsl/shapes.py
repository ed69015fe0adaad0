"""What one key may hold, as JSON Schema: the same rules that `values.py` checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from flopwise.dsl.values import RuleLike

__all__ = ["EXPRESSION", "IDENTIFIER", "LITERAL", "Schema", "either", "section", "value_schema"]

Schema: TypeAlias = dict[str, Any]

EXPRESSION: Schema = {"type": "string", "pattern": r"^\$", "description": "$name or $(expression)"}
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
SCALAR: Schema = {"type": ["number", "string", "boolean"]}
LITERAL: Schema = {"anyOf": [SCALAR, {"type": "array", "items": SCALAR}]}
QUANTITY = r"^(0|[1-9][0-9]*)(\.[0-9]+)?\s?[KMGTkmgt]?$"
PERCENT = r"^(0|[1-9][0-9]*)(\.[0-9]+)?\s?%$"
TYPES = {"int": "integer", "float": "number", "bool": "boolean", "text": "string"}


def either(*schemas: Schema) -> Schema:
    """Returns what fits one of several schemas."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def value_schema(
    rule: RuleLike, *, literal: bool = False, null: bool = False, default: object = None
) -> Schema:
    """Returns what a key may hold.

    Args:
        rule: Its rule, of a section or of a block.
        literal: Whether no expression is allowed.
        null: Whether null may remove the key of a parent.
        default: What it is worth where it is not written.
    """
    forms = [_plain(rule)]
    if rule.type not in ("map", "list", "any", "text", "value") or rule.choices:
        forms += [] if literal else [EXPRESSION]
    if null and rule.type != "any":
        forms.append({"type": "null"})
    schema = dict(either(*forms))
    doc = str(getattr(rule, "doc", ""))
    schema["description"] = " ".join(filter(None, (doc, _limits(rule)))) or rule.name
    if example := getattr(rule, "example", ""):
        schema["description"] += f" Example: {example}"
    if default is not None:
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def section(
    properties: Mapping[str, Schema], *, required: Sequence[str] = (), **more: object
) -> Schema:
    """Returns a map whose keys are all known."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    return {**schema, "additionalProperties": False, **more}


def _plain(rule: RuleLike) -> Schema:
    if rule.type in ("any", "value"):
        return {} if rule.type == "any" else dict(LITERAL)
    if rule.type in ("map", "list"):
        return {"type": "object" if rule.type == "map" else "array"}
    if rule.type == "size":
        return _size(rule)
    if rule.type == "list[int]":
        return {"type": "array", "items": _number(rule, "integer")}
    if rule.type in ("quantity", "percent"):
        pattern = QUANTITY if rule.type == "quantity" else PERCENT
        return either(_number(rule, "number"), {"type": "string", "pattern": pattern})
    if rule.choices:
        return {"enum": list(rule.choices)}
    return _number(rule, TYPES[rule.type])


def _size(rule: RuleLike) -> Schema:
    one = _number(rule, "integer")
    return either(one, {"type": "array", "items": one, "minItems": 2, "maxItems": 2})


def _number(rule: RuleLike, kind: str) -> Schema:
    schema: Schema = {"type": kind}
    if kind not in ("integer", "number"):
        return schema
    for word, bound in (("minimum", rule.low), ("maximum", rule.high)):
        if bound is not None:
            schema[word] = int(bound) if bound == int(bound) else bound
    if rule.odd:
        schema["not"] = {"multipleOf": 2}
    if multiple := getattr(rule, "multiple_of", None):
        schema["multipleOf"] = multiple
    return schema


def _limits(rule: RuleLike) -> str:
    """Says what a hover shows of a range, since editors show no bounds."""
    if rule.low is None and rule.high is None:
        return ""
    low = "" if rule.low is None else f"from {rule.low:g}"
    high = "" if rule.high is None else f"to {rule.high:g}"
    return f"({' '.join(filter(None, (low, high)))})"
