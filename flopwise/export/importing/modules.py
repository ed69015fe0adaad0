"""A timm model read module by module, so that nothing of it goes unseen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from timm.layers import get_act_layer
from torch import nn

from flopwise.errors import RunError
from flopwise.export.reading import ACTS

__all__ = ["ANY", "COMMON", "Known", "NotExpressibleError", "Published", "facts", "free"]

ANY = None
"""A rule for what a reader asks for, what follows from shapes, or what no output depends on."""
Known = Mapping[str, Mapping[str, tuple[object, ...] | None]]
"""Class of a module -> its attributes and children -> what the vocabulary has there.

A child is told by the name of its class. The attributes of a class that is not a key are unknown.
"""
CHAINS = ("Sequential", "ModuleList")
NONE = (None, "Identity")
ACT = tuple(sorted({"Identity", *(get_act_layer(name).__name__ for name in ACTS.values())}))
OWN = vars(nn.Module()).keys()


def free(words: str) -> dict[str, None]:
    """Returns a table of attributes that may have any value."""
    return dict.fromkeys(words.split())


COMMON: Known = {
    "Sequential": {},
    "ModuleList": {},
    "Identity": {},
    **{name: dict.fromkeys(("inplace", "approximate")) for name in ACT},
    "ReLU6": {"inplace": ANY, "min_val": (0.0,), "max_val": (6.0,)},
    "Conv2d": {
        **free("in_channels out_channels kernel_size stride groups"),
        "padding": ANY,
        "dilation": ((1, 1),),
        "transposed": (False,),
        "output_padding": ((0, 0),),
        "padding_mode": ("zeros",),
    },
    "Conv1d": {
        **free("in_channels out_channels kernel_size padding"),
        "stride": ((1,),),
        "groups": (1,),
        "dilation": ((1,),),
        "transposed": (False,),
        "output_padding": ((0,),),
        "padding_mode": ("zeros",),
    },
    "Linear": {"in_features": ANY, "out_features": ANY},
    "BatchNorm2d": {
        "num_features": ANY,
        "eps": ANY,
        "momentum": ANY,
        "affine": (True,),
        "track_running_stats": (True,),
    },
    "BatchNormAct2d": {
        "num_features": ANY,
        "eps": ANY,
        "momentum": ANY,
        "affine": (True,),
        "track_running_stats": (True,),
        "drop": NONE,
        "act": ACT,
    },
    "LayerNorm": {"normalized_shape": ANY, "eps": ANY, "elementwise_affine": (True,)},
    "LayerNorm2d": {"normalized_shape": ANY, "eps": ANY, "elementwise_affine": (True,)},
    "RmsNorm": {"normalized_shape": ANY, "eps": ANY, "elementwise_affine": (True,)},
    "GroupNorm": {"num_groups": ANY, "num_channels": ANY, "eps": ANY, "affine": (True,)},
    "Dropout": {"p": ANY, "inplace": ANY},
    "DropPath": {"drop_prob": ANY, "scale_by_keep": ANY},
    "LayerScale": {"init_values": ANY, "inplace": ANY},
    "MaxPool2d": {
        "kernel_size": (3,),
        "stride": (2,),
        "padding": (1,),
        "dilation": (1,),
        "return_indices": (False,),
        "ceil_mode": (False,),
    },
    "AvgPool2d": {
        "kernel_size": (2,),
        "stride": (2,),
        "padding": (0,),
        "ceil_mode": ANY,
        "count_include_pad": ANY,
        "divisor_override": (None,),
    },
    "AdaptiveAvgPool2d": {"output_size": (1,)},
    "FastAdaptiveAvgPool": {"flatten": (True,), "dim": ANY},
    "SelectAdaptivePool2d": {"pool_type": ("avg",), "pool": ANY, "flatten": ANY},
    "Flatten": {"start_dim": (1,), "end_dim": (-1,)},
    "Softmax": {"dim": (-1,)},
    "ClassifierHead": {
        **free("in_features num_features input_fmt global_pool fc"),
        "use_conv": (False,),
        "drop": ANY,
        "flatten": ANY,
    },
    "SEModule": {
        "add_maxpool": (False,),
        "fc1": ANY,
        "fc2": ANY,
        "bn": NONE,
        "act": ("ReLU",),
        "gate": ("Sigmoid",),
    },
    "EcaModule": {"act": (None,), "conv2": (None,), "gate": ("Sigmoid",), "conv": ANY},
    "Mlp": {
        "fc1": ("Linear", "Conv2d"),
        "fc2": ("Linear", "Conv2d"),
        "act": ACT,
        "norm": NONE,
        "drop1": ANY,
        "drop2": ANY,
    },
}
MODEL = free(
    "num_classes in_chans drop_rate feature_info num_features head_hidden_size pretrained_cfg "
    "pretrained_model_args default_cfg grad_checkpointing output_fmt embed_dim"
)
"""Attributes of a whole model that no output depends on but for shapes."""


class NotExpressibleError(RunError):
    """A timm model that the vocabulary cannot say.

    Attributes:
        reasons: Every setting that stands in the way, each with what the vocabulary has.
    """

    def __init__(self, name: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(dict.fromkeys(reasons))
        lines = "".join(f"\n  - {reason}" for reason in self.reasons)
        super().__init__(f"{name} cannot be written as a spec:{lines}")


@dataclass
class Published:
    """One timm model in the eyes of a reader.

    Attributes:
        name: What messages call it.
        model: The model.
        size: Height and width of its images.
        reasons: What stands in the way so far.
    """

    name: str
    model: Any
    size: tuple[int, int]
    reasons: list[str] = field(default_factory=list)

    def walk(self, known: Known) -> None:
        """Notes every module and every attribute of one that the tables do not know.

        Args:
            known: The classes of one family, beside those in `COMMON`.
        """
        tables = {**COMMON, **known}
        strangers = set()
        for path, module in self.model.named_modules():
            kind, place = type(module).__name__, re.sub(r"\b\d+\b", "#", path) or "the model"
            if kind in tables:
                self._look(place, module, tables)
            elif kind not in strangers:
                strangers.add(kind)
                self.reasons.append(f"{place} is {kind}, which flopwise has not")
        self.reasons = list(dict.fromkeys(self.reasons))

    def _look(self, place: str, module: nn.Module, tables: Known) -> None:
        """Notes what is unknown about one module of a known class."""
        kind = type(module).__name__
        for name, value in () if kind in CHAINS else facts(module).items():
            if module is self.model and name in MODEL:
                continue
            if name not in tables[kind]:
                self.reasons.append(f"{place}.{name} {_told(value)}: unknown to this reader")
                continue
            allowed = tables[kind][name]
            stranger = isinstance(module._modules.get(name), nn.Module) and value not in tables
            if allowed is not None and value not in allowed and not stranger:
                has = " or ".join(dict.fromkeys(_told(each) for each in allowed if each))
                self.reasons.append(f"{place}.{name} {_told(value)} (flopwise has {has or None})")

    def need(self, truth: bool, reason: str) -> None:
        """Notes a reason against the model unless something holds."""
        if not truth:
            self.reasons.append(reason)

    def one(self, values: Iterable[Any], what: str) -> Any:
        """Returns the one value that all share, and notes a reason if there are several."""
        found = list(dict.fromkeys(values))
        told = ", ".join(map(_told, found))
        self.need(len(found) == 1, f"{what} differs between blocks ({told}); a stage has one")
        return found[0] if found else None

    def finish(self) -> None:
        """Raises all reasons.

        Raises:
            NotExpressibleError: There is one.
        """
        if self.reasons:
            raise NotExpressibleError(self.name, self.reasons)

    def act(self, module: nn.Module, what: str = "act") -> str:
        """Returns our word for an activation."""
        words = _acts()
        kind = type(module).__name__
        if kind == "GELU" and getattr(module, "approximate", "none") == "tanh":
            return "gelu_tanh"
        self.need(kind in words, f"{what} {kind} (flopwise has {', '.join(ACTS)})")
        return words.get(kind, "none")

    def modules(self, kind: str) -> list[Any]:
        """Returns all modules of a class, in the order of the model."""
        return [m for m in self.model.modules() if type(m).__name__ == kind]


@cache
def _acts() -> dict[str, str]:
    """Class of an activation -> our word, from the exporter's table of timm's words."""
    return {get_act_layer(theirs).__name__: ours for ours, theirs in ACTS.items()}


def facts(module: nn.Module) -> dict[str, Any]:
    """Returns the public attributes of a module and the classes of its children."""
    plain = {k: v for k, v in vars(module).items() if k not in OWN and not k.startswith("_")}
    children = {k: m and type(m).__name__ for k, m in module._modules.items()}
    return {**plain, **children}


def _told(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
