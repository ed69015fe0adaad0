"""Fails when it is traced."""

from flopwise.blocks import Map, Positive, block
from flopwise.blocks.layers import conv


def narrowed(x: Map, dim: int) -> Map:
    return conv(x, dim // x.depth, name="conv", kernel=1)


@block
def mine(x: Map, *, dim: Positive) -> Map:
    """Asks a map for what it does not have."""
    return narrowed(x, dim)
