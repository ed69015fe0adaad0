"""What generated networks stand on: blocks, stages, and timm's model contract.

This file imports torch and timm only and never flopwise, so that its classes can travel with a
network.
"""

# ruff: noqa: RUF012  (these class attributes are never changed, only replaced)

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flopwise.nets.attention import orthogonal_, sinusoid_
from flopwise.nets.drop import RATES

__all__ = [
    "Block",
    "Joint",
    "Network",
    "Stage",
    "fill_table",
    "fixed_table",
    "gelu_tanh",
    "table",
]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return F.gelu(x, approximate="tanh")


def table(*shape: int) -> nn.Parameter:
    """A learned table; `init_weights` fills it."""
    return nn.Parameter(torch.zeros(shape))


def fixed_table(*shape: int) -> Tensor:
    """A table of the checkpoint that is not learned; `init_weights` fills it."""
    return nn.Buffer(torch.zeros(shape))


class Block(nn.Module):
    """A generated block; `inits` names the layers that do not start by the family's rule."""

    inits: dict[str, float | str] = {}

    def init_exceptions(self) -> None:
        """Starts the tables, learned and fixed, and the layers named in `inits`."""
        for name, parameter in self.named_parameters(recurse=False):
            fill_table(parameter, self.inits[name])
        for name, buffer in self.named_buffers(recurse=False):
            FIXED[str(self.inits[name])](buffer)
        for name, layer in self.named_children():
            if name in self.inits and not isinstance(layer, nn.Dropout):
                INITS[str(self.inits[name])](layer)


class Stage(nn.Sequential):
    """Repetitions named 0, 1, ... behind the layers of an entry under their own name."""

    def __init__(self, *blocks: nn.Module, **entry: nn.Module) -> None:
        named = [*entry.items(), *((str(i), block) for i, block in enumerate(blocks))]
        super().__init__(OrderedDict(named))
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Runs the entry and the repetitions in order."""
        for block in self:
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class Joint(Stage):
    """A stage with one block that reads or makes several tensors."""

    def forward(self, *xs: Tensor) -> Any:
        """Runs the block."""
        (block,) = self
        if self.grad_checkpointing:
            return checkpoint(block, *xs, use_reentrant=False)
        return block(*xs)


class Network(nn.Module):
    """A generated network with timm's model contract.

    Generated classes set the attributes below and define `forward_features` and `forward_head`.
    """

    input_size: tuple[int, int, int]
    num_features: int
    head_hidden_size = 0  # not annotated: torch.jit cannot read the annotation
    feature_info: list[dict[str, Any]]
    first_conv: str
    classifier: str
    no_decay: tuple[str, ...] = ()
    pool: str = "avg"
    rules: dict[str, str]
    drop_paths: dict[str, float] = {}

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans

    def finish(self, global_pool: str | None, drop_rate: float, drop_path_rate: float) -> None:
        """Ends the constructor: checks the pooling, starts the weights, sets the rates."""
        if global_pool not in (None, self.pool):
            raise ValueError(f"this network pools by {self.pool!r}, not {global_pool!r}")
        self.head_hidden_size = self.head_hidden_size or self.num_features
        if self.classifier and self.num_classes == 0:
            self.reset_classifier(0)
        self.init_weights()
        self.set_dropout(drop_rate)
        self.set_drop_path(drop_path_rate)

    def init_weights(self) -> None:
        """Starts every layer by the rule of its family, then the exceptions."""
        for name, child in self.named_children():
            for path, module in child.named_modules(prefix=name):
                if not next(module.children(), None) and not isinstance(module, Block):
                    RULES[self.rule_of(path)](module)
            for module in child.modules():
                if isinstance(module, Block):
                    module.init_exceptions()

    def rule_of(self, path: str) -> str:
        """Returns the initialisation rule of a module: that of the innermost step that has one."""
        words = [word for word in path.split(".") if not word.isdigit()]
        while ".".join(words) not in self.rules:
            words.pop()
        return self.rules[".".join(words)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Everything before the head."""
        raise RuntimeError("generated networks define forward_features")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooling, final norm and, unless `pre_logits`, the classifier."""
        raise RuntimeError("generated networks define forward_head")

    def set_drop_path(self, rate: float, rule: str = "linear") -> None:
        """Sets stochastic depth in every block, by a rule of `RATES` that ends at `rate`.

        Where the family counts otherwise, `drop_paths` holds each block's share for `linear`.
        """
        found = [
            (place, f"{name}.{path}", block)
            for place, (name, child) in enumerate(self.named_children())
            for path, block in child.named_modules()
            if isinstance(block, Block) and _paths(block)
        ]
        shares = RATES[rule]([place for place, _, _ in found])
        own = self.drop_paths if rule == "linear" else {}
        for (_, name, block), share in zip(found, shares, strict=True):
            for path in _paths(block):
                path.drop_prob = rate * own.get(name, share)

    def set_dropout(self, rate: float) -> None:
        """Sets the dropout before the classifier; one with a rate of its own keeps it."""
        self.drop_rate = rate
        for block in self.modules():
            own = block.inits if isinstance(block, Block) else {}
            for name, layer in block.named_children():
                if isinstance(layer, nn.Dropout):
                    layer.p = float(own.get(name, rate))

    def get_classifier(self) -> nn.Module:
        """Returns the last linear layer."""
        return self.get_submodule(self.classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last linear layer by a fresh one; 0 classes leave the features."""
        if global_pool not in (None, self.pool):
            raise ValueError(f"this network pools by {self.pool!r}, not {global_pool!r}")
        if not self.classifier:
            raise ValueError("this network ends without a classifier")
        old = next(self.parameters())
        self.num_classes = num_classes
        layer: nn.Module = nn.Identity()
        if num_classes:
            width = self.head_hidden_size
            layer = nn.Linear(width, num_classes, device=old.device, dtype=old.dtype)
            RULES[self.rule_of(self.classifier)](layer)
        parent, _, name = self.classifier.rpartition(".")
        setattr(self.get_submodule(parent), name, layer.train(self.training))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trades time for memory: stages keep only the inputs of their blocks."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that carry no weight decay."""
        ends = tuple(name for name in self.no_decay if name.startswith("."))
        learned = (name for name, _ in self.named_parameters())
        return {name for name in learned if name in self.no_decay or name.endswith(ends)}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that order the parameters from input to output, for layer-wise decay."""
        groups: dict[str, Any] = {}
        stem: list[str] = []
        for name, child in self.named_children():
            if not isinstance(child, Stage):
                stem += [] if groups else [name]
                groups |= {name: [(rf"^{name}\.", (99999,))]} if groups else {}  # joins the last
            elif coarse:
                groups[name] = rf"^{name}\."
            else:
                groups[name] = [(rf"^{name}\.(\d+)\.", None), (rf"^{name}\.", (0,))]
        return {"stem": rf"^(?:{'|'.join(stem)})\."} | groups


def _paths(block: nn.Module) -> list[DropPath]:
    return [child for child in block.children() if isinstance(child, DropPath)]


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


def fill_table(parameter: Tensor, init: float | str) -> None:
    """Fills a learned table by a constant or a named rule."""
    if init == "trunc_normal":
        trunc_normal_(parameter, std=0.02)
    elif isinstance(init, str):
        nn.init.normal_(parameter, std=float(init.removeprefix("normal_")))
    else:
        nn.init.constant_(parameter, init)


def _fan_in(layer: nn.Module) -> None:
    _norm_or_bias(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")
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


def _zero(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)  # type: ignore[arg-type]  # norms of a residual branch


def _zero_gain(layer: nn.Module) -> None:
    nn.init.zeros_(layer.gain)  # type: ignore[arg-type]  # last convolution without skipinit


RULES: dict[str, Callable[[nn.Module], None]] = {
    "torch": _reset,
    "resnet": _kaiming,  # He et al. 2015; timm ResNet.init_weights
    "convnext": _trunc_all,  # timm convnext._init_weights
    "vit": _trunc_linear,  # timm init_weights_vit_timm
    "nfnet": _fan_in,  # timm NormFreeNet.__init__
    "densenet": _kaiming_in,  # timm DenseNet.__init__
    "mobile": _fan_out,  # timm _init_weight_goog
    "ghost": _reset,  # timm's GhostNet starts as torch does
}
INITS: dict[str, Callable[[nn.Module], None]] = {
    "zeros": _zero,
    "zero_gain": _zero_gain,
    "linear": _reset,
}
FIXED: dict[str, Callable[[Tensor], None]] = {"sinusoid": sinusoid_, "orthogonal": orthogonal_}
