"""Text to `Spec` to `Network`: the language, without torch."""

from __future__ import annotations

from flopwise.dsl.network import Input, Network, Stage
from flopwise.dsl.recipe import Recipe
from flopwise.dsl.space import Choice, Domain, Final, Range, SamplerChoice, Search, Window
from flopwise.dsl.spec import Spec, load, loads

__all__ = [
    "Choice",
    "Domain",
    "Final",
    "Input",
    "Network",
    "Range",
    "Recipe",
    "SamplerChoice",
    "Search",
    "Spec",
    "Stage",
    "Window",
    "load",
    "loads",
]
