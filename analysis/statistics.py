"""Statistics over distillation seeds."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean and its confidence interval, in the unit of the values."""

    mean: float
    """NaN where there are no values."""
    low: float
    """Lower end; NaN where n < 2."""
    high: float
    """Upper end; NaN where n < 2."""
    n: int
    """Number of values."""


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Return the mean and Student's t interval of independent values.

    The interval is ``mean -+ t * s / sqrt(n)``, where ``s`` is the standard deviation with
    ``n - 1`` in the denominator and ``t`` is the ``(1 + confidence) / 2`` quantile of Student's
    t distribution with ``n - 1`` degrees of freedom. It is not cut off at 0 or 1: an accuracy
    from two sets that differ may have an interval that says that little is known.

    Args:
        values: One finite number for each distilled set (distillation seed). Student seeds are
            averaged before: they share a set and are no independent values.
        confidence: Chance that the interval covers the true mean, between 0 and 1.

    Returns:
        The mean, the ends and n. One value has no spread: its ends are NaN.

    Raises:
        ValueError: A value is not finite (leave it out and count it), or ``confidence`` is not
            between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: got {confidence}, expected a number between 0 and 1")
    sample = np.array(list(values), dtype=float)
    if not np.isfinite(sample).all():
        raise ValueError(f"values: got {sample.tolist()}, expected finite numbers only")
    n = len(sample)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(sample.mean())
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * sample.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)
