"""How long the rest of a search takes, by what its trainings took so far."""

from __future__ import annotations

from collections.abc import Sequence

from flopwise.search.record import TrialRow
from flopwise.search.strategy import Rungs

__all__ = ["seconds_left"]


def seconds_left(
    rows: Sequence[TrialRow], rungs: Rungs, processes: int = 1, finals: float = 0.0
) -> float | None:
    """Returns the seconds to go; None before the first training has ended.

    A training takes the mean of those of its length; where none of them has ended, what others of
    the search took for the same number of epochs.

    Args:
        rows: The trials so far.
        rungs: Length and number of all trainings that are wanted.
        processes: How many do them.
        finals: Trainings of the last step, in full ones; nothing ends those early.
    """
    timed = [row for row in rows if row.state not in ("running", "waiting") and row.seconds]
    whole = [row for row in timed if row.state == "done"] or timed
    if not whole:
        return None
    pace = sum(row.seconds for row in whole) / sum(row.share for row in whole)
    total = finals * (_mean(whole, 1.0) or pace)
    for share, count in rungs:
        ended = sum(row.state not in ("running", "waiting") and row.share == share for row in rows)
        total += max(count - ended, 0) * (_mean(timed, share) or pace * share)
    return total / processes


def _mean(timed: Sequence[TrialRow], share: float) -> float:
    """Returns the mean seconds of trainings of a length; 0 where there is none."""
    seconds = [row.seconds for row in timed if row.share == share]
    return sum(seconds) / len(seconds) if seconds else 0.0
