"""The page of a search: what it found, how sure that is, and what it looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from flopwise.dsl import Window
from flopwise.errors import many
from flopwise.report.study_charts import against_cost, course, learning, spread, values
from flopwise.report.tables import Table, draw
from flopwise.report.webpage import listed, section, webpage
from flopwise.report.words import quantity
from flopwise.search.agreement import FEWEST
from flopwise.search.candidates import grouped
from flopwise.search.compare import RULE
from flopwise.search.front import front, value_of
from flopwise.search.record import COSTS, TrialRow, equally_long

if TYPE_CHECKING:  # a type only: half a second
    from plotly.graph_objects import Figure

__all__ = ["Studied", "study_page"]

SHOWN = 200
"""Trials that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Studied:
    """What is known of one study; a search has one for each of its budgets.

    Attributes:
        name: What tells it from the search's others; empty where it is the only one.
        identity: What was searched: budgets, objective, recipe.
        probe: What a look at the space found: `size`, `looked`, `feasible`, `complete`.
        rows: Its trials.
        curves: Number of a trial -> the objective after each epoch.
        finals: The rows of the last step, as `finals.csv` has them.
        agreement: How scores without training rank the trials, as `agreement.csv` has it.
        winner: What it ended with, as `winner.json` has it; empty before that.
        picture: The winner as SVG.
        changes: What differs from the written network to the winner, in words.
    """

    name: str
    identity: Mapping[str, Any]
    probe: Mapping[str, Any]
    rows: Sequence[TrialRow]
    curves: Mapping[int, Sequence[float]]
    finals: Sequence[Mapping[str, str]]
    agreement: Sequence[Mapping[str, str]]
    winner: Mapping[str, Any]
    picture: str
    changes: str

    @property
    def goals(self) -> list[tuple[str, str]]:
        """Direction and metric of each objective."""
        words = [each.split() for each in self.identity["objective"].split(", ")]
        return [(way, metric) for way, metric in words]

    @property
    def metric(self) -> str:
        """The first objective."""
        return self.goals[0][1]

    @property
    def sign(self) -> int:
        """1 where more of it is better, else -1."""
        return 1 if self.goals[0][0] == "maximize" else -1

    @property
    def ranked(self) -> list[TrialRow]:
        """Trained trials: the front, or with one objective all, the best first."""
        return front(self.rows, self.goals)

    @property
    def compared(self) -> list[TrialRow]:
        """Trained trials of one length, the longest of which there are enough, in their order."""
        return equally_long(self.rows, FEWEST) or equally_long(self.rows)

    @property
    def budget(self) -> Mapping[str, Window]:
        """The windows of its budget."""
        whole = self.identity["budget"]
        return {metric: Window.read(text) for metric, text in whole[0].items()} if whole else {}

    @property
    def chosen(self) -> int | None:
        """Number of the trial it ended with, or that leads so far."""
        if self.winner:
            number: int | None = self.winner["trial"]
            return number
        return self.ranked[0].number if self.ranked else None


def study_page(title: str, facts: Mapping[str, str], parts: Sequence[Studied]) -> str:
    """Returns the page of a search as one HTML file.

    Args:
        title: Its name.
        facts: Lines on top: the command, when, with what.
        parts: The study of each budget; at least one.
    """
    body: list[str | Figure] = [listed([f"{name}: {text}" for name, text in facts.items()])]
    trained = {part.name: part.compared for part in parts if part.compared}
    if trained:
        done = {part.name: [r for r in part.rows if r.state == "done"] for part in parts}
        budgets = {part.name: part.budget for part in parts}
        chosen = {part.name: part.chosen for part in parts}
        fronts = {part.name: part.ranked if len(part.goals) > 1 else [] for part in parts}
        body.append(against_cost(done, budgets, parts[0].metric, chosen, fronts))
    for part in parts:
        body.extend(_study(part))
    if trained:
        body.append(spread(trained, parts[0].metric))
    return webpage(title, body)


def _study(part: Studied) -> Iterator[str | Figure]:
    """Yields what is told of one study, its result first."""
    yield section(part.name or "Result", listed(list(_sentences(part))))
    if part.finals:
        yield _scroll(_finals(part)) + f"<p>{escape(RULE[0].upper() + RULE[1:])}.</p>"
    if part.picture:
        head = f"The {'winner' if part.winner else 'leader so far'}, trial {part.chosen}"
        yield section(head, _changes(part.changes), part.picture)
    if part.compared:
        yield section("Trials")
        yield course(part.rows, part.metric, part.sign)
    if part.curves:
        yield learning(part.curves, part.rows, part.metric, part.sign)
    if drawn := values(part.compared, part.metric):
        yield drawn
        yield (
            "<p>The share is the adjusted R² of the means of one target's values. Inside a budget "
            "values depend on each other (a wider network must be shallower), so it tells what "
            "went with good scores, not what caused them.</p>"
        )
    yield _scroll(_trials(part))
    if part.agreement:
        yield section("Scores without training", _scroll(_agreement(part)))
        yield (
            f"<p>Rank correlation with the validation {escape(part.metric)} of trials of one "
            "length, with 95 % bootstrap intervals. One that holds 0 says nothing.</p>"
        )


def _sentences(part: Studied) -> Iterator[str]:
    """Yields what was looked at, and what it ended with."""
    states = [row.state for row in part.rows]
    told = ", ".join(
        f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state != "done"
    )
    yield f"{many(states.count('done'), 'trials')} trained{f' ({told})' if told else ''}"
    windows = ", ".join(f"{metric} {_window(each)}" for metric, each in part.budget.items())
    yield f"budget: {windows or 'none'}; objective: {part.identity['objective']}"
    if part.probe.get("looked"):
        yield _space(part.probe)
    if not part.ranked:
        yield "no trial has a score yet"
        return
    best = part.ranked[0]
    yield (
        f"best validation {part.metric}: {value_of(best, part.metric):.2f}, trial {best.number}; "
        f"as the best of {many(states.count('done'), 'trials')} it is optimistic"
    )
    if not part.finals:
        yield "no fresh training yet: nothing here was judged on the test split"


def _window(window: Window) -> str:
    sides = [quantity(side) for side in (window.low, window.high) if side is not None]
    if len(sides) == 2:
        return " to ".join(sides)
    return f"at {'most' if window.low is None else 'least'} {sides[0]}"


def _space(probe: Mapping[str, Any]) -> str:
    looked, feasible = probe["looked"], probe["feasible"]
    how = "all of them counted" if probe.get("complete") else f"{looked:,} of them drawn"
    return f"space: {probe['size']:,} points; {feasible / looked:.2%} meet the budget ({how})"


def _agreement(part: Studied) -> str:
    heads = ("score", "Spearman", "95 %", "Kendall", "95 %", "networks")
    rows = []
    for each in part.agreement:
        found: list[str] = []
        for name in ("spearman", "kendall"):
            low, high = (_short(each[f"{name}_95_{end}"], "+.2f") for end in ("low", "high"))
            found += [_short(each[name], "+.2f"), f"{low} .. {high}"]
        rows.append((each["score"], *found, each["trials"]))
    return draw(Table(heads=heads, rows=tuple(rows)), "html")


def _finals(part: Studied) -> str:
    metric = part.metric
    epochs = len({each["search_epochs"] for each in part.finals if each.get("search_epochs")}) > 1
    heads = (
        *("network", "trial", "MACs", "params", *(("search, epochs",) if epochs else ())),
        f"search, val {metric}",
        *(f"fresh, test {metric}", "sd", "difference to the baseline", "+- error", ""),
    )
    rows = []
    for each in part.finals:
        rows.append(
            (
                each["name"],
                each["trial"],
                *(quantity(int(each[cost])) for cost in ("macs", "params")),
                *((each["search_epochs"],) if epochs else ()),
                _short(each.get(f"search_val_{metric}", "")),
                _short(each.get(f"test_{metric}", "")),
                _short(each.get(f"test_{metric}_sd", "")),
                _short(each.get("difference", ""), "+.2f"),
                _short(each.get("error", "")),
                each.get("failures") or _verdict(each),
            )
        )
    return draw(Table(heads=heads, rows=tuple(rows)), "html")


def _verdict(final: Mapping[str, str]) -> str:
    if not final.get("difference"):
        return ""
    if final["tie"] == "true":
        return "a tie"
    return "better" if float(final["difference"]) > 0 else "worse"


def _short(text: str, form: str = ".2f") -> str:
    return format(float(text), form) if text else ""


def _trials(part: Studied) -> str:
    """Returns the best trials, then those without a score, as a table."""
    done = [row for row in part.rows if row.state == "done"]
    done.sort(key=lambda row: (-row.share, -part.sign * value_of(row, part.metric)))
    rest = [row for row in part.rows if row.state != "done"]
    rows = [*done, *rest][:SHOWN]
    picks = [grouped(row.picks) for row in rows]
    targets = list(dict.fromkeys(name for each in picks for name in each))
    scores = list(dict.fromkeys(name for row in rows for name in row.scores))
    reasons = any(row.reason for row in rows)
    heads = ("trial", "state", *scores, *COSTS, *targets, *(("reason",) if reasons else ()))
    cells = tuple(
        (
            f"{row.number}{' (as written)' if row.written else ''}",
            row.state if row.share == 1 else f"{row.state}, {row.share:.0%} long",
            *(f"{row.scores[name]:.2f}" if name in row.scores else "" for name in scores),
            *(quantity(row.costs[cost]) if cost in row.costs else "" for cost in COSTS),
            *(own.get(target, "") for target in targets),
            *((row.reason,) if reasons else ()),
        )
        for row, own in zip(rows, picks, strict=True)
    )
    more = len(part.rows) - len(rows)
    after = f"<p>and {more} more, all in trials.csv</p>" if more > 0 else ""
    return draw(Table(heads=heads, rows=cells, left=2), "html") + after


def _changes(text: str) -> str:
    return f"<pre>{escape(text)}</pre>" if text else ""


def _scroll(table: str) -> str:
    return f'<div class="scroll">{table}</div>'
