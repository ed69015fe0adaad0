"""A block of one's own: a function over symbolic tensors; its signature is the schema."""

from flopwise.blocks import Map, Odd, block
from flopwise.blocks.layers import act, concat, conv


@block(once=True)
def gated_fuse(main: Map, skip: Map, *, kernel: Odd = 1) -> Map:
    """Adds a skip, weighted at every position by a gate that sees both inputs.

    Settings:
        kernel: Size of the gate's convolution, odd.
    """
    gate = conv(concat((main, skip)), main.channels, name="gate", kernel=kernel)
    return main + skip * act(gate, "sigmoid")
