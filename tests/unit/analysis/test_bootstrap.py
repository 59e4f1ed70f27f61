"""Tests of analysis.bootstrap, against scipy and values worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.bootstrap import RESAMPLES, best_shares, bootstrap_interval, resampled_means, weights

SETS = np.array([0.50, 0.53, 0.55, 0.61, 0.62])


def test_one_level_is_scipys_percentile_bootstrap_stretched() -> None:
    expected = stats.bootstrap(
        (SETS,), np.mean, method="percentile", n_resamples=100_000, rng=np.random.default_rng(1)
    ).confidence_interval
    stretch = stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975) * math.sqrt(5 / 4)
    mean, low, high, n = bootstrap_interval(SETS)
    assert (mean, n) == (pytest.approx(0.562), 5)
    assert low == pytest.approx(mean + stretch * (expected.low - mean), abs=2e-3)
    assert high == pytest.approx(mean + stretch * (expected.high - mean), abs=2e-3)


def test_two_levels_have_the_variance_of_both() -> None:
    students = np.array([-0.03, -0.01, 0.01, 0.03])
    sample = SETS[:, None] + students
    found = weights(5, 4) @ sample.ravel()
    # Variance of a mean of 5 sets, and of 20 student seeds drawn inside them.
    expected = SETS.var() / 5 + students.var() / 20
    assert found.var() == pytest.approx(expected, rel=0.05)
    assert weights(5, 4).sum(axis=1) == pytest.approx(np.ones(RESAMPLES))


def test_normal_sets_get_about_students_interval() -> None:
    sample = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    half = stats.t.ppf(0.975, 19) * sample.std(ddof=1) / math.sqrt(20)
    assert bootstrap_interval(sample).high == pytest.approx(half, rel=0.03)


def test_equal_sets_of_noisy_students_have_an_interval() -> None:
    low, high = bootstrap_interval([[0.4, 0.6], [0.6, 0.4]])[1:3]
    assert low < 0.45
    assert high > 0.55
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5, 0.5, 2)


def test_it_is_the_same_each_time() -> None:
    first = bootstrap_interval(SETS)
    weights.cache_clear()
    assert bootstrap_interval(SETS) == first


def test_pairing_and_the_chance_of_being_best() -> None:
    # The replicates move by 0.1, the second configuration is 0.01 above the first in each.
    first = SETS[:, None] * 10
    shares = best_shares(resampled_means(np.stack([first, first + 0.01, first - 1])))
    assert shares.tolist() == [0.0, 1.0, 0.0]
    assert best_shares(np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == [0.25, 0.75]


def test_few_values() -> None:
    assert bootstrap_interval(np.empty((0, 3))).n == 0
    assert math.isnan(bootstrap_interval([[0.2, 0.4]]).low)
    with pytest.raises(ValueError, match="finite numbers only"):
        bootstrap_interval([0.1, math.nan])
    with pytest.raises(ValueError, match="3 dimensions"):
        bootstrap_interval(np.zeros((2, 2, 2)))
