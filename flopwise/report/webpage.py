"""One HTML file that needs no network: text, tables, pictures, and charts by plotly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a type only: half a second
    from plotly.graph_objects import Figure

__all__ = ["COLOURS", "DARK", "GREY", "listed", "look", "section", "webpage"]

COLOURS = ("#4e79a7", "#59a14f", "#f28e2b", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#edc948")
DARK, GREY = "#222222", "#b8b8b8"
STYLE = """
  body { font: 15px Helvetica, Arial, sans-serif; color: #222; max-width: 1080px;
         margin: 2em auto; padding: 0 1em; }
  h2 { margin-top: 2em; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; font-size: 13px; }
  th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid #ddd;
           white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; }
  pre { background: #f6f6f6; padding: 0.8em 1em; overflow-x: auto; font-size: 13px; }
  svg { max-width: 100%; height: auto; }
"""


def webpage(title: str, body: Iterable[str | Figure]) -> str:
    """Returns a page; plotly's script is in it once, before the first chart.

    Args:
        title: What its tab and its first line say.
        body: Pieces of HTML, and figures.
    """
    parts, drawn = [], 0
    for each in body:
        if isinstance(each, str):
            parts.append(each)
            continue
        parts.append(
            each.to_html(full_html=False, include_plotlyjs=not drawn, div_id=f"chart{drawn}")
        )
        drawn += 1
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{escape(title)}</h1>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def section(head: str, *parts: str) -> str:
    """Returns a heading and what stands below it."""
    return "\n".join((f"<h2>{escape(head)}</h2>", *parts))


def listed(lines: Sequence[str]) -> str:
    """Returns plain lines as a list."""
    return "<ul>\n" + "".join(f"<li>{escape(line)}</li>\n" for line in lines) + "</ul>"


def look(**more: Any) -> dict[str, Any]:
    """Returns the layout that all charts share, and what is added to it."""
    return {"template": "plotly_white", "height": 480, "font": {"color": DARK}, **more}
