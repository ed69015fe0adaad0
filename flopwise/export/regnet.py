"""timm's RegNet: a 3x3 stem and four stages of bottlenecks whose widths follow one rule.

timm takes no list of widths. It takes the four numbers of the rule: block j is as wide as
w0 + wa j, rounded to a power of wm times w0, then to a multiple of 8. Equal widths are one stage.

Source: Radosavovic et al. 2020, arXiv:2003.13678, section 3.3; timm/models/regnet.py,
`generate_regnet`, `adjust_widths_groups_comp`, `Bottleneck`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations
from math import log
from typing import Any

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
        "#.downsample.0": "s{number}.b{place}.downsample.conv",
        "#.downsample.1": "s{number}.b{place}.downsample.bn",
    },
    "classifier": {"fc": "head.fc"},
}
POWERS = 12
"""Most powers of wm that the last stage is tried at."""
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
    net.fixed(head, "pool", "avg")
    net.fixed(head, "norm", "none")
    sizes = [_group_width(net, stage) for stage in body]
    net.need(len(set(sizes)) == 1, f"groups of {sizes} channels ({net.family} has one size)")
    return "regnetx_002", {
        "stem_width": net.output(stem).shape[0],
        "group_size": sizes[0],
        "bottle_ratio": 1.0,
        "act_layer": net.act([stem, *body]),
        **_read_widths(net, body, sizes[0]),
    }


def _group_width(net: Reading, stage: Stage) -> int:
    """Returns the channels of a group; the inner width is the output's."""
    net.covered(stage, "dim", "hidden")
    dim, groups = net.output(stage).shape[0], net.value(stage, "groups")
    for hidden in sorted(set(net.widths(stage, "conv1")) - {dim}):
        net.need(False, f"{stage.name}.hidden {hidden} ({net.family} is read with dim: {dim})")
    return int(dim // groups)


def _read_widths(net: Reading, body: list[Stage], group: int) -> dict[str, Any]:
    widths = [net.output(stage).shape[0] for stage in body]
    found = rule_of(widths, [stage.depth for stage in body])
    even = all(width % 8 == 0 and width % group == 0 for width in widths)
    net.need(even, f"widths {widths} ({net.family} has multiples of 8 and of the group size)")
    told = ", ".join(f"{stage.depth} x {width}" for stage, width in zip(body, widths, strict=True))
    net.need(found is not None, f"no line through {told} is rounded to them by RegNet's rule")
    w0, wa, wm = found or (8, 1.0, 2.0)
    return {"depth": sum(stage.depth for stage in body), "w0": w0, "wa": wa, "wm": wm}


def rule_of(widths: Sequence[int], depths: Sequence[int]) -> tuple[int, float, float] | None:
    """Returns w0, wa and wm of the rule that makes these widths and depths; None if none does.

    >>> w0, wa, wm = rule_of([24, 56, 152, 368], [1, 1, 4, 7])  # RegNetX-200MF: 24, 36.44, 2.49
    >>> w0, round(wm, 1)
    (24, 2.5)
    """
    first = widths[0]
    if list(widths) != sorted(set(widths)):
        return None
    for powers in combinations(range(1, POWERS + 1), len(widths) - 1):
        for wm in _multipliers(widths, powers):
            low, high = _slopes(first, wm, (0, *powers), depths)
            if high - low > 1e-3 * high:  # away from where rounding decides
                return first, round((low + high) / 2, 4), wm
    return None


def _multipliers(widths: Sequence[int], powers: Sequence[int]) -> Iterator[float]:
    """Yields values of wm whose powers, times the first width, round to the others."""
    pairs = list(zip(widths[1:], powers, strict=True))
    low = max(((width - 3.9) / widths[0]) ** (1 / power) for width, power in pairs)
    high = min(((width + 3.9) / widths[0]) ** (1 / power) for width, power in pairs)
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
