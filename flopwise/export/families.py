"""The families that stock timm builds from JSON, and which of them a network belongs to.

A family is a table of prefixes and one function from settings to timm's arguments. Inside a block
every name is timm's already, so the prefixes are the only map there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flopwise.dsl import Network
from flopwise.export import (
    carrier,
    convnext,
    densenet,
    ghostnet,
    hybrid,
    maxxvit,
    mobilenet,
    nfnet,
    regnet,
    relpos,
    resnet,
    resnetv2,
    swin,
    vit,
)
from flopwise.export.config import Filled
from flopwise.export.reading import NotNativeError, Reading

__all__ = ["CARRIER", "FAMILIES", "REGNET", "RELPOS", "Family", "family_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One model class of timm.

    Attributes:
        name: Its name in prose.
        body: The blocks its stages may repeat.
        prefixes: Block -> (what stands behind the stage's name in our keys -> timm's prefix). `#`
            is a repetition; `{stage}` counts the stages of the body from 0, `{number}` from 1,
            `{repetition}` the blocks of a stage from 0, `{place}` from 1, and `{run}` the blocks of
            the body.
        read: Reads a network into timm's entrypoint and its arguments; None where timm's class
            takes no such arguments from JSON, so that its weights come in but do not go out.
        first_conv: Our block name aside, the key of the convolution that sees the image.
        classifier: The key of the last linear layer.
        fixed_size: Whether timm's model takes images of one size only.
        counted: Blocks that do not make the family but whose stages count in `{stage}` as well.
        marks: Blocks that must be there besides, which tell it from a family of the same body.
        fill: What the tensors hold that timm's class has and a network has not; None where both
            have the same.
        conv_head: Whether timm's last layer is a convolution of 1x1 instead of a linear one.
    """

    name: str
    body: frozenset[str]
    prefixes: Mapping[str, Mapping[str, str]]
    read: Callable[[Reading], tuple[str, dict[str, Any]]] | None
    first_conv: str
    classifier: str
    fixed_size: bool = False
    counted: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    fill: Callable[[Reading], dict[str, Filled]] | None = None
    conv_head: bool = False


CARRIER = Family(
    name="timm's MobileNetV5",
    body=frozenset({"separable", "inverted", "conv"}),
    prefixes=carrier.PREFIXES,
    read=carrier.read,
    first_conv="conv_stem.conv",
    classifier="classifier",
    fill=carrier.fill,
)
"""The class that carries what `FAMILIES` take no settings of from JSON."""
REGNET = Family(
    name="timm's RegNet",
    body=frozenset({"residual"}),
    prefixes=regnet.PREFIXES,
    read=regnet.read,
    first_conv="stem.conv",
    classifier="head.fc",
)
"""Its blocks are ResNet's, but its first stage halves the map instead of the stem."""
RELPOS = Family(
    name="timm's ViT with relative positions",
    body=frozenset({"vit"}),
    prefixes=relpos.PREFIXES,
    read=relpos.read,
    first_conv="patch_embed.proj",
    classifier="head",
    fixed_size=True,
)
"""Its blocks are ViT's, with `relative: bias`."""
FAMILIES = {
    "resnet": Family(
        name="timm's ResNet",
        body=frozenset({"basic", "residual"}),
        prefixes=resnet.PREFIXES,
        read=resnet.read,
        first_conv="conv1",
        classifier="fc",
    ),
    "resnetv2": Family(
        name="timm's ResNetV2",
        body=frozenset({"preact", "preact_basic"}),
        prefixes=resnetv2.PREFIXES,
        read=resnetv2.read,
        first_conv="stem.conv",
        classifier="head.fc",
        conv_head=True,
    ),
    "convnext": Family(
        name="timm's ConvNeXt",
        body=frozenset({"convnext"}),
        prefixes=convnext.PREFIXES,
        read=convnext.read,
        first_conv="stem.0",
        classifier="head.fc",
    ),
    "nfnet": Family(
        name="timm's NFNet",
        body=frozenset({"nfnet"}),
        prefixes=nfnet.PREFIXES,
        read=nfnet.read,
        first_conv="stem.conv1",
        classifier="head.fc",
    ),
    "densenet": Family(
        name="timm's DenseNet",
        body=frozenset({"dense"}),
        prefixes=densenet.PREFIXES,
        read=densenet.read,
        first_conv="features.conv0",
        classifier="classifier",
    ),
    "mobilenet": Family(
        name="timm's MobileNet",
        body=frozenset({"separable", "inverted"}),
        prefixes=mobilenet.PREFIXES,
        read=None,
        first_conv="conv_stem",
        classifier="classifier",
    ),
    "ghostnet": Family(
        name="timm's GhostNet",
        body=frozenset({"ghost"}),
        prefixes=ghostnet.PREFIXES,
        read=None,
        first_conv="conv_stem",
        classifier="classifier",
        counted=frozenset({"conv"}),
    ),
    "hybrid": Family(
        name="timm's hybrid ViT",
        body=frozenset({"vit"}),
        prefixes=hybrid.PREFIXES,
        read=hybrid.read,
        first_conv=hybrid.FIRST_CONV,
        classifier="head",
        fixed_size=True,
        marks=frozenset({"bit"}),
    ),
    "maxxvit": Family(
        name="timm's MaxxViT",
        body=frozenset({"mbconv", "map_vit"}),
        prefixes=maxxvit.PREFIXES,
        read=maxxvit.read,
        first_conv="stem.conv1",
        classifier="head.fc",
        fixed_size=True,
    ),
    "swin": Family(
        name="timm's Swin",
        body=frozenset({"swin"}),
        prefixes=swin.PREFIXES,
        read=swin.read,
        first_conv="patch_embed.proj",
        classifier="head.fc",
        fixed_size=True,
    ),
    "vit": Family(
        name="timm's ViT",
        body=frozenset({"vit"}),
        prefixes=vit.PREFIXES,
        read=vit.read,
        first_conv="patch_embed.proj",
        classifier="head",
        fixed_size=True,
    ),
}


def _halves_in_its_stages(network: Network) -> bool:
    """Whether the stem has no pooling and the first bottlenecks a stride, as in RegNet."""
    first = {stage.block.name: stage for stage in reversed(network.stages)}
    if not {"conv_stem", "residual"} <= first.keys():
        return False
    stem, body = first["conv_stem"].settings[0], first["residual"].settings[0]
    return bool(stem["pool"] == "none" and body["stride"] == 2)


def _knows_offsets(network: Network) -> bool:
    """Whether a block of ViT adds a bias for the way from one patch to another."""
    body = (stage for stage in network.stages if stage.block.name == "vit")
    return any(settings["relative"] == "bias" for stage in body for settings in stage.settings)


def family_of(network: Network) -> Family:
    """Returns the family whose blocks the network repeats.

    Raises:
        NotNativeError: if there is none, or more than one.
    """
    names = {stage.block.name for stage in network.stages}
    fitting = [f for f in FAMILIES.values() if f.body & names and f.marks <= names]
    fitting = [family for family in fitting if family.marks] or fitting
    if fitting == [FAMILIES["resnet"]] and _halves_in_its_stages(network):
        return REGNET
    if fitting == [FAMILIES["vit"]] and _knows_offsets(network):
        return RELPOS
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(family.name for family in FAMILIES.values())
    reason = (
        f"it repeats blocks of {' and '.join(family.name for family in fitting)}; timm has no "
        f"family of both"
        if fitting
        else f"it repeats none of the blocks of {known}"
    )
    raise NotNativeError([reason])
