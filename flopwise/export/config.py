"""config.json: what timm needs to build the network and to treat images as training did.

Source: timm/models/_hub.py, `_parse_model_cfg`; timm/models/_pretrained.py, `PretrainedCfg`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from flopwise.dsl import Network

__all__ = ["Facts", "Shipped", "make_config", "without_none"]


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
    """

    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Facts:
        """Returns the facts among what is known; lists become tuples."""
        found = ((each.name, known[each.name]) for each in fields(cls) if each.name in known)
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in found}
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A network as timm will know it.

    Attributes:
        architecture: The name that timm builds it by.
        model_args: The arguments that make it this network.
        keys: Our checkpoint key -> timm's.
        classes: Number of classes.
        features: Channels before the classifier.
        pool: timm's word for how features become one vector.
        first_conv: Key of the convolution that sees the image; None if timm may not adapt it.
        classifier: Key of the last linear layer; None without one.
        fixed_size: Whether it takes images of one size only.
    """

    architecture: str
    model_args: Mapping[str, Any]
    keys: Mapping[str, str]
    classes: int
    features: int
    pool: str
    first_conv: str | None
    classifier: str | None
    fixed_size: bool


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
