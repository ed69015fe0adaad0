"""A search in a terminal: one live view below the lines, and the lines alone anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from flopwise.search.candidates import made
from flopwise.search.record import TrialRow
from flopwise.search.view import Lines, figure, time_left
from flopwise.search.watch import Plan

__all__ = ["Board", "watch_for"]

SHOWN = 4
"""Networks of a front that have room."""


class Board(Lines):
    """The same lines above a live view: how far, best, front, who does what, what failed."""

    def __init__(self, console: Console, metric: str = "top1") -> None:
        """Draws on a console that is a terminal."""
        super().__init__(console, metric)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("trials", left="")
        self._told: dict[str, str] = {}
        self._training, self._failed = "", 0
        self._live = Live(console=console, transient=True, get_renderable=self._drawn)

    def tables(self, share: float) -> None:
        """Shows how much of the tables of costs is filled."""
        if not self._filling:
            self._filling = True
            self._restart("cost tables, %", 100, 0)
            self._live.start()
        self._progress.update(self._task, completed=round(100 * share))

    def plan(self, plan: Plan) -> None:
        """Says the plan and starts the view."""
        super().plan(plan)
        self._restart("trials", plan.trials, plan.done)
        probe = plan.probe
        share = probe.feasible / probe.looked if probe.share is None else probe.share
        self._told = {"feasible": f"{100 * share:.3g} % of the space"}
        self._failed = 0
        self._live.start()

    def scored(self, count: int) -> None:
        """Shows that the next trial is being chosen by scores."""
        self._tell(now=f"choosing the next network; scores without training of {count} so far")

    def begin(self, row: TrialRow, of: int) -> None:
        """Shows which trial is trained here."""
        self._training = f"trial {row.number}"
        self._tell(now=f"{self._training}: {made(row.picks)}")

    def epoch(self, epoch: int, of: int, scores: Mapping[str, float]) -> None:
        """Shows the epoch of the present training."""
        score = f": val {self.metric} {scores[self.metric]:.2f}" if self.metric in scores else ""
        self._tell(now=f"{self._training}, epoch {epoch}/{of}{score}")

    def workers(self, doing: Sequence[str]) -> None:
        """Shows what the workers do."""
        count = f"{len(doing)} worker{'s' if len(doing) > 1 else ''}"
        self._tell(now=f"{count}: {', '.join(doing)}" if doing else "workers are starting")

    def front(self, rows: Sequence[TrialRow], several: bool) -> None:
        """Shows the best trial, and the front where there are several objectives."""
        if rows:
            best = rows[0]
            costs = f"{best.costs.get('macs', 0) / 1e6:,.2f} MMACs"
            score = f"{self.metric} {figure(best, self.metric)}"
            self._tell(best=f"{score} (trial {best.number}); {costs}; {made(best.picks)}")
        if several and rows:
            each = [
                f"{row.costs.get('macs', 0) / 1e6:,.2f} MMACs {figure(row, self.metric)}"
                for row in rows[:SHOWN]
            ]
            more = ", ..." if len(rows) > SHOWN else ""
            self._tell(front=f"{len(rows)} that no other beats: {', '.join(each)}{more}")

    def end(self, row: TrialRow, best: TrialRow | None, left: float | None) -> None:
        """Moves the bar by one trial."""
        super().end(row, best, left)
        if row.state == "failed":
            self._failed += 1
            self._tell(failed=f"{self._failed}, the last: trial {row.number}, {row.reason}")
        self._advance(left)

    def begin_final(self, name: str, seed: int, number: int, of: int) -> None:
        """Starts a bar of its own for the last step."""
        super().begin_final(name, seed, number, of)
        if number == 1:
            self._restart("fresh trainings", of, 0)
        self._training = f"{name}, seed {seed}"
        self._tell(now=self._training)

    def end_final(
        self, name: str, seed: int, scores: Mapping[str, float], reason: str, left: float | None
    ) -> None:
        """Moves the bar by one fresh training."""
        super().end_final(name, seed, scores, reason, left)
        self._advance(left)

    def close(self) -> None:
        """Takes the view away."""
        self._live.stop()

    def _drawn(self) -> Group:
        """Returns the bar and, below it, a line for each thing that is known."""
        lines = [
            Text(f"  {name:<9}{text}", no_wrap=True, overflow="ellipsis")
            for name in ("best", "front", "feasible", "now", "failed")
            if (text := self._told.get(name))
        ]
        return Group(self._progress, *lines)

    def _tell(self, **told: str) -> None:
        self._told |= told
        self._live.refresh()

    def _restart(self, name: str, total: int, done: int) -> None:
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total, completed=done, left="")

    def _advance(self, left: float | None) -> None:
        self._progress.update(self._task, advance=1, left=time_left(left))
        self._live.refresh()


def watch_for(stream: TextIO, metric: str = "top1") -> Lines:
    """Returns a live view for a terminal and plain lines for anything else."""
    console = Console(file=stream)
    return Board(console, metric) if console.is_terminal else Lines(console, metric)
