"""The layer kinds: shape rule, MACs, parameters and activations of each, once.

This is the only place where a cost is defined. A kind is one function that appends one `Layer`.
MACs are those of convolutions, linears and the matrix products of attention and nothing else (what
`torch.utils.flop_counter.FlopCounterMode` counts, halved); activations are the elements those
layers put out. `nets/` knows one module or expression for each kind here.
"""

from __future__ import annotations

from flopwise.blocks.layers.attention import attend, split_heads
from flopwise.blocks.layers.common import (
    Act,
    act,
    concat,
    drop_path,
    dropout,
    gamma_act,
    linear,
    parameter,
    times,
)
from flopwise.blocks.layers.convolution import (
    avg_pool,
    conv,
    global_mean,
    max_pool,
    shrink,
    std_conv,
)
from flopwise.blocks.layers.norm import batch_norm, layer_norm
from flopwise.blocks.layers.tokens import (
    channels_first,
    channels_last,
    prepend,
    take_token,
    to_map,
    to_tokens,
    token_mean,
)

__all__ = [
    "Act",
    "act",
    "attend",
    "avg_pool",
    "batch_norm",
    "channels_first",
    "channels_last",
    "concat",
    "conv",
    "drop_path",
    "dropout",
    "gamma_act",
    "global_mean",
    "layer_norm",
    "linear",
    "max_pool",
    "parameter",
    "prepend",
    "shrink",
    "split_heads",
    "std_conv",
    "take_token",
    "times",
    "to_map",
    "to_tokens",
    "token_mean",
]
