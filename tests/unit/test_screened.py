"""The screened strategy: what it spends, whom it trains longer, and what its last step trains."""

from __future__ import annotations

from csv import DictReader
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from flopwise.design.folders import report
from flopwise.dsl import loads
from flopwise.search import Evaluator, Measure, search
from flopwise.search.candidates import Candidate
from flopwise.search.opening import look
from flopwise.search.record import COSTS
from flopwise.search.screened import Screened
from flopwise.search.strategy import Moment, Past
from flopwise.search.surrogate import Features, Seen
from flopwise.search.view import show
from tests.searches import Book
from tests.unit.test_strategies import SPEC, known, spec_of


def test_screening_spends_what_full_trainings_would_and_the_longest_decide(tmp_path: Path) -> None:
    spec = spec_of("{kind: screened, short: [5%, 25%]}")
    evaluator, trained = known(spec), []

    def watched(*args: object) -> Measure:
        measure = evaluator.evaluate(*args)  # type: ignore[arg-type]
        trained.append((args[0].hash, args[1].epochs))  # type: ignore[attr-defined]
        return measure

    outcome = search(spec, tmp_path / "study", evaluator=Evaluator(evaluate=watched), trials=10)
    counts = {epochs: sum(e == epochs for _, e in trained) for epochs in (1, 5, 20)}
    assert counts == {1: 80, 5: 16, 20: 2}
    assert len(set(trained)) == len(trained)
    assert sum(epochs for _, epochs in trained) <= 10 * 20
    of = {share: [r for r in outcome.trials if r.share == share] for share in (0.05, 0.25, 1.0)}
    for short, long in ((0.05, 0.25), (0.25, 1.0)):
        went_on = {row.hash for row in of[long]}
        best = sorted(of[short], key=lambda row: -row.scores["top1"])
        assert went_on >= {row.hash for row in best[: (len(of[long]) + 1) // 2]}
    assert outcome.winner and outcome.winner.trial in {row.number for row in of[1.0]}
    again = search(spec, tmp_path / "study", evaluator=Evaluator(evaluate=watched), trials=10)
    assert len(trained) == 98 and again.winner == outcome.winner


@pytest.mark.parametrize("top", [1, 3])
def test_the_last_step_of_a_screened_search_trains_each_network_once(
    tmp_path: Path, top: int
) -> None:
    text = SPEC.replace("SAMPLER", "{kind: screened, short: [20%]}\n  final: {top: TOP, seeds: 2}")
    book, spec = Book(), loads(text.replace("TOP", str(top)))
    outcome = search(spec, tmp_path / "study", evaluator=book.evaluator(), trials=8)
    assert sum(row.share == 1 for row in outcome.trials) == 2
    assert [row.name for row in outcome.finals] == ["baseline", "top 1", "top 2", "top 3"][
        : top + 1
    ]
    hashes = {row.hash for row in outcome.finals}
    assert len(hashes) == top + 1
    fresh = [each for each in book.trained if each[1] in outcome.finals[0].seeds]
    assert sorted(fresh) == sorted((h, s) for h in hashes for s in outcome.finals[0].seeds)
    best = sorted(outcome.trials, key=lambda row: (row.share, row.scores["top1"]), reverse=True)
    ranked = list(dict.fromkeys(row.hash for row in best if not row.written))
    assert [row.hash for row in outcome.finals[1:]] == ranked[:top]


def test_workers_that_choose_at_once_begin_with_different_networks() -> None:
    spec = spec_of("{kind: screened, short: [5%]}")
    candidates, _ = look(spec)
    rng = np.random.default_rng(0)
    past = [
        Past(each.picks, each.identity, 0.05, each.costs["macs"] / 1e6)
        for each in candidates.several(rng, 40)
    ]

    def measured(number: int) -> list[str]:
        """Returns the networks that a trial looks at, in order, those of trainings left out."""
        seen: list[str] = []

        def numbers(candidate: Candidate) -> Seen:
            seen.append(candidate.identity)
            return [], {}, []

        strategy = Screened(40, (0.05,), Features(candidates.domains, numbers))
        moment = Moment(None, number, candidates, seed=0)  # type: ignore[arg-type]
        vars(moment).update(past=past, begun=[(each.identity, 0.05) for each in past])
        assert strategy(moment)
        return seen[len(past) :]

    chosen = [each for number in range(len(past), len(past) + 8) if (each := measured(number))]
    known = set(chosen[0])
    first = [[name for name in each if name not in known][:10] for each in chosen[1:]]
    assert len(first) > 2 and all(len(each) == 10 for each in first)
    assert len({name for each in first for name in each}) == 10 * len(first)


def test_a_search_that_sees_scores_ends_with_how_they_rank_what_it_trained(tmp_path: Path) -> None:
    sampler = "{kind: screened, short: [5%], scores: SCORES}"
    for scores in ("[]", "[depth]"):
        spec = spec_of(sampler.replace("SCORES", scores))
        outcome = search(spec, tmp_path / scores, evaluator=known(spec), trials=3)
        kept = tmp_path / scores / "agreement.csv"
        printed = StringIO()
        show(outcome, Console(file=printed, width=100))
        page = report(tmp_path / scores).read_text(encoding="utf-8")
        told = (kept.exists(), "rank corr" in printed.getvalue(), "Scores without" in page)
        assert told == ((scores != "[]"),) * 3
        assert page.count("after 5 % of the epochs") == 2  # one full training shows no values
    short = [row for row in outcome.trials if row.share < 1]
    for each, line in zip(
        outcome.agreement, DictReader(kept.read_text().splitlines()), strict=True
    ):
        if each.score in COSTS:
            pairs = [(row.costs[each.score], row.scores["top1"]) for row in short]
            assert each.spearman == pytest.approx(stats.spearmanr(pairs).statistic)
            assert each.kendall == pytest.approx(stats.kendalltau(*zip(*pairs, strict=True))[0])
        assert float(line["spearman_95_low"]) == each.spearman_95[0]
        assert each.trials == len(short)


def test_every_other_network_goes_on_for_more_than_its_luck() -> None:
    candidates, _ = look(spec_of("{kind: screened}"))
    features = Features(candidates.domains, lambda _: ((), {}, ()))
    gains = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = candidates.several(rng, 60)
        short = 8 / len(drawn)  # four fifths of ten trainings
        worth = {each.identity: each.costs["macs"] / 1e6 for each in drawn}
        luck = np.std(list(worth.values())) * rng.standard_normal(len(drawn))
        past = [
            Past(each.picks, each.identity, short, worth[each.identity] + by)
            for each, by in zip(drawn, luck, strict=True)
        ]
        by_score = sorted(past, key=lambda each: -each.score)
        begun = [(each.identity, short) for each in past]
        goes_on = []
        for number in range(len(drawn), len(drawn) + 2):
            moment = Moment(None, number, candidates, seed)  # type: ignore[arg-type]
            vars(moment).update(past=past, begun=begun)
            proposal = Screened(10, (short,), features)(moment)
            assert proposal and proposal.share == 1
            goes_on.append(proposal.candidate.identity)
            begun = [*begun, (proposal.candidate.identity, 1.0)]
        assert goes_on[0] == by_score[0].identity and goes_on[1] != goes_on[0]
        gains.append(worth[goes_on[1]] - worth[by_score[1].identity])
    assert np.mean(gains) > 2 * np.std(gains) / len(gains) ** 0.5


@pytest.mark.parametrize("trials", [1, 2, 3, 7, 50, 1000])
@pytest.mark.parametrize("short", [(1.0,), (0.1,), (0.06, 0.3), (0.01,)])
def test_rungs_never_cost_more_than_was_given(trials: int, short: tuple[float, ...]) -> None:
    rungs = Screened(trials, short, Features({}, lambda _: ((), {}, ()))).rungs
    assert rungs[-1][0] == 1.0 and all(count >= 1 for _, count in rungs)
    spent = sum(share * count for share, count in rungs)
    assert 0.9 * trials - 1 <= spent <= max(trials, sum(s for s, _ in rungs) + 1)
