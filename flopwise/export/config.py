"""config.json: what timm needs to build the network and to treat images as training did.

Source: timm/models/_hub.py, `_parse_model_cfg`; timm/models/_pretrained.py, `PretrainedCfg`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Literal

from flopwise.dsl import Network

__all__ = ["Facts", "Filled", "Shipped", "TierName", "make_config", "origin_of", "without_none"]

TIMM = frozenset(
    {
        *("architecture", "num_classes", "num_features", "global_pool", "model_args"),
        *("pretrained_cfg", "label_names"),
    }
)
"""What timm reads at the root of config.json; all else there is where the network comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the folder says about the images the network was trained on.

    Attributes:
        class_names: Names of the classes, in the order of the logits.
        mean: Mean of each channel that inputs are normalised with.
        std: Standard deviation of each channel.
        interpolation: How images are resized.
        crop_pct: Share of the resized image that the centre crop keeps.
        crop_mode: timm's word for the crop: center, squash or border.
        test_size: Height and width at which it was judged, if not those it was trained with.
    """

    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"
    test_size: tuple[int, ...] = ()

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Facts:
        """Returns the facts among what is known; lists become tuples."""
        found = ((each.name, known[each.name]) for each in fields(cls) if each.name in known)
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in found}
        return cls(**values)


TierName = Literal["native", "carrier", "standalone"]


@dataclass(frozen=True, slots=True)
class Filled:
    """A tensor that timm's class has and the network has not; it changes nothing.

    Attributes:
        shape: Its shape.
        value: What it holds: one number everywhere, or the identity.
        learned: Whether timm trains it.
    """

    shape: tuple[int, ...]
    value: float | int | Literal["identity"]
    learned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A network as timm will know it.

    Attributes:
        tier: What it needs beside timm: nothing if `native`, nothing but tensors that do nothing if
            `carrier`, a file of Python if `standalone`.
        architecture: The name that timm builds it by.
        model_args: The arguments that make it this network.
        keys: Our checkpoint key -> timm's.
        classes: Number of classes.
        features: Channels before the classifier.
        pool: timm's word for how features become one vector.
        first_conv: Key of the convolution that sees the image; None if timm may not adapt it.
        classifier: Key of the last linear layer; None without one.
        fixed_size: Whether it takes images of one size only.
        filled: timm's key -> what it holds, where the network has no such tensor.
        conv_head: Whether timm's last layer is a convolution of 1x1 instead of a linear one.
    """

    tier: TierName
    architecture: str
    model_args: Mapping[str, Any]
    keys: Mapping[str, str]
    classes: int
    features: int
    pool: str
    first_conv: str | None
    classifier: str | None
    fixed_size: bool
    filled: Mapping[str, Filled] = field(default_factory=dict)
    conv_head: bool = False

    def shape_of(self, key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape that a tensor of ours has under timm's key."""
        there = self.conv_head and key == f"{self.classifier}.weight"
        return (*shape, 1, 1) if there else shape

    @property
    def dead_params(self) -> int:
        """Learned numbers of timm's class that the network has not."""
        return sum(prod(each.shape) for each in self.filled.values() if each.learned)

    @property
    def dead_macs(self) -> int:
        """Multiply-accumulates for one image that these cost: a convolution on one position."""
        return sum(prod(e.shape) for e in self.filled.values() if e.value == "identity")


def make_config(
    network: Network,
    shipped: Shipped,
    facts: Facts,
    provenance: Mapping[str, Any],
    *,
    tag: str = "flopwise",
    license: str = "other",
) -> dict[str, Any]:
    """Returns config.json as a dict.

    The number of classes stands in all three places, for timm fills a missing one with 1000 and
    drops the classifier in silence. There is no null, for timm drops or honours it by chance.
    """
    config = {
        "architecture": shipped.architecture,
        "num_classes": shipped.classes,
        "num_features": shipped.features,
        "global_pool": shipped.pool,
        "model_args": dict(shipped.model_args),
        "pretrained_cfg": without_none(_pretrained_cfg(network, shipped, facts, tag, license)),
        **({"label_names": list(facts.class_names)} if facts.class_names else {}),
    }
    told = without_none(provenance)
    return config | {key: value for key, value in told.items() if key not in config}


def origin_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what config.json says about where the network comes from."""
    return {key: value for key, value in config.items() if key not in TIMM}


def _pretrained_cfg(
    network: Network, shipped: Shipped, facts: Facts, tag: str, license: str
) -> dict[str, Any]:
    shape = network.graph.inputs[0].shape
    last = network.graph.layers[-1]
    before = network.graph.types[last.inputs[0]]
    channels = shape[0]
    return {
        "tag": tag,
        "custom_load": False,
        "input_size": list(shape),
        "test_input_size": [channels, *facts.test_size]
        if facts.test_size not in ((), shape[1:])
        else None,
        "fixed_input_size": shipped.fixed_size,
        "interpolation": facts.interpolation,
        "crop_pct": facts.crop_pct,
        "crop_mode": facts.crop_mode,
        "mean": list(facts.mean) or [0.5] * channels,
        "std": list(facts.std) or [0.5] * channels,
        "num_classes": shipped.classes,
        "pool_size": list(before.shape[1:])
        if shipped.classifier and before.kind == "map"
        else None,
        # timm 1.0.17 takes any count but 3 for an override and would redraw the stem in silence
        "first_conv": shipped.first_conv if channels in (1, 3) else None,
        "classifier": shipped.classifier,
        "license": license,
    }


def without_none(value: Any) -> Any:
    """Returns nested dicts and lists without their Nones."""
    if isinstance(value, Mapping):
        return {key: without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_none(each) for each in value if each is not None]
    return value
