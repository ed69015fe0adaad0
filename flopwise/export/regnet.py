"""timm's RegNet: a 3x3 stem and four stages of bottlenecks whose widths follow one rule.

timm takes no list of widths. It takes the four numbers of the rule: block j is as wide as
w0 + wa j, rounded to a power of wm times w0, then to a multiple of 8. Equal widths are one stage,
and its width becomes a multiple of the group size.

Source: Radosavovic et al. 2020, arXiv:2003.13678, section 3.3; timm/models/regnet.py,
`generate_regnet`, `adjust_widths_groups_comp`, `Bottleneck`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations
from math import log
from typing import Any

from flopwise.blocks.parts import divisible
from flopwise.dsl import Stage
from flopwise.export.reading import Reading

__all__ = ["PREFIXES", "read", "rule_of"]

PARTS = {
    f"{kind}{number}": f"conv{number}.{name}"
    for number in (1, 2, 3)
    for kind, name in (("conv", "conv"), ("bn", "bn"))
}
PREFIXES = {
    "conv_stem": {"conv1": "stem.conv", "bn1": "stem.bn"},
    "residual": {
        **{f"#.{ours}": f"s{{number}}.b{{place}}.{theirs}" for ours, theirs in PARTS.items()},
        "#.se": "s{number}.b{place}.se",
        "#.downsample.0": "s{number}.b{place}.downsample.conv",
        "#.downsample.1": "s{number}.b{place}.downsample.bn",
    },
    "classifier": {"fc": "head.fc"},
}
POWERS = 12
"""Most powers of wm that the last stage is tried at."""
LEAST = 0.9
"""The share that torchvision's rounding to groups may not fall below."""
TRIED = 15
"""Values of wm that are tried in its interval."""


def read(net: Reading) -> tuple[str, dict[str, Any]]:
    """Returns timm's entrypoint and its arguments."""
    words = "conv_stem, four stages of residual, classifier"
    stem, *body, head = net.layout(r"conv_stem( residual)+ classifier", words)
    net.need(len(body) == 4, f"{len(body)} stages ({net.family} has four)")
    net.covered(stem, "dim")
    for setting, wanted in {"kernel": 3, "stride": 2, "pool": "none"}.items():
        net.fixed(stem, setting, wanted)
    for stage in body:
        net.fixed(stage, "stride", 2)
        net.fixed(stage, "kernel", 3)
    for stage in (stem, *body):
        net.fixed(stage, "norm", "bn")
    act = net.act([stem, *body])
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    size = _group_width(net, body)
    return "regnetx_002", {
        "stem_width": net.output(stem).shape[0],
        "group_size": size,
        "bottle_ratio": 1.0,
        "act_layer": act,
        **_read_gates(net, body, act),
        **_read_widths(net, body, size),
    }


def _read_gates(net: Reading, body: list[Stage], act: str) -> dict[str, Any]:
    """One share of each block's input, before the last convolution, in all blocks or in none."""
    ratio = net.shared(body, "se")
    for stage in body:
        net.covered(stage, "se_divisor", "se_hidden", "gate")
        if not ratio:
            continue
        net.fixed(stage, "gate", "middle")
        for place in range(stage.depth):
            before = net.keys[f"{stage.name}.{place}.conv1.weight"][1]
            found = net.keys[f"{stage.name}.{place}.se.fc1.weight"][0]
            net.need(
                found == round(before * ratio),
                f"{stage.name}.se {ratio} of {before} channels makes {found} of the gate "
                f"({net.family}: {round(before * ratio)})",
            )
    same = not ratio or act == "relu"
    net.need(same, f"act {act} beside se ({net.family} has it in the gates too, flopwise relu)")
    return {"se_ratio": ratio} if ratio else {}


def _group_width(net: Reading, body: Sequence[Stage]) -> int:
    """Returns the channels of a group; a stage that is narrower has one group."""
    dims, sizes = [net.output(stage).shape[0] for stage in body], []
    for stage, dim in zip(body, dims, strict=True):
        net.covered(stage, "dim", "hidden")
        for hidden in sorted(set(net.widths(stage, "conv1")) - {dim}):
            told = f"{stage.name}.hidden {hidden} ({net.family} is read with dim: {dim})"
            net.need(False, told)
        sizes.append(int(dim // net.value(stage, "groups")))
    size = max(sizes)
    same = all(own == min(size, dim) for own, dim in zip(sizes, dims, strict=True))
    net.need(same, f"groups of {sizes} channels ({net.family} has one size)")
    return size


def _read_widths(net: Reading, body: list[Stage], group: int) -> dict[str, Any]:
    widths, depths = [net.output(stage).shape[0] for stage in body], [s.depth for s in body]
    if found := rule_of(widths, depths, group):
        return dict(zip(("w0", "wa", "wm"), found, strict=True), depth=sum(depths))
    if found := rule_of(widths, depths, group, LEAST):
        rule = dict(zip(("w0", "wa", "wm"), found, strict=True), group_min_ratio=LEAST)
        return {"depth": sum(depths), **rule}
    told = ", ".join(f"{depth} x {width}" for depth, width in zip(depths, widths, strict=True))
    net.need(False, f"no line through {told} is rounded to them by RegNet's rule")
    return {}


def rule_of(
    widths: Sequence[int], depths: Sequence[int], group: int = 8, least: float = 0.0
) -> tuple[int, float, float] | None:
    """Returns w0, wa and wm of the rule that makes these widths and depths; None if none does.

    >>> w0, wa, wm = rule_of([24, 56, 152, 368], [1, 1, 4, 7])  # RegNetX-200MF: 24, 36.44, 2.49
    >>> w0, round(wm, 1)
    (24, 2.5)

    Args:
        widths: Of the stages.
        depths: Of the stages.
        group: Channels of a group, of which the widths become multiples in the end.
        least: Share of a width that this rounding may not fall below; with 0 it is to the nearest.
    """
    if list(widths) != sorted(set(widths)):
        return None
    ranges = [_before(width, group, least) for width in widths]
    if not all(ranges):
        return None
    for first in ranges[0]:
        for powers in combinations(range(1, POWERS + 1), len(widths) - 1):
            for wm in _multipliers(first, ranges[1:], powers):
                low, high = _slopes(first, wm, (0, *powers), depths)
                if high - low > 1e-3 * high:  # away from where rounding decides
                    return first, round((low + high) / 2, 4), wm
    return None


def _before(width: int, group: int, least: float) -> range:
    """Returns the multiples of 8 that are rounded to a width for the sake of its groups."""
    tried = range(max(8, (width - group) // 8 * 8), width + group + 8, 8)
    found = [each for each in tried if _rounded(each, group, least) == width]
    return range(found[0], found[-1] + 1, 8) if found else range(0)


def _rounded(width: int, group: int, least: float) -> int:
    size = min(group, width)
    return divisible(width, size, least=least) if least else round(width / size) * size


def _multipliers(first: int, ranges: Sequence[range], powers: Sequence[int]) -> Iterator[float]:
    """Yields values of wm whose powers, times the first width, round into the others' ranges."""
    pairs = list(zip(ranges, powers, strict=True))
    low = max(((each[0] - 3.9) / first) ** (1 / power) for each, power in pairs)
    high = min(((each[-1] + 3.9) / first) ** (1 / power) for each, power in pairs)
    if low < high and high > 1:
        steps = (low + (high - low) * step / (TRIED + 1) for step in range(1, TRIED + 1))
        yield from (step for step in (round(wm, 6) for wm in steps) if step > 1 and log(step))


def _slopes(
    first: int, wm: float, powers: Sequence[int], depths: Sequence[int]
) -> tuple[float, float]:
    """Returns the interval of wa that puts every block into its stage; empty if low > high."""
    low, high = 0.0, float("inf")
    ends = list(accumulate(depths))
    for power, end, depth in zip(powers, ends, depths, strict=True):
        begin = end - depth
        if begin:
            low = max(low, first * (wm ** (power - 0.5) - 1) / begin)
        if end > 1:
            high = min(high, first * (wm ** (power + 0.5) - 1) / (end - 1))
    return low, high
