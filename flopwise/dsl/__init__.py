"""Text to `Spec` to `Network`: the language, without torch."""

from __future__ import annotations

from flopwise.dsl.domains import Choice, Dice, Domain, Permutation, Range, Subset, spell
from flopwise.dsl.expr import Value
from flopwise.dsl.network import Input, Network, Stage
from flopwise.dsl.opening import load, loads
from flopwise.dsl.recipe import Recipe
from flopwise.dsl.space import Final, Fit, SamplerChoice, Search, Window
from flopwise.dsl.spec import Spec

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
