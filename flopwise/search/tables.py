"""What a search gave, as tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from rich.table import Table

from flopwise.errors import many
from flopwise.search.agreement import Agreement
from flopwise.search.candidates import grouped, made
from flopwise.search.front import Objectives
from flopwise.search.record import FinalRow, TrialRow

__all__ = [
    "agreement_table",
    "budget_table",
    "final_table",
    "fresh_text",
    "front_table",
    "trial_table",
]

WIDE = 8
"""Most targets that have a column each."""
Heads: TypeAlias = Mapping[str, Callable[[TrialRow], str]]


def trial_table(rows: Sequence[TrialRow], metric: str = "top1", most: int = 10) -> Table:
    """Returns the best trials as a table; a score after fewer epochs stands below all others."""
    sign = -1 if metric == "loss" else 1
    done = [row for row in rows if row.state == "done"]
    done.sort(key=lambda row: (row.share, sign * row.scores[metric]), reverse=True)
    others = Counter(r.state for r in rows if r.state != "done")
    told = "".join(f", {count} {state}" for state, count in others.items())
    best = f"best {min(most, len(done))} of {len(done)}"
    heads: Heads = {_head(metric): partial(_figure, metric)}
    if several := len({row.share for row in done}) > 1:
        heads = {**heads, "epochs": lambda row: str(row.epochs)}
    by = f"validation {metric}{' after the most epochs' if several else ''}"
    table = Table(title=f"trials, {best} by {by}{told}")
    _fill(table, done[:most], heads)
    return table


def front_table(rows: Sequence[TrialRow], objectives: Objectives, trials: int) -> Table:
    """Returns the trials that no other beats in every objective."""
    goals = ", ".join(" ".join(each) for each in objectives)
    table = Table(
        title=f"front of {many(trials, 'trials')}: {len(rows)} that no other beats ({goals})"
    )
    metrics = [metric for _, metric in objectives if metric not in ("macs", "params")]
    _fill(table, rows, {_head(metric): partial(_figure, metric) for metric in metrics})
    return table


def budget_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns the winner of each budget; a star marks those that no other winner beats."""
    table = Table(title="winners of the budgets (* no other beats it in scores and costs)")
    for head in ("folder", "budget", "winner", "MMACs", "Mparams", "picks"):
        table.add_column(head, justify="right" if head.startswith("M") else "left")
    for row in rows:
        costs = (f"{row[name] / 1e6:,.3f}" for name in ("macs", "params"))
        star = "*" if row["front"] else ""
        table.add_row(row["folder"], row["budget"], f"{row['winner']}{star}", *costs, row["picks"])
    return table


def agreement_table(rows: Sequence[Agreement]) -> Table:
    """Returns how scores without training rank trained networks, with 95 % intervals."""
    most = max(row.trials for row in rows)
    length = "" if rows[0].share == 1 else f" after {rows[0].share:.3g} of the epochs"
    title = f"rank correlation with the objective, {most} networks of one budget{length}"
    table = Table(title=title)
    table.add_column("score")
    for head in ("Spearman", "95 %", "Kendall", "95 %", "networks"):
        table.add_column(head, justify="right")
    for row in rows:
        spans = (f"{low:+.2f} .. {high:+.2f}" for low, high in (row.spearman_95, row.kendall_95))
        first, second = spans
        table.add_row(
            row.score,
            f"{row.spearman:+.2f}",
            first,
            f"{row.kendall:+.2f}",
            second,
            str(row.trials),
        )
    return table


def _head(metric: str) -> str:
    return "Macts" if metric == "activations" else f"val {metric}"


def _figure(metric: str, row: TrialRow) -> str:
    if metric == "activations":
        return f"{row.costs[metric] / 1e6:,.3f}"
    return f"{row.scores[metric]:.2f}"


def _fill(table: Table, rows: Sequence[TrialRow], heads: Heads) -> None:
    """Adds trials: number, scores, costs, and a column per target, or one for all if many."""
    picks = [grouped(row.picks) for row in rows]
    targets = list(dict.fromkeys(name for each in picks for name in each))
    many = len(targets) > WIDE
    for name in ("trial", *heads, "MMACs", "Mparams"):
        table.add_column(name, justify="right")
    for name in ["picks"] if many else targets:
        table.add_column(name)
    for row, each in zip(rows, picks, strict=True):
        costs = (f"{row.costs.get(name, 0) / 1e6:,.3f}" for name in ("macs", "params"))
        number = f"{row.number}{' (baseline)' if row.written else ''}"
        cells = [made(row.picks)] if many else [each.get(name, "") for name in targets]
        table.add_row(number, *(text(row) for text in heads.values()), *costs, *cells)


def final_table(rows: Sequence[FinalRow], metric: str = "top1") -> Table:
    """Returns the last step as a table: the optimistic and the fresh score side by side.

    Behind the optimistic one stands of how many trials it is the best.
    """
    table = Table(title="last step: fresh seeds, judged once on the test split")
    table.add_column("network")
    epochs = len({row.search_epochs for row in rows if row.search_epochs}) > 1
    heads = (
        "trial",
        "MMACs",
        *(["search\nepochs"] if epochs else []),
        f"search\nval {metric}\n(best of)",
        f"fresh\ntest {metric}\nmean +- sd",
        "difference\nto the baseline\n+- error",
    )
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        macs = f"{row.costs.get('macs', 0) / 1e6:,.3f}"
        search = f"{row.search[metric]:.2f} ({row.tries})" if metric in row.search else "-"
        trial = "-" if row.trial is None else str(row.trial)
        versus = str(row.versus) if row.versus else ""
        length = [str(row.search_epochs or "-")] if epochs else []
        table.add_row(row.name, trial, macs, *length, search, fresh_text(row, metric), versus)
    return table


def fresh_text(row: FinalRow, metric: str) -> str:
    """Says mean and spread over the fresh seeds."""
    mean, spread = row.mean(metric), row.spread(metric)
    if mean is None:
        return "failed"
    return f"{mean:.2f} +- {spread:.2f}" if spread is not None else f"{mean:.2f}"
