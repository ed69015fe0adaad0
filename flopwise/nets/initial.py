"""Initial values of generated networks: the rule of each family, and the exceptions by name.

Like the runtime, this file imports torch and timm only and never flopwise.
"""

from __future__ import annotations

from collections.abc import Callable

from timm.layers import trunc_normal_
from torch import Tensor, nn

from flopwise.nets.attention import orthogonal_, sinusoid_

__all__ = ["FIXED", "INITS", "RULES", "fill_table"]


def fill_table(parameter: Tensor, init: float | str) -> None:
    """Fills a learned table by a constant or a named rule."""
    if init == "trunc_normal":
        trunc_normal_(parameter, std=0.02)
    elif isinstance(init, str):
        nn.init.normal_(parameter, std=float(init.removeprefix("normal_")))
    else:
        nn.init.constant_(parameter, init)


def _norm_or_bias(layer: nn.Module) -> None:
    _reset(layer)
    bias = getattr(layer, "bias", None)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)


def _kaiming(layer: nn.Module) -> None:
    _reset(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _trunc_all(layer: nn.Module) -> None:
    _norm_or_bias(layer)
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        trunc_normal_(layer.weight, std=0.02)


def _trunc_linear(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        _trunc_all(layer)
    else:
        _reset(layer)


def _reset(layer: nn.Module) -> None:
    reset = getattr(layer, "reset_parameters", None)
    if reset is not None:
        reset()


def _fan_in(layer: nn.Module) -> None:
    _norm_or_bias(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)


def _fan_out_small(layer: nn.Module) -> None:
    _norm_or_bias(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)


def _kaiming_in(layer: nn.Module) -> None:
    _norm_or_bias(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight)


def _fan_out(layer: nn.Module) -> None:
    _norm_or_bias(layer)
    if isinstance(layer, nn.Conv2d):
        fan = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
        nn.init.normal_(layer.weight, std=(2 / fan) ** 0.5)
    elif isinstance(layer, nn.Linear):
        reach = layer.out_features**-0.5
        nn.init.uniform_(layer.weight, -reach, reach)


def _fan_out_conv(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        _fan_out(layer)
    else:
        _reset(layer)


def _xavier_conv(layer: nn.Module) -> None:
    _reset(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _small_bias(layer: nn.Module) -> None:
    nn.init.normal_(layer.bias, std=1e-6)  # type: ignore[arg-type]  # layers that have one


def _zero(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)  # type: ignore[arg-type]  # norms of a residual branch


def _zero_gain(layer: nn.Module) -> None:
    nn.init.zeros_(layer.gain)  # type: ignore[arg-type]  # last convolution without skipinit


RULES: dict[str, Callable[[nn.Module], None]] = {
    "torch": _reset,
    "resnet": _kaiming,  # He et al. 2015; timm ResNet.init_weights
    "resnetv2": _fan_out_small,  # timm resnetv2._init_weights
    "convnext": _trunc_all,  # timm convnext._init_weights
    "vit": _trunc_linear,  # timm init_weights_vit_timm
    "nfnet": _fan_in,  # timm NormFreeNet.__init__
    "densenet": _kaiming_in,  # timm DenseNet.__init__
    "mobile": _fan_out,  # timm _init_weight_goog
    "ghost": _reset,  # timm's GhostNet starts as torch does
    "mbconv": _fan_out_conv,  # timm maxxvit._init_conv
    "map_vit": _xavier_conv,  # timm maxxvit._init_transformer
}
INITS: dict[str, Callable[[nn.Module], None]] = {
    "zeros": _zero,
    "zero_gain": _zero_gain,
    "linear": _reset,
    "small_bias": _small_bias,
}
FIXED: dict[str, Callable[[Tensor], None]] = {"sinusoid": sinusoid_, "orthogonal": orthogonal_}
