"""What generated networks stand on: blocks, stages, and timm's model contract.

This file imports torch and timm only and never flopwise, so that its classes can travel with a
network.
"""

# ruff: noqa: RUF012  (these class attributes are never changed, only replaced)

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, LayerNorm2d
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flopwise.nets.drop import RATES
from flopwise.nets.initial import FIXED, INITS, RULES, fill_table
from flopwise.nets.levels import Pooled, as_map, as_tokens, last_of, remove_behind, tapped

__all__ = [
    "Block",
    "Joint",
    "Network",
    "Stage",
    "fixed_table",
    "gelu_tanh",
    "quick_gelu",
    "table",
]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """GELU by a sigmoid: x * sigmoid(1.702 * x)."""
    return x * torch.sigmoid(1.702 * x)


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
    """A stage with one block that reads or makes several tensors; generated classes say which."""

    def saving(self, *xs: Tensor) -> Any:
        """Runs the block and keeps only what it reads."""
        return checkpoint(self[0], *xs, use_reentrant=False)


class Network(nn.Module):
    """A generated network with timm's model contract.

    Generated classes set the constants, and define `forward_trunk` and `forward_head`.
    """

    input_size: tuple[int, int, int]
    num_features: int
    head_hidden_size = 0  # not annotated: torch.jit cannot read the annotation
    feature_info = list[dict[str, Any]]()  # nor that of this
    FIRST_CONV = ""
    CLASSIFIER = ""
    NORM = ""
    POOL = "avg"
    PREFIX = 0
    NO_DECAY: tuple[str, ...] = ()
    STARTS: dict[str, str]
    DROP_PATHS: dict[str, float] = {}

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.feature_info = [dict(level) for level in self.feature_info]
        self._end = ""  # where it was cut off

    def finish(
        self,
        global_pool: str | None,
        drop_rate: float,
        drop_path_rate: float,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Ends the constructor: starts the weights, sets pooling and rates, moves it all."""
        self.head_hidden_size = self.head_hidden_size or self.num_features
        self.global_pool = self.POOL
        if global_pool is not None or (self.CLASSIFIER and self.num_classes == 0):
            self.reset_classifier(self.num_classes, global_pool)
        self.init_weights()
        self.set_dropout(drop_rate)
        self.set_drop_path(drop_path_rate)
        self.to(device=device, dtype=dtype)

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
        while ".".join(words) not in self.STARTS:
            words.pop()
        return self.STARTS[".".join(words)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Everything before the head."""
        if not torch.jit.is_scripting() and self._end:
            return tapped(self, self.forward_trunk, x, [self._end], True)[0]
        return self.forward_trunk(x)

    def forward_trunk(self, x: Tensor) -> Tensor:
        """The steps before the head."""
        raise RuntimeError("generated networks define forward_trunk")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooling, final norm and, unless `pre_logits`, the classifier."""
        raise RuntimeError("generated networks define forward_head")

    def set_drop_path(self, rate: float, rule: str = "linear") -> None:
        """Sets stochastic depth in every block, by a rule of `RATES` that ends at `rate`.

        Where the family counts otherwise, `DROP_PATHS` holds each block's share for `linear`.
        """
        found = [
            (place, f"{name}.{path}", block)
            for place, (name, child) in enumerate(self.named_children())
            for path, block in child.named_modules()
            if isinstance(block, Block) and _paths(block)
        ]
        shares = RATES[rule]([place for place, _, _ in found])
        own = self.DROP_PATHS if rule == "linear" else {}
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
        return self.get_submodule(self.CLASSIFIER)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last linear layer by a fresh one, which learns; 0 classes leave none.

        Args:
            num_classes: How many classes.
            global_pool: The network's own way of pooling; "" leaves features as they are, which
                takes 0 classes; None keeps it, or brings it back for a classifier.
        """
        if not self.CLASSIFIER:
            raise ValueError("this network ends without a classifier")
        kept = self.global_pool or (self.POOL if num_classes else "")
        pool = kept if global_pool is None else global_pool
        if pool not in ("", self.POOL):
            raise ValueError(f"this network pools by {self.POOL!r} or '', not {pool!r}")
        if num_classes and not pool:
            raise ValueError(f"a classifier needs pooling: pass global_pool={self.POOL!r}")
        old = next(self.parameters())
        self.num_classes, self.global_pool = num_classes, pool
        layer: nn.Module = nn.Identity()
        if num_classes:
            width = self.head_hidden_size
            layer = nn.Linear(width, num_classes, device=old.device, dtype=old.dtype)
            RULES[self.rule_of(self.CLASSIFIER)](layer)
        parent, _, name = self.CLASSIFIER.rpartition(".")
        setattr(self.get_submodule(parent), name, layer.train(self.training))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        return_prefix_tokens: bool = False,
    ) -> Any:
        """Returns the features, and those of levels of `feature_info`.

        Args:
            x: Images (B, C, H, W).
            indices: Which levels; the last n for a number, all for None.
            norm: Whether the final norm is applied to the levels that it fits.
            stop_early: Whether to stop at the last of them; that is then the features, too.
            output_fmt: NCHW for maps (B, C, H, W), NLC for tokens (B, L, C).
            intermediates_only: Whether to return the levels alone.
            return_prefix_tokens: Whether each level of tokens is a pair: with the tokens that
                stand before the patches.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt is NCHW or NLC, not {output_fmt!r}")
        take, last = feature_take_indices(len(self.feature_info), indices)
        levels = [self.feature_info[index] for index in take]
        stop = stop_early and last < len(self.feature_info) - 1
        places = [level["module"] for level in levels]
        features, found = tapped(self, self.forward_features, x, places, stop)
        kept = []
        for level in levels:
            y = self._normed(found[level["module"]]) if norm else found[level["module"]]
            shown = as_map(y, level, *x.shape[2:]) if output_fmt == "NCHW" else as_tokens(y, level)
            pair = return_prefix_tokens and y.ndim == 3 and "prefix" in level
            kept.append((shown, y[:, : level["prefix"]]) if pair else shown)
        return kept if intermediates_only else (features, kept)

    def _normed(self, y: Tensor) -> Tensor:
        """Applies the norm that ends the features to those of an earlier level, if it fits."""
        layer = self.get_submodule(self.NORM) if self.NORM else None
        if layer is None or isinstance(layer, nn.Identity):
            return y
        axis, rank = (1, 4) if isinstance(layer, LayerNorm2d) else (-1, 3)
        fits = y.ndim == rank and (y.shape[axis],) == layer.normalized_shape
        return layer(y) if fits else y

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes what some levels do not need; returns their indices.

        Args:
            indices: Which levels stay; the last n for a number.
            prune_norm: Whether the norm that ends the features goes.
            prune_head: Whether the head goes, down to pooling; `reset_classifier` brings one back.
        """
        take, last = feature_take_indices(len(self.feature_info), indices)
        cut = last < len(self.feature_info) - 1 or prune_norm or (prune_head and not self.NORM)
        if cut:
            self._end = last_of(self, [self.feature_info[index]["module"] for index in take])
            remove_behind(self, self._end, self.CLASSIFIER.partition(".")[0])
            ends = {level["module"]: level["num_chs"] for level in self.feature_info}
            self.num_features = self.head_hidden_size = ends[self._end]
            self.feature_info = self.feature_info[: last + 1]
        if self.CLASSIFIER and (cut or prune_head):
            self._replace_head(keep_norm=not cut)
        return list(take)

    def _replace_head(self, keep_norm: bool) -> None:
        """Puts pooling alone in the place of the head, behind the norm if that stays."""
        name, _, last = self.CLASSIFIER.partition(".")
        head = Pooled(last, self.drop_rate, self.POOL == "token", self.PREFIX)
        if self.NORM:
            norm = self.get_submodule(self.NORM)
            head.add_module(self.NORM.rpartition(".")[2], norm if keep_norm else nn.Identity())
        setattr(self, name, head.train(self.training))
        self.head_hidden_size = self.num_features
        self.reset_classifier(0, "")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trades time for memory: stages keep only the inputs of their blocks."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that carry no weight decay."""
        ends = tuple(name for name in self.NO_DECAY if name.startswith("."))
        learned = (name for name, _ in self.named_parameters())
        return {name for name in learned if name in self.NO_DECAY or name.endswith(ends)}

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
