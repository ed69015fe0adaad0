"""How much of a space is feasible, for who warns of a budget that hardly anything meets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from flopwise.dsl import Spec
from flopwise.dsl.probe import Counted
from flopwise.dsl.spent import Unsteady
from flopwise.spaces.costs import CostTables, cost_tables
from flopwise.spaces.feasible import FeasibleSpace

__all__ = ["counted"]


@lru_cache(maxsize=4)
def counted(spec: Spec) -> Callable[[int], Counted | None]:
    """Returns what counts the feasible part of a spec's space under one of its budgets.

    It gives None where the space cannot be compiled to tables; these are made when first needed.
    """

    @cache
    def tables() -> CostTables | None:
        try:
            return cost_tables(spec)
        except Unsteady:
            return None

    def count(budget: int) -> Counted | None:
        made = tables()
        if made is None or spec.search is None:
            return None
        found = FeasibleSpace(made, spec.search, budget).share()
        return Counted(size=found.size, share=found.share, exact=found.exact)

    return count
