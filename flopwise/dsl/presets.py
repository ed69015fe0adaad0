"""The shipped recipes: what `train: {preset: NAME}` stands for, from the papers.

A recipe is a file of keys of the `train` section. They hold wherever the spec, its parents or
`--set` write nothing themselves, so a preset and one changed number go together.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from flopwise.dsl.load import make_source, parse
from flopwise.dsl.tree import Scalar, Section
from flopwise.dsl.values import Rule

__all__ = ["PRESET", "beneath", "preset_of", "preset_rule", "recipe_of", "recipes", "with_preset"]

PRESET = "preset"
RECIPES = Path(__file__).parent.parent / "recipes"


@cache
def recipes() -> Mapping[str, Path]:
    """Returns the shipped recipes by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


@cache
def preset_rule() -> Rule:
    """Returns what `train.preset` may hold."""
    doc = "A recipe of the papers; what is written beside it goes before it."
    return Rule(
        name=PRESET, type="text", doc=doc, example="preset: convnext", choices=tuple(recipes())
    )


@cache
def recipe_of(name: str) -> Section:
    """Returns the keys of a shipped recipe, each with its place in its file."""
    text = recipes()[name].read_text(encoding="utf-8")
    tree = parse(text, make_source(f"recipes/{name}.yaml", text))
    assert isinstance(tree, Section)
    return tree


def preset_of(tree: Section) -> str:
    """Returns the name of the recipe that a spec asks for; empty for none, and for a wrong one."""
    train = tree.entries.get("train")
    node = train.entries.get(PRESET) if isinstance(train, Section) else None
    name = str(node.value) if isinstance(node, Scalar) else ""
    return name if name in recipes() else ""  # a wrong one is told when the keys are checked


def with_preset(tree: Section) -> Section:
    """Returns a spec whose `train` section holds what its preset says, and what it says itself."""
    name = preset_of(tree)
    return beneath(tree, recipe_of(name)) if name else tree


def beneath(tree: Section, recipe: Section) -> Section:
    """Returns a spec with a recipe laid under what it says of training."""
    train = tree.entries.get("train")
    if not isinstance(train, Section):
        train = Section({}, {}, tree.place)
    whole = Section({**recipe.entries, **train.entries}, {**recipe.keys, **train.keys}, train.place)
    keys = {"train": train.place, **tree.keys}
    return Section({**tree.entries, "train": whole}, keys, tree.place)
