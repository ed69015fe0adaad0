"""The command line: one thin function per verb over `flopwise.design`.

A verb's docstring is its help. Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

from flopwise.cli.parser import main, make_parser

__all__ = ["main", "make_parser"]
