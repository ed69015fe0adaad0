"""How shapes that do not go together can be made to: the help of E301, E302 and E308."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from flopwise.blocks import Type
from flopwise.dsl.network import Stage
from flopwise.dsl.wire import stage_of

__all__ = ["smallest_size", "ways_to_join"]

Reads: TypeAlias = Sequence[tuple[str, Type]]
Size: TypeAlias = tuple[int, int]

LARGEST = 64
"""How many times the input is enlarged in search of a size that works."""


def ways_to_join(
    block: str, reads: Reads, stages: Mapping[str, Stage], widths: Mapping[str, int]
) -> Iterator[str]:
    """Yields what can be done about inputs that `add`, `mul`, `concat` or `cat_tokens` refuse.

    Args:
        block: The block that joins them.
        reads: What it reads, with the types.
        stages: All stages by name.
        widths: Channels that each stage puts out.
    """
    kinds = {type.kind for _, type in reads}
    if len(kinds) > 1:
        for read, type in reads:
            if type.kind == "tokens" and type.extra and "map" in kinds:
                yield f"put {{block: to_map, drop: cls, from: {read}}} before it"
        return
    if kinds == {"map"}:
        yield from _sizes(reads)
    if block not in ("concat", "cat_tokens") or kinds == {"tokens"}:
        yield from _widths(block, reads, stages, widths)


def _sizes(reads: Reads) -> Iterator[str]:
    """Yields how maps come to the size of the smallest, or it to theirs."""
    small, least = min(reads, key=lambda read: read[1].shape[1] * read[1].shape[2])
    for read, type in reads:
        (_, high, wide), (_, rows, columns) = type.shape, least.shape
        if (high, wide) == (rows, columns):
            continue
        factor = high // rows
        if (high, wide) != (factor * rows, factor * columns):
            yield f"{high}x{wide} is no multiple of {rows}x{columns}: change a stride or input.size"
            continue
        how = f"to: {rows}" if high == wide else f"kernel: {factor}, stride: {factor}"
        yield (
            f"put {{block: avgpool, {how}, from: {read}}} before it, "
            f"or {{block: upsample, scale: {factor}, from: {small}}}"
        )


def _widths(
    block: str, reads: Reads, stages: Mapping[str, Stage], widths: Mapping[str, int]
) -> Iterator[str]:
    """Yields how the last input that can have another width gets that of another input."""
    each = {read: type.shape[0 if type.kind in ("map", "vec") else -1] for read, type in reads}
    if len(set(each.values())) < 2:
        return
    total = sum(each[read] for read, _ in reads)
    joined = f", or use block: concat (gives {total} channels)" if block == "add" else ""
    for read in reversed(each):
        wanted = next((width for width in each.values() if width != each[read]), 0)
        if _sets_width(read, stages, widths):
            yield f"set net.{stage_of(read)}.dim to {wanted}{joined}"
            return
    last = reads[-1][0]
    first = next(width for width in each.values() if width != each[last])
    way = "linear" if reads[0][1].kind == "tokens" else "conv, kernel: 1"
    yield f"put {{block: {way}, dim: {first}, from: {last}}} before it{joined}"


def _sets_width(read: str, stages: Mapping[str, Stage], widths: Mapping[str, int]) -> bool:
    """Whether a stage has a `dim` that it is free to change: one that is not its input's width."""
    stage = stages.get(stage_of(read))
    if stage is None or "dim" not in stage.block.fields or stage.settings[-1]["dim"] is None:
        return False
    return bool(widths.get(stage_of(stage.inputs[0])) != stage.settings[-1]["dim"])


def smallest_size(size: Size, fits: Callable[[Size], bool]) -> Size | None:
    """Returns the smallest input of the same proportions at which a network can be built.

    Args:
        size: Height and width that are too small.
        fits: Whether a size is large enough.
    """

    def scaled(height: int) -> Size:
        return height, round(height * size[1] / size[0])

    low = high = size[0]
    while not fits(scaled(high)):
        low, high = high, 2 * high
        if high > LARGEST * size[0]:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(scaled(middle)) else (middle, high)
    return scaled(high)
