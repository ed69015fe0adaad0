"""A network as a picture: an SVG of its stages for a slide, and Mermaid text for a page.

Stages stand in rows from the image down to the classes, one row a step of the longest path; what
runs beside another stage stands beside it. A box says what the stage repeats and puts out; its bar
is its share of the multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import networkx as nx

from flopwise.blocks import Graph
from flopwise.cost import Cost, StageCost
from flopwise.report.words import quantity

__all__ = ["draw_mermaid", "draw_svg"]

LETTER, BOLD = 6.9, 8.6  # width of a letter of 12 px, of a bold one of 13 px
WIDTH, HEIGHT, GAP, ROW = 250.0, 58.0, 36.0, 86.0
MARGIN, TITLE, BAR, LINE = 28.0, 62.0, 5.0, 18.0
COLOURS = ("#4e79a7", "#59a14f", "#f28e2b", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#edc948")
STYLE = """
  text { font-family: Helvetica, Arial, sans-serif; fill: #222; }
  .title { font-size: 17px; font-weight: bold; }
  .name { font-size: 13px; font-weight: bold; }
  .small { font-size: 12px; fill: #444; }
  .edge { fill: none; stroke: #666; stroke-width: 1.5; marker-end: url(#tip); }
"""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One box: a step of the network, and the steps it reads.

    Attributes:
        cost: What it is and costs.
        reads: Names of the steps it reads; `input` is the image.
    """

    cost: StageCost
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    row: int

    @property
    def middle(self) -> float:
        return self.x + WIDTH / 2


def draw_svg(title: str, graph: Graph, cost: Cost) -> str:
    """Returns the picture as SVG text.

    Args:
        title: What stands above it.
        graph: The network.
        cost: Its cost, counted from the same graph.
    """
    stages, image = _stages(graph, cost), graph.inputs[0].shape
    boxes = _places(stages)
    right = max(box.x for box in boxes.values()) + WIDTH
    arrows, lanes = _arrows(stages, boxes, right)
    legend = _legend(cost)
    width = max(right + lanes, MARGIN + max(map(len, legend)) * LETTER) + MARGIN
    foot = max(box.y for box in boxes.values()) + HEIGHT + MARGIN
    height = foot + LINE * len(legend) + 8
    colours = _colours(stages)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
        f'<text class="title" x="{MARGIN:g}" y="34">{escape(title)}</text>',
        *arrows,
        _image_box(boxes["input"], image),
        *(_stage_box(boxes[s.cost.name], s.cost, cost, colours[s.cost.block]) for s in stages),
        *(
            f'<text class="small" x="{MARGIN:g}" y="{foot + LINE * row:g}">{escape(text)}</text>'
            for row, text in enumerate(legend)
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def draw_mermaid(graph: Graph, cost: Cost) -> str:
    """Returns the picture as Mermaid text, which Markdown pages of code hosts draw."""
    stages, image = _stages(graph, cost), graph.inputs[0].shape
    numbers = {"input": "n0", **{s.cost.name: f"n{i}" for i, s in enumerate(stages, start=1)}}
    lines = ["flowchart TD", f'  n0(["image {_shape(image)}"])']
    for stage in stages:
        name, what, numbers_line = _texts(stage.cost, cost)
        text = "<br/>".join(escape(part) for part in (name, what, numbers_line))
        lines.append(f'  {numbers[stage.cost.name]}["{text}"]')
    for stage in stages:
        lines += [f"  {numbers[read]} --> {numbers[stage.cost.name]}" for read in stage.reads]
    return "\n".join(lines) + "\n"


def _stages(graph: Graph, cost: Cost) -> list[_Stage]:
    """The named steps of a graph with what they read; converters between them are no boxes."""
    makers = ["input"] * len(graph.inputs)
    found = []
    for layer, share in zip(graph.layers, cost.stages, strict=True):
        reads = tuple(dict.fromkeys(makers[index] for index in layer.inputs))
        if layer.name:
            found.append(_Stage(share, reads))
        makers += [layer.name or reads[0]] * len(layer.outputs)
    return found


def _places(stages: Sequence[_Stage]) -> dict[str, _Box]:
    """Puts each step one row below the last step it reads, and rows in the middle."""
    reads: dict[str, tuple[str, ...]] = {
        "input": (),
        **{stage.cost.name: stage.reads for stage in stages},
    }
    graph = nx.DiGraph((read, name) for name in reads for read in reads[name])
    order = list(reads)
    rows = [sorted(row, key=order.index) for row in nx.topological_generations(graph)]
    widest = max(map(len, rows))
    found: dict[str, _Box] = {}
    for number, row in enumerate(_by_parents(rows, reads)):
        left = MARGIN + (widest - len(row)) * (WIDTH + GAP) / 2
        for column, name in enumerate(row):
            found[name] = _Box(left + column * (WIDTH + GAP), TITLE + number * ROW, number)
    return found


def _by_parents(rows: list[list[str]], reads: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Orders each row by the mean place of what its steps read, so that few arrows cross."""
    places: dict[str, float] = {}
    ordered = []
    for row in rows:
        above = {name: [places[read] for read in reads[name]] for name in row}
        means = {name: sum(found) / max(1, len(found)) for name, found in above.items()}
        ordered.append(sorted(row, key=means.__getitem__))
        places |= {name: place - (len(row) - 1) / 2 for place, name in enumerate(ordered[-1])}
    return ordered


def _arrows(
    stages: Sequence[_Stage], boxes: Mapping[str, _Box], right: float
) -> tuple[list[str], float]:
    """Draws neighbours as short curves and longer ways as curves in lanes beside the boxes.

    Returns:
        The paths, and the room the lanes take on the right.
    """
    paths, lanes = [], 0.0
    taken: list[list[tuple[int, int]]] = []  # rows that each lane is used in
    ways = [(boxes[read], boxes[stage.cost.name]) for stage in stages for read in stage.reads]
    for start, end in sorted(ways, key=lambda way: way[1].row - way[0].row):
        if end.row - start.row == 1:
            paths.append(_short(start, end))
            continue
        lane = _free_lane(taken, start.row, end.row)
        reach = right + 24 + 18 * lane
        lanes = max(lanes, reach - right + 8)
        paths.append(_around(start, end, reach))
    return paths, lanes


def _free_lane(taken: list[list[tuple[int, int]]], top: int, bottom: int) -> int:
    """Returns the first lane that no other arrow uses between two rows."""
    for number, lane in enumerate([*taken, []]):
        if all(bottom <= first or last <= top for first, last in lane):
            if number == len(taken):
                taken.append(lane)
            lane.append((top, bottom))
            return number
    raise AssertionError("the last lane is empty")


def _short(start: _Box, end: _Box) -> str:
    top, bottom = start.y + HEIGHT, end.y - 1
    bend = (top + bottom) / 2
    return (
        f'<path class="edge" d="M{start.middle:g} {top:g} C{start.middle:g} {bend:g} '
        f'{end.middle:g} {bend:g} {end.middle:g} {bottom:g}"/>'
    )


def _around(start: _Box, end: _Box, reach: float) -> str:
    """A skip: out of the lower right of a box, down its lane, into the upper right of another."""
    out, into = start.y + HEIGHT, end.y - 1
    left, down = start.x + WIDTH - 24, end.x + WIDTH - 24
    turn = out + (ROW - HEIGHT) / 2
    back = into - (ROW - HEIGHT) / 2 - 3
    return (
        f'<path class="edge" d="M{left:g} {out:g} Q{left:g} {turn:g} {left + 14:g} {turn:g} '
        f"H{reach - 12:g} Q{reach:g} {turn:g} {reach:g} {turn + 12:g} V{back - 12:g} "
        f"Q{reach:g} {back:g} {reach - 12:g} {back:g} H{down + 14:g} "
        f'Q{down:g} {back:g} {down:g} {into - 5:g} V{into:g}"/>'
    )


def _image_box(box: _Box, image: Sequence[int]) -> str:
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{WIDTH:g}" height="{HEIGHT:g}" rx="29" '
        f'fill="#f4f4f4" stroke="#999"/>'
        f'<text class="name" x="{box.middle:g}" y="{box.y + HEIGHT / 2 + 5:g}" '
        f'text-anchor="middle">image {_shape(image)}</text>'
    )


def _stage_box(box: _Box, stage: StageCost, cost: Cost, colour: str) -> str:
    """One box: name, block and depth, output; the bar along its foot is its share of the MACs."""
    name, what, numbers = _texts(stage, cost)
    name = _cut(name, WIDTH - 32 - len(what) * LETTER)
    share = stage.macs / cost.macs if cost.macs else 0.0
    y = box.y + HEIGHT - BAR
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{WIDTH:g}" height="{HEIGHT:g}" rx="6" '
        f'fill="{colour}" fill-opacity="0.14" stroke="{colour}"/>'
        f'<rect x="{box.x + 6:g}" y="{y - 3:g}" width="{(WIDTH - 12) * share:.1f}" '
        f'height="{BAR:g}" rx="2" fill="{colour}"/>'
        f'<text class="name" x="{box.x + 10:g}" y="{box.y + 17:g}">{escape(name)}</text>'
        f'<text class="small" x="{box.x + WIDTH - 10:g}" y="{box.y + 17:g}" '
        f'text-anchor="end">{escape(what)}</text>'
        f'<text class="small" x="{box.x + 10:g}" y="{box.y + 38:g}">{escape(numbers)}</text>'
    )


def _texts(stage: StageCost, cost: Cost) -> tuple[str, str, str]:
    """What a box says: its name, what it repeats, and its output with its share of the MACs."""
    times = f"{stage.block} x {stage.depth}" if stage.depth > 1 else stage.block
    share = f"{stage.macs / cost.macs:.1%} of MACs" if stage.macs else "no MACs"
    return stage.name, times, f"{_shape(stage.output)}, {share}"


def _cut(text: str, room: float) -> str:
    """Shortens a name that would run into the text beside it."""
    letters = int(room / BOLD)
    return text if len(text) <= letters else f"{text[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"


def _legend(cost: Cost) -> tuple[str, ...]:
    return (
        f"{quantity(cost.macs)} MACs ({cost.convention}), {quantity(cost.params)} parameters",
        f"{quantity(cost.activations)} activations, {quantity(cost.peak_memory)}B peak memory",
        "bars: share of the MACs",
    )


def _colours(stages: Sequence[_Stage]) -> dict[str, str]:
    """A colour for each kind of block, in the order they appear."""
    blocks = dict.fromkeys(stage.cost.block for stage in stages)
    return {block: COLOURS[number % len(COLOURS)] for number, block in enumerate(blocks)}


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
