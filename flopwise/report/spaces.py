"""The page that `flopwise space` prints: size, feasible share, costs, values, rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from flopwise.report.explored import Explored, Marginal
from flopwise.report.words import quantity

__all__ = ["show_spaces"]

BARS = " ▁▂▃▄▅▆▇█"
FEW = 6
"""Values of a target whose shares are written out; more are drawn as bars."""
WIDEST = 40
"""Most bars of a target; more values are put together."""
HOW = {
    "listed": "picking from a list of all that are feasible",
    "counted": "counting completions in bins of {costs}, level by level; {kept} are kept",
    "thrown": "drawing from all; {kept} are kept",
    "judged": "drawing from all and tracing each; {kept} are kept",
}


def show_spaces(found: Sequence[Explored], console: Console | None = None) -> None:
    """Prints a page for each budget of a space."""
    out = console or Console(highlight=False)
    for number, each in enumerate(found, 1):
        title = each.name + (f", budget {number} of {len(found)}" if len(found) > 1 else "")
        out.print(Rule(Text(f" {title} ", "bold"), align="left"))
        out.print(Group(*_page(each)))


def _page(found: Explored) -> Iterator[RenderableType]:
    yield _lines(_size(found))
    yield Text()
    yield _costs(found)
    yield Text()
    if found.marginals:
        yield _values(found)
        yield Text()
    yield _lines(_end(found))


def _lines(pairs: Iterator[tuple[str, Text]]) -> Table:
    """Returns a label and a text in each line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for label, text in pairs:
        table.add_row(label, text)
    return table


def _size(found: Explored) -> Iterator[tuple[str, Text]]:
    share = found.share
    endless = share.size == float("inf")
    size = Text("endlessly many" if endless else _number(share.size), "bold")
    yield (
        "candidates",
        size.append(
            f" ({_number(share.of)} without what has no steps)" if endless else "", "not bold"
        ),
    )
    part = _percent(share.share)
    if share.exact:
        text = Text(f"{_number(share.low)}, {part}", "bold green")
        yield "feasible", text.append(" of them, exactly", "not bold default")
    else:
        text = Text(f"about {_number(share.estimate)}, {part}", "bold green")
        error = f" ± {_percent(2 * share.error / share.of)} (95 %, {share.drawn:,} draws)"
        yield "feasible", text.append(error, "not bold default")
        yield "", Text(f"surely from {_number(share.low)} to {_number(share.high)}", "dim")
    windows = "   ".join(f"{name} {window}" for name, window in found.budget.items())
    yield "budget", Text(windows or "none")


def _costs(found: Explored) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    heads = ("", "smallest", "largest", "", "feasible: smallest", "largest")
    for head in heads:
        table.add_column(head, justify="left" if not head else "right")
    for metric, (low, high) in found.ranges.items():
        inside = found.inside.get(metric)
        cells = [quantity(end) for end in inside] if inside else ["", ""]
        bar = _bar(low, high, inside)
        table.add_row(metric, quantity(low), quantity(high), bar, *cells)
    seen = []
    if not found.all_ranges:
        seen.append("of the space")
    if not found.all_inside:
        seen.append(f"of the feasible ({found.met:,} draws)")
    if seen:
        table.caption = f"as met, so not the very ends: {' and '.join(seen)}"
        table.caption_justify = "left"
    return table


def _bar(low: int, high: int, inside: tuple[int, int] | None, width: int = 17) -> Text:
    """Draws where the feasible lie between the ends."""
    bar = Text("─" * width, "dim")
    if inside and high > low:
        first, last = ((end - low) / (high - low) * (width - 1) for end in inside)
        at, end = int(first), int(last) + 1
        bar = Text.assemble(
            ("─" * at, "dim"), ("━" * (end - at), "green"), ("─" * (width - end), "dim")
        )
    return bar


def _values(found: Explored) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("target")
    table.add_column("among the feasible", overflow="fold")
    conditional = any(each.counts < 1 for each in found.marginals)
    if conditional:
        table.add_column("counts in", justify="right")
    for each in found.marginals:
        extra = [_percent(each.counts)] if conditional else []
        table.add_row(each.target, _shares(each), *extra)
    return table


def _shares(each: Marginal) -> Text:
    if not each.values:
        return Text("no steps", "dim")
    if len(each.values) <= FEW:
        most = max(share for _, share in each.values)
        text = Text()
        for value, share in each.values:
            style = "green" if share and share == most else ""
            text.append(f"{value} ", "dim").append(f"{100 * share:.0f} %   ", style)
        return text
    shares = _together([share for _, share in each.values])
    most = max(shares) or 1.0
    bars = "".join(BARS[_level(share / most)] for share in shares)
    first, last = each.values[0][0], each.values[-1][0]
    return Text.assemble((f"{first} ", "dim"), (bars, "green"), (f" {last}", "dim"))


def _level(height: float) -> int:
    """Returns the bar of a height from 0 to 1; what is there at all is seen."""
    return 0 if height == 0 else max(1, round(height * (len(BARS) - 1)))


def _together(shares: Sequence[float]) -> list[float]:
    """Adds neighbours up until the bars fit into a line."""
    group = -(-len(shares) // WIDEST)
    return [sum(shares[at : at + group]) for at in range(0, len(shares), group)]


def _end(found: Explored) -> Iterator[tuple[str, Text]]:
    if found.why:
        yield "no tables", Text(found.why, "yellow")
    costs = " and ".join(found.counted) or "cost"
    yield "drawn by", Text(HOW[found.how].format(costs=costs, kept=_percent(found.kept)))
    words = {
        "batch": "costed in batches",
        "single": "costed one by one",
        "draws": "uniform feasible draws",
        "judged": "judged by the graph",
    }
    label = "a second"
    for name, rate in found.rates.items():
        yield label, Text(f"{_number(rate)} {words[name]}")
        label = ""
    first, *rest = str(found.tiers).splitlines()
    yield "export", Text(first.removeprefix("export: "))
    yield from (("", Text(line.strip(), "dim")) for line in rest)


def _number(value: float) -> str:
    """Spells a count: exact while it is short.

    >>> _number(512), _number(400478525811.0), _number(0.25)
    ('512', '4.0048e+11', '0.25')
    """
    if value >= 1e9:
        return f"{value:.5g}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
