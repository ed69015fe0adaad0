"""Adds what cannot be added, under a name that is taken."""

from flopwise.blocks import Map, Positive, block
from flopwise.blocks.layers import conv as convolution


@block
def mine(x: Map, *, dim: Positive) -> Map:
    """Widens one branch only."""
    return x + convolution(x, dim, name="conv", kernel=1)
