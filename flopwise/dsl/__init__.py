"""Text to `Spec` to `Network`: the language, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flopwise.dsl.expr import Value
from flopwise.dsl.network import Input, Network, Stage
from flopwise.dsl.opening import load, loads
from flopwise.dsl.spec import Spec

if TYPE_CHECKING:  # at run time these arrive when asked for: most specs have no space
    from flopwise.dsl.domains import Choice, Dice, Domain, Permutation, Range, Subset, spell
    from flopwise.dsl.recipe import Recipe
    from flopwise.dsl.space import Final, Fit, SamplerChoice, Search, Window

__all__ = [
    "Choice",
    "Dice",
    "Domain",
    "Final",
    "Fit",
    "Input",
    "Network",
    "Permutation",
    "Range",
    "Recipe",
    "SamplerChoice",
    "Search",
    "Spec",
    "Stage",
    "Subset",
    "Value",
    "Window",
    "load",
    "loads",
    "spell",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'flopwise.dsl' has no attribute {name!r}")
    from flopwise.dsl import domains, recipe, space

    return next(getattr(home, name) for home in (domains, recipe, space) if hasattr(home, name))
