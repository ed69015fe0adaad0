"""How each layer kind is written in PyTorch: one line a kind.

A kind is either a module (a constructor in `__init__`, a call in `forward`) or an expression. The
numbers come from the layer's settings; what equals PyTorch's own default is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ACTS", "FORMS", "Form"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The PyTorch of a layer kind.

    Attributes:
        call: The constructor; empty for a kind without a module.
        positional: Settings passed by position.
        keywords: Keyword -> (setting, PyTorch's default).
        fixed: Arguments that are always written as they stand.
        forward: The expression; {0}, {1} are the inputs, {me} the module, {name} settings.
        attributes: Attribute of the block -> setting, for numbers that differ between repetitions.
        operator: True for `a + b` and `a * b`, which are never nested.
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
    "linear": Form(
        call="nn.Linear", positional=("channels", "dim"), keywords={"bias": ("bias", True)}
    ),
    "batch_norm": Form(
        call="nn.BatchNorm2d", positional=("channels",), keywords={"eps": ("eps", 1e-5)}
    ),
    "layer_norm": Form(
        call="nn.LayerNorm", positional=("channels",), keywords={"eps": ("eps", 1e-5)}
    ),
    "layer_norm2d": Form(
        call="LayerNorm2d", positional=("channels",), keywords={"eps": ("eps", 1e-6)}
    ),
    "drop_path": Form(call="DropPath"),
    "dropout": Form(call="nn.Dropout", fixed="0.0"),
    "parameter": Form(call="table", positional=("shape",), forward="{me}"),
    "act": Form(forward="{function}({0})"),
    "max_pool": Form(forward="F.max_pool2d({0}, {kernel}, stride={stride}, padding={pad})"),
    "avg_pool": Form(forward="F.avg_pool2d({0}, {kernel}, stride={stride})"),
    "padded_avg_pool": Form(
        forward="F.avg_pool2d({0}, {kernel}, stride={stride}, padding={pad}, "
        "count_include_pad=False)"
    ),
    "upsample": Form(forward='F.interpolate({0}, scale_factor={scale}.0, mode="{mode}")'),
    "zero": Form(forward="torch.zeros_like({0})"),
    "cat_tokens": Form(forward="torch.cat([{all}], dim=1)"),
    "global_mean": Form(forward="{0}.mean((2, 3){keepdim})"),
    "channels_last": Form(forward="{0}.permute(0, 2, 3, 1)"),
    "channels_first": Form(forward="{0}.permute(0, 3, 1, 2)"),
    "to_tokens": Form(forward="{0}.flatten(2).transpose(1, 2)"),
    "to_map": Form(forward="{0}[:, {extra}:].transpose(1, 2).unflatten(2, {grid})"),
    "prepend": Form(forward="torch.cat([{1}.expand({0}.shape[0], -1, -1), {0}], dim=1)"),
    "take_token": Form(forward="{0}[:, 0]"),
    "token_mean": Form(forward="{0}[:, {extra}:].mean(1)"),
    "split_heads": Form(
        forward="split_heads({0}, self.num_heads)",
        attributes={"num_heads": "heads"},
        names=("q", "k", "v"),
    ),
    "attend": Form(
        forward="F.scaled_dot_product_attention({0}, {1}, {2}).transpose(1, 2).flatten(2)"
    ),
    "concat": Form(forward="torch.cat([{all}], dim={torch_axis})"),
    "add": Form(forward="{0} + {1}", operator=True),
    "mul": Form(forward="{0} * {1}", operator=True),
}

ACTS: dict[str, str] = {
    "relu": "F.relu",
    "relu6": "F.relu6",
    "gelu": "F.gelu",
    "gelu_tanh": "gelu_tanh",
    "silu": "F.silu",
    "hardswish": "F.hardswish",
    "tanh": "torch.tanh",
    "sigmoid": "torch.sigmoid",
}
