"""Search: points of a space become trials inside a budget. Optuna lives in this room only."""

from __future__ import annotations

from flopwise.search.compare import Comparison
from flopwise.search.evaluator import Evaluator, Measure, Verdict
from flopwise.search.record import FinalRow, TrialRow
from flopwise.search.run import search, work
from flopwise.search.session import Outcome
from flopwise.search.watch import Plan, Watch
from flopwise.search.winner import Winner

__all__ = [
    "Comparison",
    "Evaluator",
    "FinalRow",
    "Measure",
    "Outcome",
    "Plan",
    "TrialRow",
    "Verdict",
    "Watch",
    "Winner",
    "search",
    "work",
]
