"""How each layer kind is written in PyTorch: one line a kind.

A kind is either a module (a constructor in `__init__`, a call in `forward`) or an expression. The
numbers come from the layer's settings; what equals PyTorch's own default is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ACTS", "FORMS", "MODULE_ACTS", "Form"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The PyTorch of a layer kind.

    Attributes:
        call: The constructor; empty for a kind without a module. With a setting in `positional`
            and no constructor, the block keeps the number itself.
        positional: Settings passed by position.
        keywords: Keyword -> (setting, PyTorch's default).
        fixed: Arguments that are always written as they stand.
        forward: The expression; {0}, {1} are the inputs, {me} the module, {name} settings.
        attributes: Attribute of the block -> setting, for numbers that differ between repetitions.
        operator: True for sums and products, which are never nested.
        names: Variable names for several outputs.
    """

    call: str = ""
    positional: tuple[str, ...] = ()
    keywords: Mapping[str, tuple[str, object]] = field(default_factory=dict)
    fixed: str = ""
    forward: str = "{me}({all})"
    attributes: Mapping[str, str] = field(default_factory=dict)
    operator: bool = False
    names: tuple[str, ...] = ()


FORMS: dict[str, Form] = {
    "conv": Form(
        call="nn.Conv2d",
        positional=("channels", "dim", "kernel"),
        keywords={
            "stride": ("stride", 1),
            "padding": ("pad", 0),
            "groups": ("groups", 1),
            "bias": ("bias", True),
        },
    ),
    "std_conv": Form(
        call="StdConv2d",
        positional=("channels", "dim", "kernel"),
        keywords={
            "stride": ("stride", 1),
            "groups": ("groups", 1),
            "same": ("same", True),
            "gamma": ("gamma", 1.0),
        },
    ),
    "linear": Form(
        call="nn.Linear", positional=("channels", "dim"), keywords={"bias": ("bias", True)}
    ),
    "batch_norm": Form(
        call="nn.BatchNorm2d", positional=("channels",), keywords={"eps": ("eps", 1e-5)}
    ),
    "layer_norm": Form(
        call="nn.LayerNorm", positional=("channels",), keywords={"eps": ("eps", 1e-5)}
    ),
    "rms_norm": Form(call="nn.RMSNorm", positional=("channels",), keywords={"eps": ("eps", None)}),
    "layer_norm2d": Form(
        call="LayerNorm2d", positional=("channels",), keywords={"eps": ("eps", 1e-6)}
    ),
    "grn": Form(
        call="GlobalResponseNorm",
        positional=("channels",),
        keywords={"channels_last": ("last", True)},
    ),
    "drop_path": Form(call="DropPath"),
    "dropout": Form(call="nn.Dropout", fixed="0.0"),
    "parameter": Form(call="table", positional=("shape",), forward="{me}"),
    "fixed": Form(call="fixed_table", positional=("shape",), forward="{me}"),
    "act": Form(forward="{function}({0})"),
    "activation": Form(call="nn"),  # MODULE_ACTS says which
    "gamma_act": Form(
        forward="{function}({0}) * self.gamma", attributes={"gamma": "gamma"}, operator=True
    ),
    "times": Form(positional=("value",), forward="{0} * {me}", operator=True),
    "channel_conv": Form(
        call="nn.Conv1d",
        fixed="1, 1",
        keywords={"kernel_size": ("kernel", None), "padding": ("pad", 0), "bias": ("bias", True)},
        forward="{me}({0}.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)",
    ),
    "first_channels": Form(forward="{0}[:, :{count}]"),
    "flatten": Form(forward="{0}.flatten(1)"),
    "unflatten": Form(forward="{0}[..., None, None]"),
    "weight_std_conv": Form(
        call="WeightStdConv2d",
        positional=("channels", "dim", "kernel"),
        keywords={"stride": ("stride", 1), "same": ("same", True)},
    ),
    "group_norm": Form(
        call="nn.GroupNorm", positional=("groups", "channels"), keywords={"eps": ("eps", 1e-5)}
    ),
    "max_pool_same": Form(forward="max_pool_same({0}, {kernel}, {stride})"),
    "max_pool": Form(forward="F.max_pool2d({0}, {kernel}, stride={stride}, padding={pad})"),
    "zero_pad": Form(forward="F.pad({0}, [{rim}] * 4)"),
    "avg_pool": Form(forward="F.avg_pool2d({0}, {kernel}, stride={stride})"),
    "padded_avg_pool": Form(
        forward="F.avg_pool2d({0}, {kernel}, stride={stride}, padding={pad}, "
        "count_include_pad=False)"
    ),
    "upsample": Form(forward='F.interpolate({0}, scale_factor={scale}.0, mode="{mode}")'),
    "zero": Form(forward="torch.zeros_like({0})"),
    "cat_tokens": Form(forward="torch.cat([{all}], dim=1)"),
    "shrink": Form(forward="F.avg_pool2d({0}, {stride}, ceil_mode=True, count_include_pad=False)"),
    "shrinking": Form(
        call="nn.AvgPool2d",
        positional=("stride",),
        fixed="ceil_mode=True, count_include_pad=False",
    ),
    "global_mean": Form(forward="{0}.mean((2, 3){keepdim})"),
    "channels_last": Form(forward="{0}.permute(0, 2, 3, 1)"),
    "channels_first": Form(forward="{0}.permute(0, 3, 1, 2)"),
    "to_tokens": Form(forward="{0}.flatten(2).transpose(1, 2)"),
    "to_map": Form(call="ToMap", positional=("grid",), keywords={"extra": ("extra", 0)}),
    "prepend": Form(forward="torch.cat([{1}.expand({0}.shape[0], -1, -1), {0}], dim=1)"),
    "take_token": Form(forward="{0}[:, 0]"),
    "token_mean": Form(forward="{0}{patches}.mean(1)"),
    "split_heads": Form(
        forward="split_heads({0}, self.num_heads)",
        attributes={"num_heads": "heads"},
        names=("q", "k", "v"),
    ),
    "map_heads": Form(
        forward="map_heads({0}, self.num_heads)",
        attributes={"num_heads": "heads"},
        names=("q", "k", "v"),
    ),
    "near_map": Form(forward="{0}.transpose(1, 2).unflatten(2, {1}.shape[2:])"),
    "attend": Form(
        forward="F.scaled_dot_product_attention({0}, {1}, {2}).transpose(1, 2).flatten(2)"
    ),
    "attend_biased": Form(forward="attend_biased({0}, {1}, {2}, {3})"),
    "attend_over": Form(forward="attend_over({all})"),
    "offset_bias": Form(call="OffsetBias", positional=("grid",), keywords={"extra": ("extra", 0)}),
    "relative_scores": Form(forward="relative_scores({all})"),
    "to_heads": Form(
        forward="{0}.unflatten(2, (self.num_heads, -1)).transpose(1, 2)",
        attributes={"num_heads": "heads"},
    ),
    "merge_heads": Form(forward="{0}.transpose(1, 2).flatten(2)"),
    "halves": Form(forward="{0}.chunk(2, dim=-1)", names=("one", "other")),
    "keys_values": Form(
        forward="{0}.unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)",
        attributes={"num_heads": "heads"},
        names=("k", "v"),
    ),
    "spread": Form(forward="{0}.expand({1}.shape[0], -1, -1)"),
    "chunk": Form(forward="{0}.chunk(3, dim=-1)", names=("k", "q", "v")),
    "random_features": Form(forward="random_features({0}, {1})"),
    "linear_attend": Form(forward="linear_attend({0}, {1}, {2})"),
    "token_conv": Form(
        call="nn.Conv1d",
        positional=("channels", "channels"),
        fixed="1, bias=False",
        keywords={"groups": ("channels", 1)},
        forward="{me}({0}.transpose(1, 2)).transpose(1, 2)",
    ),
    "grid_table": Form(forward="grid_table({0}, {1})"),
    "sequence_mean": Form(forward="{0}.mean(1, keepdim=True)"),
    "unfold": Form(
        forward="F.unfold({0}, {kernel}, padding={pad}, stride={stride}).transpose(1, 2)"
    ),
    "to_windows": Form(
        forward="to_windows({0}, self.window, self.shift)",
        attributes={"window": "window", "shift": "shift"},
    ),
    "from_windows": Form(
        forward="from_windows({0}, {1}, self.window, self.shift)",
        attributes={"window": "window", "shift": "shift"},
    ),
    "window_attend": Form(call="WindowAttend", positional=("heads", "window", "shift", "size")),
    "merge_patches": Form(forward="merge_patches({0}, {stride})"),
    "concat": Form(forward="torch.cat([{all}], dim={torch_axis})"),
    "add": Form(forward="{0} + {1}", operator=True),
    "mul": Form(forward="{0} * {1}", operator=True),
}

MODULE_ACTS: dict[str, str] = {
    "relu": "nn.ReLU()",
    "relu6": "nn.ReLU6()",
    "gelu": "nn.GELU()",
    "gelu_tanh": 'nn.GELU("tanh")',
    "silu": "nn.SiLU()",
    "hardswish": "nn.Hardswish()",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "hard_sigmoid": "nn.Hardsigmoid()",
    "quick_gelu": "QuickGELU()",
}

ACTS: dict[str, str] = {
    "relu": "F.relu",
    "relu6": "F.relu6",
    "gelu": "F.gelu",
    "gelu_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "F.silu",
    "hardswish": "F.hardswish",
    "tanh": "torch.tanh",
    "sigmoid": "torch.sigmoid",
    "hard_sigmoid": "F.hardsigmoid",
}
