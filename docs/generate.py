"""Writes the generated parts of `docs/language.md` from the tables that the program itself reads.

    python docs/generate.py [--check]

What stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced; the prose around it
is kept. With `--check` nothing is written, and the exit code is 1 if the page is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flopwise.blocks import BLOCKS, Block
from flopwise.dsl import Recipe, expr, files, grammar, resolve, tables, tree
from flopwise.dsl.functions import FUNCTIONS
from flopwise.dsl.load import MAX_BYTES
from flopwise.dsl.presets import PRESET, preset_rule, recipes
from flopwise.dsl.recipe import recipe_rules
from flopwise.report.pages import pages

PAGE = Path(__file__).with_name("language.md")
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SAMPLES = {"dim": 64, "heads": 4, "patch": 4, "to": 8, "kernel": 3, "classes": 10}
LEFT_OUT = {("avgpool", "kernel"), ("avgpool", "stride")}  # `to` stands for both
TYPES = {
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "text": "text",
    "size": "number or [height, width]",
    "any": "",
    "value": "any value",
}


def main() -> int:
    """Rewrites the page, or says whether it is current."""
    old = PAGE.read_text(encoding="utf-8")
    new = written(old)
    if "--check" in sys.argv[1:]:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def written(page: str) -> str:
    """Returns the page with every generated part made anew."""
    return PART.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}\n{match[3]}", page)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [list(heads), *([*row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _keys(rules: Mapping[str, Any]) -> str:
    """Returns the table of the keys of one section."""
    rows = [
        [f"`{name}`", _type(rule), rule.doc, f"`{rule.example}`" if rule.example else ""]
        for name, rule in rules.items()
    ]
    return _table(["key", "value", "meaning", "example"], rows)


def _type(rule: Any) -> str:
    if rule.choices:
        return ", ".join(f"`{word}`" for word in rule.choices)
    words = TYPES.get(rule.type, rule.type)
    if rule.odd:
        words = words.replace("whole", "odd whole")
    if rule.low is not None and rule.high is not None:
        words += f", {_number(rule.low)} to {_number(rule.high)}"
    elif rule.low is not None:
        words += f", at least {_number(rule.low)}"
    return f"{words}; required" if rule.required else words


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _recipe() -> str:
    usual = Recipe()
    rows = [[f"`{PRESET}`", "one of those below", "none", preset_rule().doc]]
    rows += [
        [f"`{name}`", _type(rule), _plain(getattr(usual, name)), rule.doc]
        for name, rule in recipe_rules().items()
    ]
    return _table(["key", "value", "default", "meaning"], rows)


def _recipes() -> str:
    """Returns the shipped recipes, each with the first sentence of its comment and its source."""
    rows = []
    for name, path in recipes().items():
        text = path.read_text(encoding="utf-8")
        lines = [line.removeprefix("#").strip() for line in text.splitlines() if line[:1] == "#"]
        title, source = " ".join(lines).split(". ", 1)
        paper = re.match(r".*?arXiv:\d+\.\d+", source)
        rows.append([f"`{name}`", title, paper[0] if paper else source])
    return _table(["preset", "what it trains", "source"], rows)


def _plain(value: object) -> str:
    if value is None:
        return "left out"
    return f"`{_word(value)}`" if value != "" else "empty"


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_word, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _functions() -> str:
    rows = [[f"`{name}`", FUNCTION_HELP[name]] for name in FUNCTIONS]
    return _table(["function", "value"], rows)


FUNCTION_HELP = {
    "min": "the smallest of its numbers, or of the numbers of one list",
    "max": "the largest",
    "abs": "the number without its sign",
    "floor": "rounded down",
    "ceil": "rounded up",
    "round": "rounded; a half goes to the even neighbour",
    "len": "how many items a list has",
    "sum": "all its numbers, or those of one list, added",
    "pow": "`pow(x, y)`: x to the power of y; whole when both are",
    "sqrt": "the square root",
    "log": "the natural logarithm",
    "multiple": "`multiple(x, 8)`: the multiple of 8 next to x, a half goes up, at least 8",
    "divisible": "`divisible(x, 8)`: the same, but one step up where that is below 90 % of x",
    "pick": "`pick(i, a, b, c)`: a for i = 0, b for i = 1, and so on",
}


def _blocks() -> str:
    return "\n\n".join(_block(block) for block in BLOCKS.values())


def _block(block: Block) -> str:
    text = block.doc.split("\n\nSettings:")[0].strip()
    rows = [
        [f"`{field.name}`", _type(field), _default(field), _notes(field)]
        for field in block.fields.values()
    ]
    parts = [f"### `{block.name}`", text, f"```yaml\n{example(block)}\n```"]
    if rows:
        parts.append(_table(["setting", "value", "default", "meaning"], rows))
    return "\n\n".join(parts)


def _default(field: Any) -> str:
    return "" if field.required else _plain(field.default)


def _notes(field: Any) -> str:
    extra = " Only the first repetition." if field.first else ""
    extra += " Not from file-wide `defaults`." if field.local else ""
    if field.only:
        extra += f" Counts only with `{': '.join(field.only[:2])}`."
    return f"{field.doc}{extra}"


def example(block: Block) -> str:
    """Returns a stage of this block with all of its settings written, each at its usual value."""
    settings = {
        name: field.default
        if field.default is not None
        else SAMPLES.get(name, 8 if field.required else None)
        for name, field in block.fields.items()
        if (block.name, name) not in LEFT_OUT
    }
    settings = {name: value for name, value in settings.items() if value not in (None, "")}
    words = [f"block: {block.name}"]
    words += [] if block.once else ["depth: 2"]
    words += ["from: [left, right]"] if block.variadic or len(block.ports) > 1 else []
    words += [f"{name}: {_word(value)}" for name, value in settings.items()]
    return f"stage: {{{', '.join(words)}}}"


def _limits() -> str:
    rows = [
        ["size of a file", f"{MAX_BYTES} bytes"],
        ["nesting", f"{tree.MAX_DEPTH} levels"],
        ["values in a file", f"{tree.MAX_NODES}"],
        ["one text", f"{tree.MAX_SCALAR} characters"],
        ["files in a chain of `extends`", f"{files.MAX_CHAIN}"],
        ["`depth` of a stage", f"{tables.NODE['depth'].high:g}"],
        ["blocks in a network", f"{resolve.MAX_BLOCKS}"],
        [
            "one expression",
            f"{expr.MAX_TEXT} characters, {grammar.MAX_TOKENS} words and signs, "
            f"{grammar.MAX_DEPTH} deep",
        ],
        ["a whole number", "2^53"],
    ]
    return _table(["what", "at most"], rows)


def _faults() -> str:
    rows = [[f"`{page.code}`", page.title] for page in pages().values()]
    return _table(["code", "fault"], rows)


SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "top": tables.TOP,
    "input": tables.INPUT,
    "stage": tables.NODE,
    "composite": tables.COMPOSITE,
    "param": tables.PARAM,
    "expect": tables.EXPECT,
    "search": tables.SEARCH,
    "domain": tables.DOMAIN,
    "fit": tables.FIT,
    "sampler": tables.SAMPLER,
    "evaluator": tables.EVALUATOR,
    "pruner": tables.PRUNER,
    "final": tables.FINAL,
    "table": tables.TABLE,
    "row": tables.ROW,
    "evaluate": tables.EVALUATE,
    "export": tables.EXPORT,
    "reason": tables.REASON,
}

PARTS: dict[str, Callable[[], str]] = {
    **{name: partial(_keys, rules) for name, rules in SECTIONS.items()},
    "train": _recipe,
    "recipes": _recipes,
    "functions": _functions,
    "blocks": _blocks,
    "limits": _limits,
    "faults": _faults,
}

if __name__ == "__main__":
    raise SystemExit(main())
