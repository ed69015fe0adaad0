"""The evaluators that a spec can name: each gives a candidate its scores, most without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flopwise.dsl import Network, Recipe, Spec
from flopwise.dsl.consent import allow, digest, is_allowed
from flopwise.dsl.tables import SCORES
from flopwise.dsl.usercode import run_file
from flopwise.errors import Fault, Place, RunError, SpecError, nearest
from flopwise.search.evaluator import Evaluator, Measure, OnEpoch
from flopwise.search.results import read_results

if TYPE_CHECKING:  # a type only: the room imports torch
    from flopwise.nets.inherit import Start

__all__ = ["EVALUATORS", "evaluator_of", "from_function", "from_score", "home_of", "imported"]

LIBRARY = "optuna."
"""Import paths that need nobody's consent."""


def evaluator_of(
    spec: Spec, *, allow_code: bool = False, begin: Start | None = None, processes: int = 1
) -> tuple[Spec, Evaluator]:
    """Returns the evaluator that the search section of a spec names, and the spec it is for.

    Args:
        spec: A spec with a search section.
        allow_code: Whether a function may run although nobody allowed it before.
        begin: Weights that every training begins from; others than trainings know no weights.
        processes: Processes that share a training; others than trainings are not shared.

    Raises:
        SpecError: There is no such table, column or function, or it is not allowed to run.
    """
    assert spec.search, "only a search has an evaluator"
    kind = spec.search.evaluator.kind
    if kind == "training":
        from flopwise.search.training import trainings  # imports torch

        return trainings(spec, begin, processes)
    if processes > 1:
        raise RunError(
            f"'{kind}' trains nothing that {processes} GPUs could share; leave --gpus-per-trial out"
        )
    if begin:
        raise RunError(f"'{kind}' trains nothing that could begin from {begin.place}")
    return EVALUATORS[kind](spec, allow_code)


def from_function(
    function: Callable[[Network, Recipe], float | Mapping[str, float]],
    metric: str,
    facts: Mapping[str, Any],
) -> Evaluator:
    """Returns an evaluator that asks a function; a bare number is the objective."""

    def evaluate(network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch) -> Measure:
        began = perf_counter()
        given = function(network, recipe)
        scores = given if isinstance(given, Mapping) else {metric: given}
        plain = {name: float(value) for name, value in scores.items()}
        return Measure(scores=plain, seconds=perf_counter() - began)

    return Evaluator(evaluate=evaluate, facts=facts)


def from_score(name: str) -> Evaluator:
    """Returns an evaluator that asks for a score without training.

    Args:
        name: One of `flopwise.dsl.tables.SCORES`.
    """
    from flopwise.search.scores import score

    assert name in SCORES, "the spec was checked"
    return from_function(lambda network, _: score(name, network), "score", {"score": name})


def home_of(spec: Spec) -> Path:
    """Returns the folder that paths of a spec start from: its own, or the working folder."""
    return spec.path.parent if spec.path else Path.cwd()


def imported(path: str, folder: Path, place: Place | None, *, allow_code: bool) -> Any:
    """Returns what an import path names: MODULE:NAME, MODULE.NAME or FILE.py:NAME.

    Args:
        path: The import path.
        folder: Where a file is looked for.
        place: Where the spec says it.
        allow_code: Whether it may run although nobody allowed it before.

    Raises:
        SpecError: There is no such thing (E526), or it is not allowed to run (E114).
    """
    where, _, name = path.rpartition(":") if ":" in path else path.rpartition(".")
    if not where.endswith(".py"):
        _consent(path, path, place, allow_code or path.startswith(LIBRARY))
        return _found(_module(where, place), where, name, place)
    try:
        text = (folder / where).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        help_ = f"a file is looked for from {folder}"
        raise SpecError([_missing(f"'{where}' cannot be read: {error}", place, help_)]) from None
    _consent(text, where, place, allow_code)
    return _found(run_file(text, str(folder / where), where), where, name, place)


def _consent(text: str, name: str, place: Place | None, given: bool) -> None:
    """Remembers that a text may run, or refuses one that nobody allowed."""
    if given:
        allow(text, name)
    elif not is_allowed(text):
        fact = f"'{name}' is Python code, and nobody has allowed it to run"
        note = f"it would run during the search; SHA-256 {digest(text)[:16]}..."
        helps = ("read the code; if you trust it, add --allow-code to the command, once",)
        raise SpecError([Fault(code="E114", message=fact, place=place, helps=helps, notes=(note,))])


def _module(where: str, place: Place | None) -> Any:
    try:
        return resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        help_ = "install the package, or name a file as in  ./score.py:score"
        raise SpecError(
            [_missing(f"'{where}' cannot be imported: {error}", place, help_)]
        ) from None


def _found(module: Any, where: str, name: str, place: Place | None) -> Any:
    if not hasattr(module, name):
        near = nearest(name, [each for each in vars(module) if not each.startswith("_")])
        helps = (f"did you mean '{near}'?",) if near else ()
        raise SpecError([_missing(f"'{where}' has no '{name}'", place, *helps)])
    return getattr(module, name)


def _missing(fact: str, place: Place | None, *helps: str) -> Fault:
    return Fault(code="E526", message=fact, place=place, helps=helps)


def _table(spec: Spec, allow_code: bool) -> tuple[Spec, Evaluator]:
    assert spec.search
    results = read_results(spec.search, home_of(spec))
    return spec, Evaluator(evaluate=results.evaluate, facts=results.facts)


def _function(spec: Spec, allow_code: bool) -> tuple[Spec, Evaluator]:
    assert spec.search
    choice = spec.search.evaluator
    function = imported(choice.source, home_of(spec), choice.place, allow_code=allow_code)
    if not callable(function):
        raise SpecError([_missing(f"'{choice.source}' is no function", choice.place)])
    facts = {"function": choice.source}
    return spec, from_function(function, spec.search.objective[1], facts)


def _score(spec: Spec, allow_code: bool) -> tuple[Spec, Evaluator]:
    assert spec.search
    return spec, from_score(spec.search.evaluator.source)


EVALUATORS: Mapping[str, Callable[[Spec, bool], tuple[Spec, Evaluator]]] = {
    "table": _table,
    "function": _function,
    "score": _score,
}
"""What a spec names besides trainings -> who makes it."""
