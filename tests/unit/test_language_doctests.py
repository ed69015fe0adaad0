"""The examples in the docstrings of the language run."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import flopwise.dsl

MODULES = [
    "flopwise.errors",
    *(f"flopwise.dsl.{m.name}" for m in pkgutil.iter_modules(flopwise.dsl.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0
