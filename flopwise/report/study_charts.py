"""The charts of a search: score against cost, its course, learning curves, values, spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from flopwise.dsl import Window
from flopwise.errors import many
from flopwise.report.webpage import COLOURS, DARK, GREY, look
from flopwise.report.words import quantity
from flopwise.search.candidates import grouped, made
from flopwise.search.front import value_of
from flopwise.search.record import COSTS, TrialRow

if TYPE_CHECKING:  # types only: half a second
    from plotly.graph_objects import Figure, Scatter

__all__ = ["against_cost", "course", "explained", "learning", "spread", "values"]

AXES = {"macs": "MACs", "params": "parameters", "activations": "activations"}
SHOWN = 5
"""Learning curves that have a colour of their own."""
FACETS = 12
"""Targets that have a chart of their own: those that explain most."""


def against_cost(
    parts: Mapping[str, Sequence[TrialRow]],
    budgets: Mapping[str, Mapping[str, Window]],
    metric: str,
    chosen: Mapping[str, int | None],
    fronts: Mapping[str, Sequence[TrialRow]],
) -> Figure:
    """Returns the score of every trained candidate against its cost; the cost can be chosen.

    Args:
        parts: The trained trials of each study, by what it is called.
        budgets: The windows of each.
        metric: The score or cost that is drawn upwards.
        chosen: Number of the trial that each ended with.
        fronts: Of several objectives, the trials that no other beats in all of them.
    """
    from plotly.graph_objects import Figure

    figure, spots = Figure(), []
    for number, (name, rows) in enumerate(parts.items()):
        colour = COLOURS[number % len(COLOURS)]
        clouds = _clouds(rows, chosen[name], fronts[name], colour)
        for kind, (shown, marker) in clouds.items():
            if shown:
                label = f"{name}: {kind}" if name else kind
                figure.add_trace(_points(label, shown, metric, marker))
                spots.append(shown)
    bands = {cost: [_band(b[cost]) for b in budgets.values() if cost in b] for cost in COSTS}
    first = next((cost for cost in COSTS if bands[cost]), "macs")
    buttons = [
        {
            "label": AXES[cost],
            "method": "update",
            "args": [
                {"x": [[row.costs[cost] for row in shown] for shown in spots]},
                {"xaxis.title.text": AXES[cost], "shapes": bands[cost]},
            ],
        }
        for cost in COSTS
    ]
    menu = {"buttons": buttons, "active": COSTS.index(first), "x": 1, "xanchor": "right", "y": 1.16}
    figure.update_layout(**look(title=f"{_said(metric)} against cost", updatemenus=[menu]))
    figure.update_layout(shapes=bands[first])
    for trace, shown in zip(figure.data, spots, strict=True):
        trace.x = [row.costs[first] for row in shown]
    figure.update_xaxes(title=AXES[first], exponentformat="SI")
    figure.update_yaxes(title=_said(metric))
    return figure


def _clouds(
    rows: Sequence[TrialRow], chosen: int | None, front: Sequence[TrialRow], colour: str
) -> dict[str, tuple[Sequence[TrialRow], dict[str, Any]]]:
    """Returns what is drawn by its name: trials, and their marker."""
    longest = max((row.share for row in rows), default=1.0)
    full = [row for row in rows if row.share == longest]
    short = [row for row in rows if row.share < longest]
    ring = {"symbol": "circle-open", "line": {"width": 2}}
    return {
        "shorter trainings": (short, {"color": colour, "opacity": 0.3}),
        "candidates": ([row for row in full if not row.written], {"color": colour}),
        "the written network": (
            [row for row in full if row.written],
            {"color": DARK, "symbol": "star", "size": 13},
        ),
        "front": (front, {"color": colour, "size": 13, **ring}),
        "winner": (
            [row for row in rows if row.number == chosen],
            {"color": DARK, "size": 17, **ring},
        ),
    }


def _points(name: str, rows: Sequence[TrialRow], metric: str, marker: Mapping[str, Any]) -> Scatter:
    from plotly.graph_objects import Scatter

    return Scatter(
        y=[value_of(row, metric) for row in rows],
        mode="markers",
        marker={"size": 8, **marker},
        name=name,
        text=[_hover(row) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )


def _band(window: Window) -> dict[str, Any]:
    """Returns the window of a budget as a strip; an open side is the end of the chart."""
    low, high = window.low, window.high
    if low is None or high is None:
        edge = high if low is None else low
        return {"type": "line", "x0": edge, "x1": edge, "yref": "paper", "y0": 0, "y1": 1} | {
            "line": {"color": GREY, "dash": "dash"}
        }
    strip = {"type": "rect", "x0": low, "x1": high, "yref": "paper", "y0": 0, "y1": 1}
    return {**strip, "fillcolor": GREY, "opacity": 0.18, "line": {"width": 0}, "layer": "below"}


def course(rows: Sequence[TrialRow], metric: str, sign: int) -> Figure:
    """Returns scores in the order of the trials, the best so far, and where trials failed.

    Args:
        rows: All trials of a study.
        metric: The score or cost that is drawn.
        sign: 1 where more is better, else -1.
    """
    from plotly.graph_objects import Figure, Scatter

    done = [row for row in rows if row.state == "done"]
    longest = max((row.share for row in done), default=1.0)
    full = sorted((r for r in done if r.share == longest), key=lambda r: r.number)
    short = [row for row in done if row.share < longest]
    figure = Figure()
    for name, shown, colour in (
        ("shorter trainings", short, GREY),
        ("trainings", full, COLOURS[0]),
    ):
        if shown:
            trace = _points(name, shown, metric, {"color": colour})
            trace.x = [row.number for row in shown]
            figure.add_trace(trace)
    if full:
        best = [*accumulate((value_of(row, metric) for row in full), max if sign > 0 else min)]
        line = {"color": DARK, "shape": "hv", "width": 1.5}
        x = [row.number for row in full]
        figure.add_trace(Scatter(x=x, y=best, mode="lines", line=line, name="best so far"))
    lost = [row for row in rows if row.state in ("failed", "stopped")]
    low = min((value_of(row, metric) for row in done), default=0.0)
    if lost:
        trace = Scatter(
            x=[row.number for row in lost],
            y=[low] * len(lost),
            mode="markers",
            marker={"symbol": "x", "color": COLOURS[4], "size": 9},
            name="failed or stopped early",
            text=[_hover(row) for row in lost],
            hovertemplate="%{text}<extra></extra>",
        )
        figure.add_trace(trace)
    figure.update_layout(**look(title="Course of the search"))
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title=_said(metric))
    return figure


def learning(
    curves: Mapping[int, Sequence[float]], rows: Sequence[TrialRow], metric: str, sign: int
) -> Figure:
    """Returns the score of every trial after each epoch, the best in colours.

    Args:
        curves: Number of a trial -> its score after each epoch.
        rows: Those trials.
        metric: The score.
        sign: 1 where more is better, else -1.
    """
    from plotly.graph_objects import Figure, Scatter

    known = [row for row in rows if row.number in curves]
    known.sort(key=lambda row: (row.state != "done", -row.share, -sign * curves[row.number][-1]))
    figure = Figure()
    for place, row in reversed(list(enumerate(known))):
        best = place < SHOWN
        ys = list(curves[row.number])
        trace = Scatter(
            x=list(range(1, len(ys) + 1)),
            y=ys,
            mode="lines" if len(ys) > 1 else "markers",
            line={"color": COLOURS[place] if best else GREY, "width": 2 if best else 1},
            name=f"trial {row.number}" if best else "others",
            legendgroup="" if best else "others",
            legendrank=place,
            showlegend=best or place == SHOWN,
            hovertemplate=f"trial {row.number}, epoch %{{x}}: %{{y:.2f}}<extra></extra>",
        )
        figure.add_trace(trace)
    figure.update_layout(**look(title="Learning curves"))
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=_said(metric))
    return figure


def explained(groups: Sequence[Sequence[float]]) -> float:
    """Returns the share of the variance of scores that lies between groups, adjusted for chance.

    It is the adjusted R^2 of the group means: about 0 for groups drawn at random, whatever their
    number; negative shares are told as 0.

    >>> explained([[1.0, 1.2], [3.0, 3.2]]) > 0.9, explained([[1.0, 3.0], [1.0, 3.0]])
    (True, 0.0)
    """
    scores = np.concatenate([np.asarray(each, float) for each in groups])
    free = len(scores) - len(groups)
    whole = scores.var(ddof=1) if len(scores) > 1 else 0.0
    if free < 1 or not whole:
        return 0.0
    within = sum(((np.asarray(each) - np.mean(each)) ** 2).sum() for each in groups) / free
    return max(0.0, float(1 - within / whole))


def values(rows: Sequence[TrialRow], metric: str) -> Figure | None:
    """Returns the scores of each value of each target; None where nothing was varied.

    Args:
        rows: Trained trials of equal length.
        metric: The score or cost.
    """
    from plotly.graph_objects import Box
    from plotly.subplots import make_subplots

    facets = _facets(rows, metric)[:FACETS]
    if not facets:
        return None
    across = min(4, len(facets))
    down = -(-len(facets) // across)
    heads = [f"{target}: {100 * share:.0f} %" for target, share, _ in facets]
    figure = make_subplots(rows=down, cols=across, subplot_titles=heads, shared_yaxes=True)
    for at, (_, _, groups) in enumerate(facets):
        for value, scores in groups.items():
            box = Box(
                y=scores,
                name=value,
                boxpoints="all",
                pointpos=0,
                marker={"color": COLOURS[0], "size": 4},
                line={"width": 1},
                showlegend=False,
            )
            figure.add_trace(box, row=at // across + 1, col=at % across + 1)
    title = "Scores of each value, and the share of their variance that one target explains"
    title += _length(rows)
    figure.update_layout(**look(title=title, height=120 + 260 * down))
    figure.update_xaxes(type="category")
    figure.update_yaxes(title=_said(metric), col=1)
    return figure


def _facets(
    rows: Sequence[TrialRow], metric: str
) -> list[tuple[str, float, dict[str, list[float]]]]:
    """Returns targets with the scores of their values, what explains most first."""
    picks = [grouped(row.picks) for row in rows]
    found = []
    for target in dict.fromkeys(name for each in picks for name in each):
        groups: dict[str, list[float]] = {}
        for row, own in zip(rows, picks, strict=True):
            if target in own:
                groups.setdefault(own[target], []).append(value_of(row, metric))
        if len(groups) > 1:
            ordered = dict(sorted(groups.items(), key=lambda item: _rank(item[0])))
            found.append((target, explained(list(ordered.values())), ordered))
    return sorted(found, key=lambda each: -each[1])


def _rank(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def spread(parts: Mapping[str, Sequence[TrialRow]], metric: str) -> Figure:
    """Returns the share of candidates at or below each score: the distribution of a space.

    Args:
        parts: Trained trials of equal length of each study, by what it is called.
        metric: The score or cost.

    Spaces are compared so in 2003.13678, section 3.1.
    """
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for number, (name, rows) in enumerate(parts.items()):
        scores = sorted(value_of(row, metric) for row in rows)
        shares = [(at + 1) / len(scores) for at in range(len(scores))]
        line = {"shape": "hv", "color": COLOURS[number % len(COLOURS)]}
        figure.add_trace(Scatter(x=scores, y=shares, line=line, name=name or "candidates"))
    title = f"Share of candidates at or below a score{_length(next(iter(parts.values())))}"
    figure.update_layout(**look(title=title, height=380))
    figure.update_xaxes(title=_said(metric))
    figure.update_yaxes(title="share", range=[0, 1.02])
    return figure


def _length(rows: Sequence[TrialRow]) -> str:
    share = rows[0].share
    return "" if share == 1 else f", after {100 * share:.3g} % of the epochs"


def _said(metric: str) -> str:
    return AXES.get(metric, f"validation {metric}")


def _hover(row: TrialRow) -> str:
    costs = ", ".join(f"{quantity(row.costs[c])} {AXES[c]}" for c in COSTS if c in row.costs)
    scores = ", ".join(f"{name} {value:.2f}" for name, value in row.scores.items())
    head = f"trial {row.number}{' (as written)' if row.written else ''}"
    parts = (head, scores, costs, many(row.epochs, "epochs") if row.epochs else "", row.reason)
    return "<br>".join(escape(part) for part in (*parts, *_wrapped(made(row.picks))) if part)


def _wrapped(text: str, width: int = 90) -> list[str]:
    from textwrap import wrap

    return wrap(text, width)
