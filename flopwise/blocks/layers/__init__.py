"""The layer kinds: shape rule, MACs, parameters and activations of each, once.

This is the only place where a cost is defined. A kind is one function that appends one `Layer`.
MACs are those of convolutions, linears and the matrix products of attention and nothing else (what
`torch.utils.flop_counter.FlopCounterMode` counts, halved); activations are the elements those
layers put out. `nets/` knows one module or expression for each kind here.
"""

from __future__ import annotations

from flopwise.blocks.layers.attention import (
    attend,
    chunk,
    halves,
    keys_values,
    linear_attend,
    merge_heads,
    random_features,
    split_heads,
    to_heads,
)
from flopwise.blocks.layers.common import (
    Act,
    act,
    concat,
    drop_path,
    dropout,
    fixed,
    gamma_act,
    linear,
    parameter,
    times,
)
from flopwise.blocks.layers.convolution import (
    avg_pool,
    channel_conv,
    conv,
    first_channels,
    flatten,
    global_mean,
    max_pool,
    max_pool_same,
    shrink,
    std_conv,
    unflatten,
    weight_std_conv,
)
from flopwise.blocks.layers.norm import batch_norm, grn, group_norm, layer_norm, rms_norm
from flopwise.blocks.layers.tokens import (
    channels_first,
    channels_last,
    grid_table,
    prepend,
    sequence_mean,
    spread,
    take_token,
    to_map,
    to_tokens,
    token_conv,
    token_mean,
    unfold,
)
from flopwise.blocks.layers.windows import (
    from_windows,
    merge_patches,
    to_windows,
    window_attend,
)

__all__ = [
    "Act",
    "act",
    "attend",
    "avg_pool",
    "batch_norm",
    "channel_conv",
    "channels_first",
    "channels_last",
    "chunk",
    "concat",
    "conv",
    "drop_path",
    "dropout",
    "first_channels",
    "fixed",
    "flatten",
    "from_windows",
    "gamma_act",
    "global_mean",
    "grid_table",
    "grn",
    "group_norm",
    "halves",
    "keys_values",
    "layer_norm",
    "linear",
    "linear_attend",
    "max_pool",
    "max_pool_same",
    "merge_heads",
    "merge_patches",
    "parameter",
    "prepend",
    "random_features",
    "rms_norm",
    "sequence_mean",
    "shrink",
    "split_heads",
    "spread",
    "std_conv",
    "take_token",
    "times",
    "to_heads",
    "to_map",
    "to_tokens",
    "to_windows",
    "token_conv",
    "token_mean",
    "unflatten",
    "unfold",
    "weight_std_conv",
    "window_attend",
]
