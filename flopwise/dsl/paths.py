"""Addresses of one repetition: `net.stage1[2].kernel`, and of all of them: `net.stage1[*].kernel`.

In a merged tree, a value for one repetition stands in its stage under `kernel[2]`; no file can
write that key, only a path makes it. Targets of a search are keys with dots in them.
"""

from __future__ import annotations

import re

from flopwise.dsl.tree import Node, Section

__all__ = ["keys_in", "parts_of", "single_of", "whole_of"]

TARGETS = ("search", "space")
"""The map whose keys are paths themselves."""

ADDRESS = re.compile(r"net\.([^.\[\]]+)\[(\d{1,4}|\*)\]\.([^.\[\]]+)")
SINGLE = re.compile(r"([^.\[\]]+)\[(\d{1,4})\]")


def parts_of(path: str) -> tuple[str, ...]:
    """Returns the keys that lead to a path in the merged tree.

    >>> parts_of("net.stage1[02].kernel"), parts_of("net.stage1[*].kernel")
    (('net', 'stage1', 'kernel[2]'), ('net', 'stage1', 'kernel'))
    """
    match = ADDRESS.fullmatch(path)
    if match is None:
        return tuple(path.split("."))
    stage, index, key = match.groups()
    return ("net", stage, key if index == "*" else f"{key}[{int(index)}]")


def keys_in(tree: Section, path: str) -> tuple[str, ...]:
    """Returns the keys that lead to a path in a tree, where a target of its search is one key."""
    parts = parts_of(path)
    found: tuple[str, ...] = ()
    node: Node | None = tree
    while parts:
        entries = node.entries if isinstance(node, Section) else {}
        lengths = (n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in entries)
        length = next(lengths, len(parts) if found == TARGETS else 1)
        key, parts = ".".join(parts[:length]), parts[length:]
        found, node = (*found, key), entries.get(key)
    return found


def single_of(name: str) -> tuple[str, int | None]:
    """Returns a key of a stage without its repetition, and the repetition if it names one.

    >>> single_of("kernel[2]"), single_of("kernel")
    (('kernel', 2), ('kernel', None))
    """
    match = SINGLE.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def whole_of(path: str) -> tuple[str, int | None]:
    """Returns the path of a setting for all repetitions, and the repetition the path names.

    >>> whole_of("net.stage1[2].kernel"), whole_of("train.lr")
    (('net.stage1.kernel', 2), ('train.lr', None))
    """
    *above, last = parts_of(path)
    key, index = single_of(last)
    return ".".join([*above, key]), index
