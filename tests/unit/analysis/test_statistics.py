"""Tests of analysis.statistics, against values worked out by hand."""

import math

import pytest
from scipy import stats

from analysis.statistics import (
    holm,
    interquartile_mean,
    mean_interval,
    paired_difference,
    replicates_needed,
)


def test_three_values() -> None:
    # s = 0.02, standard error 0.02 / sqrt(3), t(0.975; 2) = 4.302653 in printed tables.
    half = 4.302653 * 0.02 / math.sqrt(3)
    found = mean_interval([0.50, 0.52, 0.54])
    assert found.n == 3
    assert found.mean == pytest.approx(0.52)
    assert found.low == pytest.approx(0.52 - half, abs=1e-7)
    assert found.high == pytest.approx(0.52 + half, abs=1e-7)


def test_two_values_and_another_confidence() -> None:
    # s = 2 / sqrt(2), standard error 1; t(0.95; 1) = tan(0.45 pi) = 6.313752.
    found = mean_interval([1.0, 3.0], confidence=0.90)
    assert found == pytest.approx((2.0, 2.0 - 6.313752, 2.0 + 6.313752, 2), abs=1e-6)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5, 0.5, 2)


def test_one_value_has_no_interval() -> None:
    mean, low, high, n = mean_interval([0.25])
    assert (mean, n) == (0.25, 1)
    assert math.isnan(low)
    assert math.isnan(high)


def test_no_value() -> None:
    mean, low, high, n = mean_interval(iter(()))
    assert n == 0
    assert all(map(math.isnan, (mean, low, high)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="expected finite numbers only"):
        mean_interval([0.5, bad])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        mean_interval([0.5], confidence)


def test_a_paired_difference_is_scipys_test() -> None:
    first, second = [0.61, 0.64, 0.60, 0.66], [0.60, 0.61, 0.60, 0.62]
    found = paired_difference([a - b for a, b in zip(first, second, strict=True)])
    assert found.mean == pytest.approx(0.02)
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.std == pytest.approx(math.sqrt(0.0010 / 3))  # differences 1, 3, 0, 4 points
    assert found.n == 4
    assert paired_difference([0.1, 0.1]).p == 0.0
    assert math.isnan(paired_difference([0.1]).p)


def test_holm_by_hand() -> None:
    # Sorted: 0.01 * 3, 0.02 * 2, then at least as much as before.
    assert holm([0.04, 0.01, math.nan, 0.02])[:2] == pytest.approx([0.04, 0.03])
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_replicates_needed_agrees_with_printed_power_tables() -> None:
    # Cohen (1988): a paired t test at 5% and 80% power needs 34 pairs for d = 0.5, 15 for 0.8.
    assert replicates_needed(0.5, 1.0) == 34
    assert replicates_needed(-0.8, 1.0) == 15
    more = replicates_needed(0.5, 1.0, tests=4)
    assert more is not None
    assert more > 34
    assert replicates_needed(100.0, 1.0) == replicates_needed(1.0, 0.0) == 3
    assert replicates_needed(0.001, 1.0) is None
    assert replicates_needed(0.0, 1.0) is replicates_needed(1.0, math.nan) is None


def test_interquartile_mean() -> None:
    assert interquartile_mean([0.0, 0.4, 0.5, 0.9]) == pytest.approx(0.45)
    assert math.isnan(interquartile_mean([]))
