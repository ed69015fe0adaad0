"""Spaces as tables of costs: exact sizes, exact costs, uniform draws of what is feasible."""

from __future__ import annotations

from flopwise.spaces.costs import METRICS, CostTables, cost_tables
from flopwise.spaces.counted import counted
from flopwise.spaces.feasible import FeasibleSpace, feasible_space
from flopwise.spaces.levels import Tell
from flopwise.spaces.shares import Sample, Share

__all__ = [
    "METRICS",
    "CostTables",
    "FeasibleSpace",
    "Sample",
    "Share",
    "Tell",
    "cost_tables",
    "counted",
    "feasible_space",
]
