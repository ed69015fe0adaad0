"""The statistics of trained tables, against direct computations."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from flopwise.search.compare import compare
from flopwise.search.statistics import Spread, agreement, contrasts, holm, paired, spread, standing

ROWS = [[70.0, 71.0, 72.0], [80.0, 80.5], [60.0]]


def test_the_deviation_is_pooled_over_the_rows() -> None:
    found = spread(ROWS)
    assert found.freedom == 3
    assert found.deviation == pytest.approx(sqrt((2 * np.var(ROWS[0], ddof=1) + 0.125) / 3))
    assert found.half(3) == pytest.approx(3.182446 * found.deviation / sqrt(3), rel=1e-6)
    assert spread([[1.0], [2.0]]).half(1) is None


def test_holm_by_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_seed_is_the_paired_test_over_images() -> None:
    dice = np.random.default_rng(0)
    first, second = dice.random((2, 1, 500)) < [[[0.8]], [[0.75]]]
    wanted = stats.ttest_rel(first[0].astype(float), second[0].astype(float)).pvalue
    assert compare(first, second).chance == pytest.approx(wanted, rel=1e-9)
    assert compare(first, first).chance == 1.0


def test_several_seeds_have_the_freedom_of_welch_and_satterthwaite() -> None:
    dice = np.random.default_rng(1)
    first, second = dice.random((2, 3, 400)) < 0.7
    d = first.astype(float) - second.astype(float)
    images, seeds = d.mean(0).var(ddof=1) / 400, d.mean(1).var(ddof=1) / 3
    found = compare(first, second)
    assert found.error == pytest.approx(100 * sqrt(images + seeds))
    assert found.freedom == pytest.approx((images + seeds) ** 2 / (images**2 / 399 + seeds**2 / 2))


def test_the_noise_of_differences_is_what_rows_and_seeds_leave() -> None:
    scores = np.random.default_rng(4).normal([[0], [9], [4], [5], [5]], size=(5, 3))
    left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    found = paired([dict(enumerate(row)) for row in scores])
    assert found.freedom == 4 * 2
    assert found.deviation == pytest.approx(sqrt((left**2).sum() / 8))
    two = paired([dict(enumerate(row)) for row in scores[:2]])
    assert two.freedom == 2
    assert two.deviation * sqrt(2) == pytest.approx((scores[0] - scores[1]).std(ddof=1))
    # a seed that one row alone has tells nothing of differences
    assert paired([{0: 1.0, 1: 3.0}, {0: 2.0, 2: 7.0}, {0: 4.0, 2: 8.0}]).freedom == 1
    assert paired([{0: 1.0}, {0: 2.0}]).freedom == 0


def test_few_tables_of_equal_networks_have_a_difference_and_small_true_ones_are_found() -> None:
    dice = np.random.default_rng(5)
    rows, wrong, right = 8, 0, 0
    for _ in range(200):
        share = dice.normal(0.6, 0.01, (rows, 3)) + dice.normal(0, 0.01, 3)  # rows share seeds
        share[-1] += 0.06
        correct = {
            str(row): {seed: dice.random(2000) < share[row, seed] for seed in range(3)}
            for row in range(rows)
        }
        noise = paired([{s: 100 * each.mean() for s, each in c.items()} for c in correct.values()])
        pairs = {str(row): str(row - 1) for row in range(1, rows)}
        words = [each.word for each in contrasts(pairs, correct, noise)]
        wrong += any(word != "a tie" for word in words[:-1])
        right += words[-1] == "better"
    assert wrong <= 0.05 * 200
    assert right >= 0.8 * 200


def test_equal_networks_are_ties_and_a_large_difference_is_not() -> None:
    dice = np.random.default_rng(2)
    shares = {"base": 0.7, "same": 0.7, "better": 0.85, "worse": 0.5}
    correct = {
        name: {seed: dice.random(1000) < share for seed in range(3)}
        for name, share in shares.items()
    }
    found = contrasts(dict.fromkeys(("same", "better", "worse"), "base"), correct)
    assert {each.row: each.word for each in found} == {
        "same": "a tie",
        "better": "better",
        "worse": "worse",
    }


def test_rank_agreement_counts_pairs() -> None:
    dice = np.random.default_rng(3)
    printed = [78.8, 79.5, 79.5, 80.5, 82.0]
    scores = [[float(mean + noise) for noise in (-0.1, 0.1)] for mean in dice.permutation(5)]
    found = agreement(printed, scores)
    assert found is not None
    means = [sum(row) / 2 for row in scores]
    signs = [
        np.sign(printed[a] - printed[b]) * np.sign(means[a] - means[b])
        for a, b in combinations(range(5), 2)
    ]
    assert found.tau == pytest.approx(sum(signs) / sqrt(len(signs) * (len(signs) - 1)))
    assert -1 <= found.low <= found.tau <= found.high <= 1
    assert agreement([1.0, 2.0], [[1.0], [2.0]]) is None
    alone = agreement([1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]])
    assert alone is not None
    assert (alone.tau, alone.low, alone.high) == (1.0, -1.0, 1.0)


def test_the_rank_of_one_score_among_others() -> None:
    exact = standing(3.0, [1.0, 2.0, 4.0], Spread(1e-9, 5))
    assert (exact.rank, exact.low, exact.high, exact.of) == (2, 2, 2, 4)
    unknown = standing(3.0, [1.0, 2.0, 4.0], Spread(0.0, 0))
    assert (unknown.rank, unknown.low, unknown.high) == (2, 1, 4)
    # 101 equal networks: every rank is as likely as any other
    noisy = standing(0.0, [0.0] * 100, Spread(1.0, 1000))
    assert noisy.rank == 1
    assert noisy.low == pytest.approx(0.025 * 101, abs=2)
    assert noisy.high == pytest.approx(0.975 * 101, abs=2)
    # one other that is better by two deviations of a difference: first in 1 - Phi(2) of the draws
    behind = standing(0.0, [2 * sqrt(2)], Spread(1.0, 10_000))
    assert (behind.rank, behind.low, behind.high) == (2, 2, 2)
