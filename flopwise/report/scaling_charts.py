"""The page of a scaling law: its charts, what they say, and the trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from flopwise.report.scaling import scaling_notes, scaling_table
from flopwise.report.tables import draw
from flopwise.report.webpage import COLOURS, DARK, listed, look, section, webpage
from flopwise.report.words import quantity

if TYPE_CHECKING:  # types only: plotly and optuna take half a second each
    from plotly.graph_objects import Figure, Scatter

    from flopwise.search.laws import Law
    from flopwise.search.scaling import Cell, Rate, Scaling

__all__ = ["figures", "scaling_page"]


def scaling_page(title: str, found: Scaling, counted: str, measured: str) -> str:
    """Returns the page as HTML, with plotly's script inside.

    Args:
        title: The name of the family.
        found: Its law.
        counted: What its compute is.
        measured: What its loss is.
    """
    notes = listed(list(scaling_notes(found, counted, measured)))
    return webpage(
        f"{title}: loss against training compute",
        [
            *figures(found, counted, measured),
            section("What it says", notes),
            section("The trainings", draw(scaling_table(found), "html")),
        ],
    )


def figures(found: Scaling, counted: str, measured: str) -> list[Figure]:
    """Returns the charts: loss, optimal size and epochs, and where they were tried learning rates.

    Args:
        found: The law.
        counted: What its compute is.
        measured: What its loss is.
    """
    made = [_loss(found, counted, measured)]
    if found.macs or found.epochs:
        made.append(_trends(found, counted))
    if any(each.epochs for each in found.rates):
        made.append(_rates(found.rates))
    return made


def _loss(found: Scaling, counted: str, measured: str) -> Figure:
    from plotly.graph_objects import Figure

    figure = Figure()
    for trace in (*_law(found.loss), *_curves(found), *_rings(found.optimal)):
        figure.add_trace(trace)
    line = found.loss
    fitted = f": exponent {line.exponent:.3f} ({line.low:.3f} to {line.high:.3f})" if line else ""
    figure.update_layout(title=f"Loss against training compute{fitted}", **look())
    figure.update_xaxes(title=counted, **_powers())
    figure.update_yaxes(title=measured.partition(" after ")[0], type="log", nticks=8)
    return figure


def _curves(found: Scaling) -> Iterator[Scatter]:
    """Yields each model's best trainings as a curve, and the other learning rates as points."""
    from plotly.graph_objects import Scatter

    models = dict.fromkeys(each.first.model for each in found.cells)
    for number, model in enumerate(models):
        cells = [each for each in found.cells if each.first.model == model]
        colour = COLOURS[number % len(COLOURS)]
        for best in (True, False):
            shown = [each for each in cells if each.best is best]
            if not shown:
                continue
            yield Scatter(
                x=[each.first.compute for each in shown],
                y=[each.loss for each in shown],
                error_y=_whiskers(shown) if best else None,
                mode="lines+markers" if best and model else "markers",
                marker={"color": colour, "size": 8 if best else 5, "opacity": 1 if best else 0.4},
                line={"color": colour, "width": 1.5},
                name=(model or "trainings") if best else f"{model} other lr".strip(),
                legendgroup=model,
                showlegend=best,
                text=[_hover(each) for each in shown],
                hovertemplate="%{text}<extra></extra>",
            )


def _whiskers(cells: Sequence[Cell]) -> dict[str, Any] | None:
    if any(each.low is None or each.high is None for each in cells):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [(each.high or 0) - each.loss for each in cells],
        "arrayminus": [each.loss - (each.low or 0) for each in cells],
        "width": 3,
        "thickness": 1,
    }


def _hover(each: Cell) -> str:
    first = each.first
    parts = (
        first.model,
        first.macs and f"{quantity(int(first.macs))} MACs",
        first.epochs and f"{first.epochs:g} epochs",
        first.lr and f"lr {first.lr:g}",
        f"loss {each.loss:.4f} of {len(each.losses)}",
        f"compute {first.compute:.3e}",
    )
    return "<br>".join(escape(str(part)) for part in parts if part)


def _rings(optimal: Sequence[Cell]) -> Iterator[Scatter]:
    from plotly.graph_objects import Scatter

    yield Scatter(
        x=[each.first.compute for each in optimal],
        y=[each.loss for each in optimal],
        mode="markers",
        marker={"symbol": "circle-open", "size": 15, "color": DARK, "line": {"width": 2}},
        name="optimal",
        hoverinfo="skip",
    )


def _law(law: Law | None, *, legend: bool = True) -> Iterator[Scatter]:
    """Yields a line and its band; nothing where there is none."""
    from plotly.graph_objects import Scatter

    if law is None:
        return
    shared = {"legendgroup": "law", "hoverinfo": "skip", "showlegend": legend}
    yield Scatter(
        x=[*law.x, *law.x[::-1]],
        y=[*law.band_high, *law.band_low[::-1]],
        fill="toself",
        fillcolor="rgba(34, 34, 34, 0.12)",
        line={"width": 0},
        name="95 % band",
        **shared,
    )
    yield Scatter(
        x=law.x,
        y=law.y,
        mode="lines",
        line={"color": DARK, "dash": "dash", "width": 2},
        name="fitted line",
        **shared,
    )


def _trends(found: Scaling, counted: str) -> Figure:
    """Returns size and epochs of the optimal trainings, side by side."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    heads = [
        f"{what}{f' ~ compute^{law.exponent:.2f} ({law.low:.2f} to {law.high:.2f})' if law else ''}"
        for what, law in (("MACs", found.macs), ("Epochs", found.epochs))
    ]
    figure = make_subplots(rows=1, cols=2, subplot_titles=heads)
    optimal = found.optimal
    values = ([each.first.macs for each in optimal], [each.first.epochs for each in optimal])
    for number, (law, ys) in enumerate(zip((found.macs, found.epochs), values, strict=True), 1):
        for trace in _law(law, legend=number == 1):
            figure.add_trace(trace, row=1, col=number)
        points = Scatter(
            x=[each.first.compute for each in optimal],
            y=ys,
            mode="markers",
            marker={"color": DARK, "size": 9},
            name="optimal",
            showlegend=number == 1,
            text=[_hover(each) for each in optimal],
            hovertemplate="%{text}<extra></extra>",
        )
        figure.add_trace(points, row=1, col=number)
    figure.update_layout(title="Optimal model and epochs for a compute", **look())
    figure.update_xaxes(title=counted.partition(":")[0], **_powers(4))
    figure.update_yaxes(type="log", nticks=8)
    return figure


def _rates(rates: Sequence[Rate]) -> Figure:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for number, model in enumerate(dict.fromkeys(each.model for each in rates)):
        own = [each for each in rates if each.model == model and each.epochs]
        known = all(each.low is not None for each in own)
        spans = {
            "type": "data",
            "symmetric": False,
            "array": [(each.high or 0) - each.lr for each in own],
            "arrayminus": [each.lr - (each.low or 0) for each in own],
        }
        figure.add_trace(
            Scatter(
                x=[each.epochs for each in own],
                y=[each.lr for each in own],
                error_y=spans if known else None,
                mode="lines+markers",
                marker={"color": COLOURS[number % len(COLOURS)], "size": 9},
                name=model or "trainings",
            )
        )
    tried = sorted({lr for each in rates for lr in each.tried})
    figure.update_layout(title="Best learning rate against epochs", **look())
    figure.update_xaxes(title="epochs", type="log", nticks=8)
    figure.update_yaxes(
        title="learning rate of the lowest loss; ticks are those tried",
        type="log",
        tickvals=tried,
        ticktext=[f"{lr:g}" for lr in tried],
    )
    return figure


def _powers(ticks: int = 10) -> dict[str, Any]:
    return {"type": "log", "exponentformat": "power", "nticks": ticks}
