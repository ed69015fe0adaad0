"""The `search` section: what may vary, within which budget, towards which score.

A target is an address like any other: a variable by name, a dotted place, or one repetition of a
stage. Its domain is written out, so a study means the same thing for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, floor

from flopwise.dsl.domains import Choice, Domain, Range
from flopwise.dsl.expr import Expression
from flopwise.dsl.functions import Value
from flopwise.errors import Fault, Place

__all__ = [
    "EvaluatorChoice",
    "Final",
    "Fit",
    "PrunerChoice",
    "SamplerChoice",
    "Search",
    "Window",
    "no_search",
]


@dataclass(frozen=True, slots=True)
class Window:
    """An inclusive range of one metric; None is open."""

    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"<= {self.high}" if self.low is None else f">= {self.low}"
        return f"{self.low}..{self.high}"

    @staticmethod
    def read(text: str) -> Window:
        """Returns the window that is spelled so; the inverse of `str`.

        >>> [Window.read(text) for text in ("<= 5", ">= 3")] == [Window(None, 5), Window(3, None)]
        True
        """
        if text[:2] in ("<=", ">="):
            edge = int(text[2:])
            return Window(None, edge) if text[0] == "<" else Window(edge, None)
        low, _, high = text.partition("..")
        return Window(int(low), int(high))

    def contains(self, value: int) -> bool:
        """Whether a value lies inside."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    def meets(self, other: Window) -> bool:
        """Whether some value lies in both."""
        lows = [w.low for w in (self, other) if w.low is not None]
        highs = [w.high for w in (self, other) if w.high is not None]
        return not lows or not highs or max(lows) <= min(highs)

    @staticmethod
    def around(target: float, within: float) -> Window:
        """Returns the window of a target and a share of it to both sides."""
        low, high = (round(target * (1 + share), 3) for share in (-within, within))
        return Window(ceil(low), floor(high))  # 1e9 * 1.001 is a hair below 1001000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One target that is solved for a cost instead of being sampled.

    Attributes:
        vary: The target.
        domain: Its values, whole numbers.
        metric: The cost it is solved for.
        goal: What the cost should be.
        window: What it may be.
        place: Where the fit is written.
    """

    vary: str
    domain: Choice | Range
    metric: str
    goal: float
    window: Window
    place: Place | None = field(default=None, repr=False, compare=False)

    def values(self) -> tuple[int, ...]:
        """Returns the values it may take, from small to large."""
        return tuple(sorted(int(value) for value in self.domain.values()))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.vary} in {self.domain} to {self.metric} {self.window}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerChoice:
    """Who proposes candidates, and its seed.

    Attributes:
        kind: One of the strategies; `class` for what an import path names.
        seed: Seed of the proposals.
        short: Epochs of the short trainings, as shares of the recipe's; one for each rung.
        scores: Scores without training that a model of the space may use; None leaves that open.
        path: The import path of a sampler.
        args: Its arguments.
    """

    kind: str = "tpe"
    seed: int = 0
    short: tuple[float, ...] = (0.1,)
    scores: tuple[str, ...] | None = None
    path: str = ""
    args: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorChoice:
    """Who scores candidates.

    Attributes:
        kind: training, table, function or score.
        source: The file of a table, FILE.py:NAME or MODULE:NAME of a function, or a score.
        key: Target -> column of a table; empty is every target, under its own name.
        hashed: Whether rows are found by the network's hash instead.
        scores: Score -> epochs -> columns, one for each seed; 0 stands for any number of epochs.
        place: Where it is written.
    """

    kind: str = "training"
    source: str = ""
    key: Mapping[str, str] = field(default_factory=dict)
    hashed: bool = False
    scores: Mapping[str, Mapping[int, tuple[str, ...]]] = field(default_factory=dict)
    place: Place | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunerChoice:
    """Who ends trainings that fall behind.

    Attributes:
        kind: halving; `class` for what an import path names; empty for nobody.
        within: How far apart two costs are similar, as a share.
        path: The import path of a pruner.
        args: Its arguments.
    """

    kind: str = ""
    within: float = 0.25
    path: str = ""
    args: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The last step: the best are trained again and judged on the test split.

    Attributes:
        top: How many of the best.
        seeds: Trainings of each, with seeds the search has not seen.
        epochs: Epochs of each; None is as many as the recipe says.
    """

    top: int = 3
    seeds: int = 3
    epochs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The `search` section.

    Attributes:
        space: Sampled target -> domain.
        when: Target -> what must be true for it to count; others always count.
        fit: The target that is solved for a cost, if there is one.
        budget: Metric -> window; one study each if there are several.
        require: Expressions that must be true of a candidate.
        objectives: `maximize` or `minimize`, and the score or cost; usually one.
        trials: How many candidates are trained.
        max_rejects: Draws that may be refused before a search gives up on finding one more.
        sampler: Who proposes them.
        evaluator: Who scores them.
        pruner: Who ends trainings that fall behind.
        final: How the best are judged.
        place: Where the budget is written.
        places: Where the domain of each target is written.
    """

    space: Mapping[str, Domain]
    when: Mapping[str, tuple[Expression, ...]] = field(default_factory=dict)
    fit: Fit | None = None
    budget: tuple[Mapping[str, Window], ...] = ()
    require: tuple[Expression, ...] = ()
    objectives: tuple[tuple[str, str], ...] = (("maximize", "top1"),)
    trials: int = 100
    max_rejects: int = 2000
    sampler: SamplerChoice = SamplerChoice()
    evaluator: EvaluatorChoice = EvaluatorChoice()
    pruner: PrunerChoice = PrunerChoice()
    final: Final = Final()
    place: Place | None = field(default=None, repr=False, compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, repr=False, compare=False)

    @property
    def objective(self) -> tuple[str, str]:
        """Direction and metric that trials are ranked by: the first of the objectives."""
        return self.objectives[0]

    def misses(self, costs: Mapping[str, int], budget: int = 0) -> Iterator[str]:
        """Yields why costs miss a budget or the goal of a fit, one sentence per metric."""
        for metric, window in self.windows(budget):
            if not window.contains(costs[metric]):
                yield f"{metric} {costs[metric]} misses {window}"

    def windows(self, budget: int = 0) -> Iterator[tuple[str, Window]]:
        """Yields every window that costs must lie in."""
        yield from self.budget[budget].items() if self.budget else ()
        if self.fit:
            yield self.fit.metric, self.fit.window


def no_search(name: str) -> Fault:
    """Says that a spec has nothing to search (E505)."""
    help_ = "add a section such as  search: {space: {w: {choice: [32, 64]}}}"
    return Fault(code="E505", message=f"'{name}' has no search section", helps=(help_,))
