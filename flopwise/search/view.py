"""A search in words: a line for each event, the tables at the end, and how a study is going."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from flopwise.errors import many
from flopwise.search.candidates import made
from flopwise.search.record import TrialRow
from flopwise.search.session import Outcome
from flopwise.search.tables import (
    agreement_table,
    budget_table,
    final_table,
    front_table,
    trial_table,
)
from flopwise.search.watch import Plan, Watch

__all__ = [
    "Lines",
    "duration",
    "figure",
    "plan_lines",
    "show",
    "status_lines",
    "time_left",
    "trial_line",
]


CHOSEN = (
    "the search score chose a network as the best of that many trials, so it is optimistic; the "
    "fresh score is of seeds that no trial used and of images that chose nothing"
)
"""What the two columns of scores are."""


class Lines(Watch):
    """One line per event, for logs and pipes."""

    def __init__(self, console: Console, metric: str = "top1") -> None:
        """Prints to a console; `metric` is the objective."""
        self.console, self.metric = console, metric
        self._rated = self._filling = False

    def say(self, text: str) -> None:
        """Prints one line without markup and without wrapping."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def tables(self, share: float) -> None:
        """Says once that the tables of costs take a while."""
        if not self._filling:
            self._filling = True
            self.say("cost tables of the space: this takes a while")

    def plan(self, plan: Plan) -> None:
        """Says what will be done before anything is trained."""
        for line in plan_lines(plan):
            self.say(line)

    def end(self, row: TrialRow, best: TrialRow | None, left: float | None) -> None:
        """Says what one trial gave."""
        self.say(trial_line(row, best, self.metric))
        if not self._rated and row.images_per_s and left is not None:
            self._rated = True
            self.say(
                f"{row.images_per_s:,.0f} images/s, {row.outside_share:.0%} of CPU time outside "
                f"the network; about {duration(left)} to go"
            )

    def begin_final(self, name: str, seed: int, number: int, of: int) -> None:
        """Says which fresh training starts."""
        if number == 1:
            self.say(f"last step: {many(of, 'fresh trainings')}, then the test split")

    def end_final(
        self, name: str, seed: int, scores: Mapping[str, float], reason: str, left: float | None
    ) -> None:
        """Says what a fresh training gave on the test split."""
        self.say(f"{name}, seed {seed}: {reason or 'test ' + _scores(scores)}")

    def note(self, text: str) -> None:
        """Says it."""
        self.say(text)


def plan_lines(plan: Plan) -> list[str]:
    """Says a plan in words."""
    probe = plan.probe
    size = f"{probe.size:,.0f} points" if probe.size < 1e12 else f"{probe.size:.2g} points"
    how = "all of them counted" if probe.complete else f"{probe.looked} drawn at random"
    counted = f"{probe.feasible:,} feasible of {probe.looked:,} ({how})"
    if probe.share is not None and not probe.complete:
        counted = f"about {100 * probe.share:.3g} % of them feasible"
    lines = [f"space: {size}; {counted}"]
    if plan.done:
        lines.append(f"going on after {many(plan.done, 'trials')}")
    lengths = [(many(count, "trials"), many(epochs, "epochs")) for count, epochs in plan.lengths]
    work = " + ".join(" x ".join(each) for each in lengths)
    work = f"plan: ({work})" if len(plan.lengths) > 1 else f"plan: {work}"
    if plan.images:
        work += f" x {plan.images:,} images"
    if plan.finals:
        work += (
            f", then {many(plan.finals, 'fresh trainings')} x {many(plan.final_epochs, 'epochs')}"
        )
    if plan.images:
        work += f" = {plan.total_images:,} images in all"
    return [*lines, work]


def trial_line(row: TrialRow, best: TrialRow | None, metric: str) -> str:
    """Says in one line what a trial was and gave."""
    picks = made(row.picks)
    costs = f"{row.costs.get('macs', 0) / 1e6:,.2f} MMACs"
    if row.state != "done":
        return f"trial {row.number}: {row.state} ({row.reason}); {costs}; {picks}"
    mark = " (best)" if best is not None and best.number == row.number else ""
    short = f" after {many(row.epochs, 'epochs')}" if row.share < 1 else ""
    score = f"val {metric} {figure(row, metric)}{short}{mark}"
    return f"trial {row.number}: {score}; {costs}; {row.seconds:.1f} s; {picks}"


def figure(row: TrialRow, metric: str) -> str:
    """Returns a score of a trial, or a cost, as it is printed."""
    return f"{row.scores[metric]:.2f}" if metric in row.scores else f"{row.costs[metric]:,}"


def show(outcome: Outcome, console: Console, metric: str = "top1") -> None:
    """Prints the tables a search ends with."""
    for part in outcome.parts:
        console.print(f"\n{part.folder.name}", highlight=False)
        show(part, console, metric)
    if outcome.parts:
        console.print(budget_table(outcome.budgets))
        return
    done = sum(row.state == "done" for row in outcome.trials)
    console.print(trial_table(outcome.trials, metric))
    if outcome.agreement:
        console.print(agreement_table(outcome.agreement))
    if outcome.front:
        console.print(front_table(outcome.front, outcome.objectives, done))
    if outcome.finals:
        console.print(final_table(outcome.finals, metric))
        images = max((row.versus.images for row in outcome.finals if row.versus), default=0)
        seeds = ", ".join(map(str, outcome.finals[0].seeds))
        around = f"seeds {seeds}; {images:,} test images; " if images else f"seeds {seeds}; "
        console.print(around + outcome.rule, markup=False, highlight=False)
        console.print(CHOSEN, highlight=False)
    elif done > 1:
        console.print(f"the best score is that of {done} trials, so optimistic", highlight=False)
    for row in outcome.finals:
        for seed, reason in row.failures.items():
            console.print(f"{row.name}, seed {seed} failed: {reason}", markup=False)
    if outcome.winner and outcome.winner.name == "baseline":
        console.print("the hand-written baseline is itself the best trial", highlight=False)


def time_left(seconds: float | None) -> str:
    """Says how long it will take, if that can be told."""
    return f"{duration(seconds)} left" if seconds is not None else ""


def duration(seconds: float) -> str:
    """Says a time in the unit that fits.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def status_lines(facts: Mapping[str, Any]) -> list[str]:
    """Says how a study is going, in lines."""
    trials = facts["trials"]
    states = ("done", "stopped", "failed", "running")
    counts = ", ".join(f"{trials[each]} {each}" for each in states if trials.get(each))
    left = facts["seconds_left"]
    lines = [
        f"{facts['name']}: {counts or 'no trials yet'}"
        + (f", of {many(trials['wanted'], 'trials')}" if trials["wanted"] else "")
        + (f"; about {duration(left)} to go" if left else ""),
        f"trials in {facts['storage']}, files in {facts['folder']}",
    ]
    if facts["feasible_share"] is not None:
        lines.append(f"feasible: {facts['feasible_share']:.1%} of the points looked at")
    told = [("best", facts["best"])] if facts["best"] else []
    told += [("front", row) for row in facts["front"]]
    for word, row in told:
        scores = _scores(row["scores"])
        costs = f"{row['costs'].get('macs', 0) / 1e6:,.2f} MMACs"
        lines.append(f"{word}: trial {row['number']}, val {scores}; {costs}; {row['picks']}")
    for each in facts["workers"]:
        doing = f"{each['key']}, epoch {each['epoch']}" if "key" in each else "nothing yet"
        where = f"pid {each['pid']} on {each['host']}"
        lines.append(f"worker {each['worker']} ({where}): {doing}")
    if facts["baseline_tries"]:
        lines.append(f"the written network's own tries: flopwise status {facts['baseline_tries']}")
    if facts["workers_lost"]:
        lines.append(f"workers lost so far: {facts['workers_lost']}")
    lines += [f"failed: trial {row['number']}: {row['reason']}" for row in facts["failures"]]
    return lines


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items() if name != "loss")
