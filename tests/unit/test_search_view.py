"""What a person sees of a search."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from flopwise.search import FinalRow, Outcome, Plan, TrialRow, Winner
from flopwise.search.candidates import Probe
from flopwise.search.compare import compare
from flopwise.search.live import Board, watch_for
from flopwise.search.pace import seconds_left
from flopwise.search.tables import trial_table
from flopwise.search.view import Lines, duration, plan_lines, show, trial_line

COSTS = {"macs": 1_250_000, "params": 40_000, "activations": 9_000}
PROBE = Probe(size=640, looked=500, feasible=20, complete=False)
PLAN = Plan(
    probe=PROBE,
    rungs=((1.0, 24),),
    done=3,
    epochs=5,
    images=10_000,
    finals=6,
    final_epochs=20,
)


def row(number: int, top1: float | None, **more: bool) -> TrialRow:
    return TrialRow(
        number=number,
        state="failed" if top1 is None else "done",
        picks={"w": 8 + number},
        costs=COSTS,
        hash="h",
        identity=f"i{number}",
        scores={} if top1 is None else {"top1": top1},
        seconds=12.0,
        images_per_s=4_200.0,
        outside_share=0.02,
        reason="DivergedError: the loss is nan" if top1 is None else "",
        **more,
    )


def finals() -> tuple[FinalRow, FinalRow]:
    rng = np.random.default_rng(0)
    right = [rng.random(360) < 0.9 for _ in range(3)]
    tests = tuple({"top1": 100 * float(r.mean())} for r in right)
    baseline = FinalRow(
        name="baseline",
        trial=0,
        picks={},
        costs=COSTS,
        hash="h",
        search={"top1": 90.0},
        tests=tests,
        seeds=(1, 2, 3),
    )
    top = FinalRow(
        name="top 1",
        trial=1,
        picks={"w": 9},
        costs=COSTS,
        hash="g",
        search={"top1": 93.5},
        tries=2,
        tests=tests,
        seeds=(1, 2, 3),
        versus=compare(right, right),
    )
    return baseline, top


def printed(width: int = 80) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width), stream


def events(watch: Lines) -> None:
    best = row(1, 93.5)
    watch.plan(PLAN)
    watch.front([best], False)
    watch.begin(row(0, 90.0), 24)
    watch.epoch(1, 5, {"top1": 50.0})
    watch.end(row(0, 90.0), row(0, 90.0), 600.0)
    watch.end(best, best, 500.0)
    watch.end(row(2, None), best, 400.0)
    watch.begin_final("baseline", 1, 1, 6)
    watch.end_final("baseline", 1, {"top1": 91.2}, "", 90.0)
    watch.close()


def test_a_plan_says_what_will_be_done_and_how_much_it_is() -> None:
    text = "\n".join(plan_lines(PLAN))
    assert "640 points" in text and "20 feasible of 500" in text
    assert "24 trials x 5 epochs x 10,000 images" in text and "6 fresh trainings" in text
    assert f"{10_000 * (24 * 5 + 6 * 20):,} images in all" in text


def test_a_plan_counts_short_trainings_as_short() -> None:
    plan = replace(PLAN, rungs=((0.4, 20), (1.0, 4)))
    text = "\n".join(plan_lines(plan))
    assert "plan: (20 trials x 2 epochs + 4 trials x 5 epochs) x 10,000 images, then 6" in text
    assert f"{10_000 * (20 * 2 + 4 * 5 + 6 * 20):,} images in all" in text


def test_the_time_to_go_knows_that_long_trainings_take_longer() -> None:
    rungs = ((0.1, 10), (1.0, 2))
    short = [replace(row(at, 50.0), share=0.1, seconds=6.0) for at in range(4)]
    assert seconds_left([], rungs) is None
    assert seconds_left(short, rungs) == pytest.approx(6 * 6 + 2 * 60)
    assert seconds_left(short, rungs, 2, finals=0.5) == pytest.approx((6 * 6 + 2.5 * 60) / 2)
    full = replace(row(10, 60.0), seconds=80.0)  # longer than what the short ones say
    assert seconds_left([*short, full], rungs) == pytest.approx(6 * 6 + 80)
    pruned = replace(row(5, None), state="stopped", seconds=20.0)
    running = replace(row(6, None), state="running", seconds=0.0)
    left = seconds_left([full, pruned, running], ((1.0, 8),), finals=1)
    assert left == pytest.approx(6 * (80 + 20) / 2 + 80)  # the last step is not pruned


def test_the_table_of_trials_puts_short_trainings_below_full_ones() -> None:
    rows = [replace(row(0, 99.0), share=0.1, epochs=2), replace(row(1, 60.0), epochs=20)]
    console, stream = printed()
    console.print(trial_table([*rows, replace(row(2, 70.0), epochs=20)]))
    lines = [line.split("│")[1:4] for line in stream.getvalue().splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells == [["2", "70.00", "20"], ["1", "60.00", "20"], ["0", "99.00", "2"]]
    assert "val top1 99.00 after 2 epochs;" in trial_line(rows[0], None, "top1")


def test_a_training_that_a_pruner_ended_did_not_fail() -> None:
    ended = replace(row(4, None), state="stopped", reason="ended after 3 of 9 epochs")
    told = trial_line(ended, None, "top1")
    assert told.startswith("trial 4: stopped (ended after 3 of 9 epochs); 1.25 MMACs")


def test_a_log_gets_one_line_per_trial_and_no_control_characters() -> None:
    console, stream = printed()
    events(Lines(console))
    text = stream.getvalue()
    assert "\x1b" not in text and "\r" not in text
    assert sum(line.startswith("trial ") for line in text.splitlines()) == 3
    assert "trial 2: failed (DivergedError: the loss is nan)" in text
    assert "trial 1: val top1 93.50 (best)" in text
    assert "4,200 images/s, 2% of CPU time outside the network; about 10 min to go" in text


@pytest.mark.parametrize("width", [60, 140])
def test_a_terminal_gets_one_view_that_says_all_of_it_and_fits(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    board = Board(console)
    events(board)
    board.front([row(1, 93.5), row(0, 90.0)], True)
    board.workers(["trial 4 epoch 2", "trial 5 epoch 1"])
    with console.capture() as seen:
        console.print(board._drawn())
    lines = [line.rstrip() for line in seen.get().splitlines()]
    assert "fresh trainings" in lines[0] and "1/6" in lines[0] and "90 s left" not in lines[0]
    assert lines[1].startswith("  best     top1 93.50 (trial 1); 1.25 MMACs; w=9")
    assert lines[2].startswith("  front    2 that no other beats: 1.25 MMACs 93.50")
    assert lines[3] == "  feasible 4 % of the space"
    assert lines[4] == "  now      2 workers: trial 4 epoch 2, trial 5 epoch 1"
    assert lines[5].startswith("  failed   1, the last: trial 2, DivergedError: the")
    assert len(lines) == 6 and max(map(len, lines)) <= width


def test_only_a_terminal_gets_a_bar() -> None:
    assert type(watch_for(io.StringIO())) is Lines


def test_the_end_shows_the_optimistic_and_the_fresh_score_side_by_side_and_calls_a_tie_a_tie() -> (
    None
):
    console, stream = printed()
    rows = (row(0, 90.0, written=True), row(1, 93.5), row(2, None))
    show(Outcome(folder=None, trials=rows, finals=finals()), console)  # type: ignore[arg-type]
    text = stream.getvalue()
    assert "0 (baseline)" in text and "search" in text and "fresh" in text
    assert "(best of)" in text and "93.50 (2)" in text and "a tie" in text
    assert "seeds 1, 2, 3" in text and "2 standard errors" in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 80


def test_a_baseline_that_wins_is_said_to_win() -> None:
    console, stream = printed()
    winner = Winner(
        name="baseline",
        trial=0,
        picks={},
        hash="h",
        costs=COSTS,
        weights=None,
        kind="raw",
        seed=1,
        search={},
        validation={},
    )
    outcome = Outcome(folder=None, trials=(row(0, 90.0),), winner=winner)  # type: ignore[arg-type]
    show(outcome, console)
    assert "the hand-written baseline is itself the best trial" in stream.getvalue()


def test_times_are_said_in_the_unit_that_fits() -> None:
    assert [duration(t) for t in (42, 600, 9_000)] == ["42 s", "10 min", "2.5 h"]
