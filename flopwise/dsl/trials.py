"""The keys of how a search tries candidates: who proposes, who scores, who ends a training."""

from __future__ import annotations

from flopwise.dsl.values import Rule, by_key

__all__ = ["EVALUATOR", "PRUNER", "SAMPLER", "SAMPLERS", "SCORES"]

SAMPLERS = ("tpe", "random", "grid", "nsga2", "evolution", "screened")
SCORES = (
    "macs",
    "params",
    "activations",
    "depth",
    "grad_norm",
    "snip",
    "synflow",
    "naswot",
    "swap",
    "expressivity",
    "progressivity",
    "trainability",
)
"""What may be said of a network before it is trained."""

SAMPLER = by_key(
    Rule(
        name="kind",
        type="text",
        choices=SAMPLERS,
        example="kind: tpe",
        doc="tpe, nsga2 (for several objectives) and evolution learn; screened trains many for a "
        "short time first; random draws; grid lists all.",
    ),
    Rule(
        name="seed", type="int", low=0, high=2**32, example="seed: 0", doc="Seed of the proposals."
    ),
    Rule(
        name="short",
        type="any",
        example="short: 10%",
        doc="screened: the epochs of a short training, as a share of the recipe's; or a list of "
        "shares, from rung to rung.",
    ),
    Rule(
        name="scores",
        type="list",
        example="scores: [synflow, naswot]",
        doc="screened: scores without training that its model of the space may use; [] is none. "
        "Unless written, expressivity, progressivity, trainability and swap where they cost little "
        "beside the short trainings.",
    ),
    Rule(
        name="class",
        type="text",
        example="class: optuna.samplers.GPSampler",
        doc="A sampler of Optuna, or one of yours, by its import path; instead of kind.",
    ),
    Rule(
        name="args",
        type="map",
        example="args: {n_startup_trials: 5}",
        doc="Its arguments; the seed is not one of them.",
    ),
)
EVALUATOR = by_key(
    Rule(
        name="table",
        type="text",
        example="table: results.csv",
        doc="A file of known results: .csv, .csv.gz or .json, with a row for each candidate.",
    ),
    Rule(
        name="key",
        type="any",
        example="key: {w: width}",
        doc="Which row: targets that are columns, a map from target to column, or hash; all "
        "targets if not written.",
    ),
    Rule(
        name="scores",
        type="map",
        example="scores: {top1: [accuracy_1, accuracy_2]}",
        doc="Score -> column, or columns of several seeds, or a map such as {at_12: COLUMN}.",
    ),
    Rule(
        name="function",
        type="text",
        example="function: ./score.py:score",
        doc="A function of (network, recipe) that returns the objective, or a map of scores: "
        "FILE.py:NAME or MODULE:NAME.",
    ),
    Rule(
        name="score",
        type="text",
        choices=SCORES,
        example="score: synflow",
        doc="A score without training.",
    ),
    Rule(
        name="insist",
        type="bool",
        example="insist: true",
        doc="true lets a score without training be the objective.",
    ),
)
PRUNER = by_key(
    Rule(
        name="kind",
        type="text",
        choices=("halving",),
        example="kind: halving",
        doc="After 1, 3, 9 ... epochs only the best third of the trials of similar cost goes on.",
    ),
    Rule(
        name="within",
        type="percent",
        low=0,
        high=10,
        example="within: 25%",
        doc="halving: how far apart two costs are similar.",
    ),
    Rule(
        name="class",
        type="text",
        example="class: optuna.pruners.MedianPruner",
        doc="A pruner of Optuna, or one of yours, by its import path; for one objective.",
    ),
    Rule(name="args", type="map", example="args: {n_warmup_steps: 2}", doc="Its arguments."),
)
