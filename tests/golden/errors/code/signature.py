"""A setting that YAML cannot hold."""

from flopwise.blocks import Map, block


@block
def mine(x: Map, *, dim: complex) -> Map:
    """Does nothing with a number."""
    return x
