"""Regret of the strategies at equal cost, on tables of real trained accuracies.

    python benchmarks/nas_bench.py macro --repeats 500 --out benchmarks/results/nas_bench_macro.json
    python benchmarks/nas_bench.py 201 --repeats 500 --out benchmarks/results/nas_bench_201.json

`macro`: NAS-Bench-Macro inside 50 M MACs +-5 %, 50 trainings. An observation is the accuracy of one
of the three seeds, drawn anew in every repeat; regret is the best mean of three seeds inside the
window minus that of the network with the best observation, in points.

`201`: NAS-Bench-201 at equal MACs, 10 full trainings' worth; a short training costs 6 % of a full
one (12 of 200 epochs). Its accuracies after 200 epochs are not in this repository: `--full FILE
--column NAME` reads them from a CSV with the columns e10 to e32, or with the text of the benchmark
in a column `cell`. Without, a column of the 12-epoch table takes the place of the full training and
another one, of trainings on half the images, that of the short one; `--agreement 0.8` adds noise to
the short one until it ranks the window that well.

`--scores` names the scores without training that the model sees. Those that were measured are in
`results/nas_bench_*_scores.jsonl`; others take about a second a network and are added there.

Of every strategy it is counted how many trainings lay outside the budget or were done before; but
for TPE with penalties, whose proposals outside the budget are counted as refused, one is a failure.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.nas_tables import Bench, cells, macro
from flopwise.search.candidates import made
from flopwise.search.encoding import suggest
from flopwise.search.evolution import evolve
from flopwise.search.sampler import FeasibleSampler
from flopwise.search.screened import Screened, best
from flopwise.search.strategies import SCORES, STRATEGIES, TPE
from flopwise.search.strategy import Moment, Past, Proposal, trainings_of, uniform
from flopwise.search.surrogate import fit, spearman


class History(list[Past]):
    """What was trained, and how many proposals outside the budget were not."""

    refused = 0


class Replayed(Moment):
    """A moment without a study: the history is given."""

    def __init__(self, bench: Bench, number: int, seed: int, history: list[Past]) -> None:
        super().__init__(None, number, bench.candidates, seed)  # type: ignore[arg-type]
        vars(self)["past"] = history
        vars(self)["begun"] = [(past.identity, past.share) for past in history]


def plain(bench: Bench, seed: int, propose: Callable[[Moment], Any], count: int) -> list[Past]:
    """Runs a strategy without Optuna."""
    history: list[Past] = []
    while len(history) < count:
        moment = Replayed(bench, len(history), seed, history)
        proposal = propose(moment)
        if proposal is None:
            break
        candidate, share = proposal.candidate, proposal.share
        assert candidate.feasible and (candidate.identity, share) not in moment.begun
        score = bench.seen(made(candidate.picks), share, seed)
        history.append(Past(candidate.picks, candidate.identity, share, score))
    return history


def random(bench: Bench, seed: int) -> list[Past]:
    return plain(bench, seed, uniform, bench.trials)


def evolution(bench: Bench, seed: int) -> list[Past]:
    def propose(moment: Moment) -> Any:
        return evolve(moment, None) or uniform(moment)  # type: ignore[arg-type]

    return plain(bench, seed, propose, bench.trials)


def screened(bench: Bench, seed: int) -> list[Past]:
    strategy = Screened(bench.trials, (bench.short,), bench.features)
    return plain(bench, seed, strategy, trainings_of(strategy.rungs))


def halving(bench: Bench, seed: int) -> list[Past]:
    """The rungs of the screened strategy without its model: draws, and their scores decide."""
    short, full = Screened(bench.trials, (bench.short,), bench.features).rungs

    def propose(moment: Moment) -> Any:
        if len(moment.begun) < short[1]:
            return Proposal(moment.uniform(), short[0])
        rung = [past for past in moment.past if past.share == short[0]]
        taken = {identity for identity, share in moment.begun if share == full[0]}
        found = best(rung, [past.score for past in rung], taken)
        return found and Proposal(bench.candidates.judge(found.picks), full[0])

    return plain(bench, seed, propose, short[1] + full[1])


def tpe(bench: Bench, seed: int) -> list[Past]:
    """Feasible TPE, the default."""
    strategy = STRATEGIES["tpe"](bench.spec, bench.trials)
    sampler = FeasibleSampler(bench.candidates, strategy, seed=seed)
    return asked(bench, sampler, seed)


def penalties(bench: Bench, seed: int) -> list[Past]:
    """Optuna's TPE with the budget as a constraint; what misses it is told, and not trained."""
    return asked(bench, optuna.samplers.TPESampler(seed=seed, **TPE), seed)


def asked(bench: Bench, sampler: optuna.samplers.BaseSampler, seed: int) -> list[Past]:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    history = History()
    while len(history) < bench.trials:
        trial = study.ask()
        picks = {n: suggest(trial, n, d) for n, d in bench.candidates.domains.items()}
        candidate = bench.candidates.judge(picks)
        trial.set_user_attr("picks", dict(picks))
        trial.set_user_attr("identity", candidate.identity)
        trial.set_constraint("budget", candidate.distance)
        score = bench.seen(made(picks), 1.0, seed) if candidate.feasible else 0.0
        history.refused += not candidate.feasible
        if candidate.feasible:
            history.append(Past(picks, candidate.identity, 1.0, score))
        study.tell(trial, score)
    return history


RUNS: Mapping[str, Callable[[Bench, int], list[Past]]] = {
    "random": random,
    "evolution": evolution,
    "tpe with penalties": penalties,
    "tpe": tpe,
    "halving": halving,
    "screened": screened,
}

WASTEFUL = ("tpe with penalties",)
"""What may propose a network outside the budget, which is not trained, or one again."""


def surrogate(bench: Bench, repeats: int, count: int = 10) -> Iterator[float]:
    """Yields how well a model of a few random trainings ranks all others inside the window."""
    pool = bench.pool
    known = bench.features(pool)
    truth = np.array([bench.truth[made(each.picks)] for each in pool])
    share = bench.short
    for repeat in range(repeats):
        chosen = np.random.default_rng(repeat).choice(len(pool), count, replace=False)
        scores = [bench.seen(made(pool[at].picks), share, repeat) for at in chosen]
        predicted = fit(known.of(chosen), scores)(known)
        left = np.setdiff1d(np.arange(len(pool)), chosen)
        yield spearman(predicted[left], truth[left])


def agreement(bench: Bench) -> float:
    """Returns how well short trainings rank the window, in one repeat."""
    names = sorted(bench.truth)
    seen = [bench.seen(name, bench.short, 0) for name in names]
    return spearman(np.array(seen), np.array([bench.truth[name] for name in names]))


def summary(values: list[float], seconds: float) -> dict[str, float]:
    error = float(np.std(values, ddof=1) / len(values) ** 0.5)
    return {
        "mean": round(float(np.mean(values)), 4),
        "standard_error": round(error, 4),
        "repeats": len(values),
        "cpu_seconds": round(seconds, 1),
    }


def save(options: argparse.Namespace, record: Mapping[str, Any]) -> None:
    """Writes what is known so far."""
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def measured(bench: Bench, options: argparse.Namespace, record: dict[str, Any]) -> None:
    found: dict[str, Any] = {}
    for name in options.strategies:
        repeats = min(options.repeats, options.slow) if "tpe" in name else options.repeats
        started, regrets = time.process_time(), []
        waste = {"infeasible": 0, "duplicates": 0, "refused": 0}
        for seed in range(repeats):
            history = RUNS[name](bench, seed)
            regrets.append(bench.regret(history))
            numbers = (*bench.counted(history), getattr(history, "refused", 0))
            waste = {key: waste[key] + more for key, more in zip(waste, numbers, strict=True)}
        if any(waste.values()) and name not in WASTEFUL:
            raise AssertionError(f"{name}: {waste}")
        found[name] = {**summary(regrets, time.process_time() - started), **waste}
        print(name, found[name], flush=True)
        save(options, record | found)
    started = time.process_time()
    agreements = list(surrogate(bench, options.repeats))
    found["spearman of the model of 10"] = summary(agreements, time.process_time() - started)
    print(found["spearman of the model of 10"], flush=True)
    save(options, record | found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bench", choices=("macro", "201"))
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--trials", type=int, help="full trainings' worth (default: 50 or 10)")
    parser.add_argument("--slow", type=int, default=50, help="most repeats of TPE")
    parser.add_argument("--strategies", nargs="*", choices=tuple(RUNS), default=tuple(RUNS))
    parser.add_argument("--full", type=Path, help="CSV of full trainings of NAS-Bench-201")
    parser.add_argument("--column", default="cifar10_test", help="its column")
    parser.add_argument("--agreement", type=float, default=1.0, help="Spearman of short and full")
    text = "scores without training that the model sees (default: those of a real search)"
    parser.add_argument("--scores", nargs="*", default=SCORES, help=text)
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = (macro if options.bench == "macro" else cells)(options)
    found = replace(found, trials=options.trials or found.trials)
    networks = len(found.pool)
    best = max(found.truth.values())
    print(f"{len(found.truth)} rows inside the budget, {networks} networks, best {best:.2f}")
    record = {
        "command": " ".join(["python", "benchmarks/nas_bench.py", *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, shared; CPU seconds of one thread",
        "rows": len(found.truth),
        "networks": networks,
        "spread": round(float(np.std(list(found.truth.values()))), 3),
        "spearman of short and full": round(agreement(found), 3),
    }
    measured(found, options, record)


if __name__ == "__main__":
    main()
