"""The shipped blocks by name; a file of blocks is read when a spec names one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from flopwise.blocks.signature import Block

__all__ = ["Vocabulary"]


class Vocabulary(Mapping[str, Block]):
    """Blocks by name, each read once and not before it is asked for.

    >>> Vocabulary({"conv": "conv.conv_block"})["conv"].name
    'conv'
    """

    def __init__(self, homes: Mapping[str, str]) -> None:
        """Takes where each block is defined: its module in this room, and its name there."""
        self._homes = homes

    def __getitem__(self, name: str) -> Block:
        """Returns a block; KeyError where there is none of this name."""
        return _read(self._homes[name])

    def __contains__(self, name: object) -> bool:
        """Whether there is a block of this name; nothing is read."""
        return name in self._homes

    def __iter__(self) -> Iterator[str]:
        """Yields the names."""
        return iter(self._homes)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self._homes)


@cache
def _read(home: str) -> Block:
    module, _, name = home.partition(".")
    block: Block = getattr(import_module(f"flopwise.blocks.{module}"), name)
    return block
