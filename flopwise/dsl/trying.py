"""Reading how a search tries candidates: `sampler`, `evaluator` and `pruner`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from flopwise.dsl.checker import Checker
from flopwise.dsl.space import EvaluatorChoice, PrunerChoice, SamplerChoice, Search
from flopwise.dsl.tables import EVALUATOR, METRICS, OBJECTIVES, PRUNER, SAMPLER, SCORES
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Rule
from flopwise.errors import nearest

__all__ = ["read_trying"]

GRID = 20_000
"""Most points of a space that a grid lists."""
KINDS = ("table", "function", "score")
ONLY = {"key": "table", "scores": "table", "insist": "score"}
"""Keys of an evaluator that only one kind of them has."""
PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
FUNCTION = re.compile(r"(.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
EPOCHS = re.compile(r"at_[0-9]{1,6}")
VALUE = Rule(name="", type="value")


def read_trying(checker: Checker, search: Search, nodes: Mapping[str, Node]) -> Search:
    """Returns a search with its sampler, its evaluator and its pruner.

    Args:
        checker: Takes the faults.
        search: What else the section says.
        nodes: The keys of the section whose values have the right form.

    Raises:
        SpecError: Every fault of these keys.
    """
    if isinstance(node := nodes.get("evaluator"), Section):
        search = replace(search, evaluator=_evaluator(checker, node, search))
    if isinstance(node := nodes.get("sampler"), Section):
        search = replace(search, sampler=_sampler(checker, node))
    if isinstance(node := nodes.get("pruner"), Section):
        search = replace(search, pruner=_pruner(checker, node, search))
    checker.stop_if_faulty()
    search = _scored(checker, search, nodes)
    search = _sampled(checker, search, nodes)
    checker.stop_if_faulty()
    return search


def _sampler(checker: Checker, node: Section) -> SamplerChoice:
    found: dict[str, Any] = dict(checker.literals(node, SAMPLER, "'sampler'", node.place))
    found |= _imported(checker, node, found, "sampler", "optuna.samplers.GPSampler")
    if isinstance(scores := node.entries.get("scores"), Items):
        rule = Rule(name="scores", type="text", choices=SCORES)
        read = [checker.literal(each, rule, "one of 'scores'") for each in scores.items]
        found["scores"] = tuple(str(each) for each in read if each is not None)
    if "short" in node.entries:
        found["short"] = tuple(_shares(checker, node.entries["short"]))
    for key in ("short", "scores"):
        if key in node.entries and found.get("kind") != "screened":
            fact = f"'{key}' belongs to the sampler screened"
            checker.fault("E524", fact, node.keys[key], "write  kind: screened, or delete it")
    return SamplerChoice(**found)


def _shares(checker: Checker, node: Node) -> Iterator[float]:
    rule = Rule(name="short", type="percent", low=0.001, high=1)
    for each in node.items if isinstance(node, Items) else (node,):
        value = checker.literal(each, rule, "'short'")
        if isinstance(value, int | float):
            yield float(value)


def _pruner(checker: Checker, node: Section, search: Search) -> PrunerChoice:
    found: dict[str, Any] = dict(checker.literals(node, PRUNER, "'pruner'", node.place))
    found |= _imported(checker, node, found, "pruner", "optuna.pruners.MedianPruner")
    if found.get("kind") == "class" and len(search.objectives) > 1:
        fact = "a pruner of Optuna compares one score, but this search has several objectives"
        note = "halving compares trials of similar cost only"
        checker.fault("E525", fact, node.place, "write  pruner: {kind: halving}", note=note)
    if not found.get("kind"):
        fact = "'pruner' names none"
        checker.fault("E524", fact, node.place, "write  pruner: {kind: halving}")
    return PrunerChoice(**found)


def _imported(
    checker: Checker, node: Section, found: dict[str, Any], what: str, example: str
) -> dict[str, Any]:
    """Returns the import path and the arguments of a class of somebody else's."""
    path = found.pop("class", None)
    args = node.entries.get("args")
    for name in [n for n in ("kind",) if path and n in found] + ["args"] * bool(args and not path):
        fact = f"'{what}' has both 'kind' and 'class'" if path else "'args' belongs to a 'class'"
        helps = (f"delete '{name}'",) if path else (f"delete 'args', or write  class: {example}",)
        checker.fault("E524", fact, node.keys[name], *helps)
    if path and not PATH.fullmatch(str(path)):
        fact = f"'{path}' is no import path"
        checker.fault("E524", fact, node.entries["class"].place, f"write it as in  {example}")
    made = {"kind": "class", "path": path} if path else {}
    return made | ({"args": _arguments(checker, args)} if isinstance(args, Section) else {})


def _arguments(checker: Checker, node: Section) -> dict[str, Any]:
    read = {n: checker.literal(each, VALUE, f"'{n}'") for n, each in node.entries.items()}
    return {name: value for name, value in read.items() if value is not None}


def _evaluator(checker: Checker, node: Section, search: Search) -> EvaluatorChoice:
    found = checker.literals(node, EVALUATOR, "'evaluator'", node.place)
    kinds = [kind for kind in KINDS if kind in node.entries]
    if len(kinds) != 1:
        fact = f"'evaluator' has {' and '.join(kinds)}" if kinds else "'evaluator' names none"
        helps = "write one of  table: results.csv,  function: score.py:score,  score: synflow"
        checker.fault("E520", fact, node.place, helps)
        return EvaluatorChoice()
    kind = kinds[0]
    for key, owner in ONLY.items():
        if key in node.entries and owner != kind:
            fact = f"'{key}' belongs to a {owner}, but this evaluator is a {kind}"
            checker.fault("E520", fact, node.keys[key], "delete it")
    choice = EvaluatorChoice(kind=kind, source=str(found.get(kind, "")), place=node.place)
    if kind == "function" and not FUNCTION.fullmatch(choice.source):
        fact = f"'{choice.source}' does not name a function"
        help_ = "write  function: ./score.py:score  or  function: my_package.scores:score"
        checker.fault("E520", fact, node.entries[kind].place, help_)
    if kind == "score" and found.get("insist") is not True:
        fact = f"'{choice.source}' is known before any training; it does not say how good one is"
        note = "among networks of equal cost such scores rank some spaces backwards"
        help_ = "delete 'evaluator' to train; or, to search for this number all the same, add  "
        checker.fault("E523", fact, node.entries[kind].place, f"{help_}insist: true", note=note)
    return _tabled(checker, node, search, choice) if kind == "table" else choice


def _tabled(
    checker: Checker, node: Section, search: Search, choice: EvaluatorChoice
) -> EvaluatorChoice:
    if "scores" not in node.entries:
        fact = "the evaluator does not say which columns of the table are scores"
        checker.fault("E522", fact, node.place, "add  scores: {top1: COLUMN}")
    key, hashed = dict(_key(checker, node.entries.get("key"), search)), False
    if isinstance(inner := node.entries.get("key"), Scalar):
        hashed = inner.value == "hash"
        if not hashed:
            fact = "'key' is hash, a list of targets, or a map from targets to columns"
            help_ = f"write  key: [{', '.join(list(search.space)[:3])}]"
            checker.fault("E521", fact, inner.place, help_)
    scores = node.entries.get("scores")
    read = dict(_scores(checker, scores)) if isinstance(scores, Section) else {}
    return replace(choice, key=key, hashed=hashed, scores=read)


def _key(checker: Checker, node: Node | None, search: Search) -> Iterator[tuple[str, str]]:
    """Yields targets, each with the column that holds its values."""
    pairs: list[tuple[str, Node]] = []
    if isinstance(node, Items):
        pairs = [(str(each.value), each) for each in node.items if isinstance(each, Scalar)]
    elif isinstance(node, Section):
        pairs = list(node.entries.items())
    fitted = [search.fit.vary] if search.fit else []
    for target, inner in pairs:
        if target not in (*search.space, *fitted):
            near = nearest(target, [*search.space, *fitted])
            helps = [f"did you mean '{near}'?"] if near else []
            fact = f"'key' names '{target}', which is no target of the space"
            checker.fault("E521", fact, inner.place, *helps)
        column = inner.value if isinstance(node, Section) and isinstance(inner, Scalar) else target
        yield target, str(column)


def _scores(checker: Checker, node: Section) -> Iterator[tuple[str, Mapping[int, tuple[str, ...]]]]:
    """Yields scores, each with its columns by epochs."""
    for name, inner in node.entries.items():
        if name not in OBJECTIVES:
            near = nearest(name, OBJECTIVES)
            helps = [f"did you mean '{near}'?"] if near else []
            fact, note = f"'{name}' is no score", f"scores: {', '.join(OBJECTIVES)}"
            checker.fault("E522", fact, node.keys[name], *helps, note=note)
        by_epochs = inner.entries if isinstance(inner, Section) else {"at_0": inner}
        wrong = [key for key in by_epochs if not EPOCHS.fullmatch(key)]
        if wrong:
            fact = f"'{name}' has columns for several lengths of training, but '{wrong[0]}' is none"
            help_ = f"write  {name}: {{at_12: COLUMN, at_200: COLUMN}}"
            checker.fault("E522", fact, inner.place, help_)
            continue
        yield name, {int(key[3:]): _columns(each) for key, each in by_epochs.items()}


def _columns(node: Node) -> tuple[str, ...]:
    several = node.items if isinstance(node, Items) else (node,)
    return tuple(str(each.value) for each in several if isinstance(each, Scalar))


def _scored(checker: Checker, search: Search, nodes: Mapping[str, Node]) -> Search:
    """Returns the search with an objective that its evaluator gives."""
    kind = search.evaluator.kind
    if kind == "score" and "objective" not in nodes:
        search = replace(search, objectives=(("maximize", "score"),))
    given = {
        "training": OBJECTIVES[:3],
        "table": tuple(search.evaluator.scores),
        "function": OBJECTIVES,
        "score": ("score",),
    }[kind]
    for _, metric in search.objectives:
        if metric not in (*given, *METRICS):
            node = nodes.get("objective") or nodes.get("evaluator")
            assert node, "the objective of trainings is given by them"
            fact = f"the objective is '{metric}', which the evaluator does not give"
            note = f"a {kind} gives {', '.join(given)}"
            help_ = f"write  objective: {{maximize: {given[0]}}}" if given else "name a score"
            checker.fault("E522", fact, node.place, help_, note=note)
    return search


def _sampled(checker: Checker, search: Search, nodes: Mapping[str, Node]) -> Search:
    """Returns the search with a sampler that suits it."""
    node = nodes.get("sampler")
    written = isinstance(node, Section) and {"kind", "class"} & node.entries.keys()
    if len(search.objectives) > 1 and not written:
        return replace(search, sampler=replace(search.sampler, kind="nsga2"))
    if search.sampler.kind == "grid" and isinstance(node, Section):
        place, help_ = node.entries["kind"].place, "write  kind: tpe  or  kind: random"
        endless = [name for name, domain in search.space.items() if not isfinite(domain.size)]
        points = 1.0
        for domain in search.space.values():
            points *= domain.size
        if endless:
            fact = f"a grid lists every value, but '{endless[0]}' has endlessly many"
            checker.fault("E511", fact, place, f"give '{endless[0]}' a step", help_)
        elif points > GRID:
            fact = f"a grid lists every point, but this space has {points:,.0f}"
            note = f"at most {GRID:,} points are listed"
            checker.fault("E511", fact, place, help_, note=note)
    return search
