"""A network as its family in timm knows it: names, arguments, and what it can be shipped as.

No torch here: `tier` can speak before a search starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flopwise.dsl import Network
from flopwise.export.config import Shipped, TierName
from flopwise.export.families import CARRIER, Family, family_of
from flopwise.export.reading import NotNativeError, Reading

__all__ = ["Native", "Tier", "recognise", "rename", "tier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Native(Shipped):
    """A network as stock timm knows it.

    Attributes:
        family: Its family.
    """

    family: Family


@dataclass(frozen=True, slots=True)
class Tier:
    """What a network can be shipped as.

    Attributes:
        name: `native` loads in stock timm from JSON and weights; so does `carrier`, but in a class
            with layers that do nothing; `standalone` needs one file of Python beside them.
        reasons: What costs the native tier.
        family: The family it belongs to, in prose.
        dead_params: Learned numbers of timm's class that the network has not.
    """

    name: TierName
    reasons: tuple[str, ...] = ()
    family: str = ""
    dead_params: int = 0


def tier(network: Network) -> Tier:
    """Says whether stock timm can build a network from JSON alone, and if not, why. No torch."""
    try:
        found = recognise(network)
        return Tier(found.tier, (), found.family.name, found.dead_params)
    except NotNativeError as error:
        return Tier("standalone", error.reasons)


def recognise(network: Network) -> Native:
    """Returns a network as its family in timm knows it.

    Raises:
        NotNativeError: with every reason why it belongs to none.
    """
    family, read = _reader_of(network)
    net = Reading(network, family.name)
    architecture, args = read(net)
    for stage in network.stages:
        net.covered(stage, *({"classes"} & stage.block.fields.keys()))
    net.finish()
    keys = rename(family, network)
    shapes = {keys[key]: shape for key, shape in net.keys.items()}
    classes, features = shapes[f"{family.classifier}.weight"]
    channels = network.graph.inputs[0].shape[0]
    return Native(
        family=family,
        tier="carrier" if family is CARRIER else "native",
        architecture=architecture,
        model_args={"in_chans": channels, "num_classes": classes, **args},
        keys=keys,
        classes=classes,
        features=features,
        pool=args.get("global_pool", "avg"),
        first_conv=_first_conv(family, shapes),
        classifier=family.classifier,
        fixed_size=family.fixed_size,
        filled=family.fill(net) if family.fill else {},
        conv_head=family.conv_head,
    )


def _first_conv(family: Family, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Returns the convolution that sees the image; a deep stem calls it otherwise."""
    if f"{family.first_conv}.weight" in shapes:
        return family.first_conv
    first = next(key for key, shape in shapes.items() if len(shape) == 4)
    return first.removesuffix(".weight")


def _reader_of(
    network: Network,
) -> tuple[Family, Callable[[Reading], tuple[str, dict[str, Any]]]]:
    """Returns the family that a network is read as, and who reads it."""
    names = {stage.block.name for stage in network.stages}
    plain = names <= CARRIER.prefixes.keys() and "conv_stem" in names
    family = CARRIER if plain else family_of(network)
    family = CARRIER if family.body <= CARRIER.body else family
    if family.read is None:
        raise NotNativeError([f"{family.name} takes no settings of its blocks from JSON"])
    return family, family.read


def rename(family: Family, network: Network) -> dict[str, str]:
    """Returns timm's key for each of our checkpoint keys; a key without one is left out."""
    stages = {stage.name: stage for stage in network.stages}
    blocks = family.body | family.counted
    body = [name for name, stage in stages.items() if stage.block.name in blocks]
    found = {}
    for key in iter(network.graph.keys()):
        name, _, rest = key.partition(".")
        alike = [n for n, other in stages.items() if other.block is stages[name].block]
        peers = body if name in body else alike
        place = peers.index(name)
        before = sum(stages[other].depth for other in peers[:place])
        for ours, theirs in family.prefixes[stages[name].block.name].items():
            if (cut := _cut(ours, rest)) is not None:
                repetition, tail = cut
                prefix = theirs.format(
                    stage=place,
                    number=place + 1,
                    repetition=repetition,
                    place=repetition + 1,
                    run=before + repetition,
                )
                found[key] = f"{prefix}.{tail}".strip(".")
                break
    return found


def _cut(prefix: str, rest: str) -> tuple[int, str] | None:
    """Returns the repetition and what stands behind a prefix; None if it is not there.

    >>> _cut("#", "3.norm.weight"), _cut("fc", "fc.bias"), _cut("fc", "fc_norm.bias")
    ((3, 'norm.weight'), (0, 'bias'), None)
    >>> _cut("#.conv", "1.conv.weight"), _cut("#.conv", "1.norm.weight")
    ((1, 'weight'), None)
    """
    repetition = 0
    for wanted in filter(None, prefix.split(".")):
        start, _, rest = rest.partition(".")
        if wanted == "#" and start.isdigit():
            repetition = int(start)
        elif start != wanted:
            return None
    return repetition, rest
