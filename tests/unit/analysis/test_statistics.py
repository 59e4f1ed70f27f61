"""Tests of analysis.statistics, against values worked out by hand."""

import math

import pytest

from analysis.statistics import mean_interval


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
