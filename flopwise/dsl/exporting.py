"""The `export` section: what a folder says about its weights, and what it must fit."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flopwise.dsl.checker import Checker
from flopwise.dsl.functions import Value
from flopwise.dsl.tables import EXPORT, TOP
from flopwise.dsl.tree import Section

__all__ = ["read_export"]

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SHORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def read_export(tree: Section, checker: Checker) -> Mapping[str, Value]:
    """Returns the section as plain data, after checking it."""
    node = tree.entries.get("export")
    section = checker.section(node, TOP["export"]) if node is not None else None
    if section is None:
        return {}
    found = checker.literals(section, EXPORT, "'export'", tree.keys["export"])
    for key, pattern, code, why in (
        ("tag", WORD, "E650", "timm splits a model's name from its tag at a dot"),
        ("license", SHORT, "E651", "the Hub knows licences by short names without spaces"),
    ):
        value = str(found.get(key, "x"))
        if not pattern.fullmatch(value):
            better = re.sub(r"[^A-Za-z0-9_-]+", "-", value).strip("-_").lower() or "mine"
            kept = "letters, digits, - and _" + (" and ." if key == "license" else "")
            fact = f"'{key}' takes {kept}, and this is {value!r}"
            checker.fault(
                code, fact, section.entries[key].place, f"write  {key}: {better}", note=why
            )
    return found
