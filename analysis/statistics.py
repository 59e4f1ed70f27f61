"""Statistics over distillation seeds."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.bootstrap import Interval, as_sample, bootstrap_interval

LEVEL = 0.05
"""Chance of calling a difference of 0 settled, over all comparisons of a question."""
POWER = 0.8
"""Chance that ``replicates_needed`` replicates settle a difference of the size that was seen."""
MOST_REPLICATES = 1000
"""More than so many are not worth asking for."""


_ROUNDING = 1e-12
"""Accuracies are counts over counts: differences below this are the arithmetic's."""


class Difference(NamedTuple):
    """Mean of paired differences."""

    mean: float
    """NaN where no replicate is shared."""
    low: float
    """Lower end of the 95% interval; NaN where n < 2."""
    high: float
    """Upper end; NaN where n < 2."""
    std: float
    """Standard deviation between replicates, n - 1 in the denominator; NaN where n < 2."""
    p: float
    """Of the paired t test, two-sided, not corrected for other tests; NaN where n < 2."""
    n: int
    """Shared replicates."""


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


def paired_difference(values: ArrayLike) -> Difference:
    """Return the mean of differences between configurations on shared seeds.

    Args:
        values: [S, K], differences of a replicate and student seed; [S] counts as K = 1.

    Returns:
        With the interval of ``analysis.bootstrap`` and the p value of ``scipy.stats.ttest_1samp``
        over the replicates' means.
    """
    sample = as_sample(values)
    mean, low, high, n = bootstrap_interval(sample)
    if n < 2:
        return Difference(mean, low, high, math.nan, math.nan, n)
    means = sample.mean(axis=1)
    std = float(means.std(ddof=1))
    if std < _ROUNDING:
        # Equal differences have no spread to test against.
        p = float(abs(mean) < _ROUNDING)
    else:
        p = float(stats.ttest_1samp(means, 0.0).pvalue)
    return Difference(mean, low, high, std, p, n)


def holm(p_values: Iterable[float]) -> list[float]:
    """Return p values corrected for each other by Holm (1979), in the same order.

    Args:
        p_values: Of one family of tests; NaN (no test) stays NaN and does not count.
    """
    p = np.array(list(p_values), dtype=float)
    found = np.full(len(p), math.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in found]


def replicates_needed(difference: float, std: float, tests: int = 1) -> int | None:
    """Return how many paired replicates would settle a difference like the one that was seen.

    That is the smallest n whose paired t test, two-sided at 5% shared among ``tests`` comparisons
    (the first step of Holm's correction), finds a true difference and standard deviation of these
    sizes in 80% of cases (noncentral t distribution). Both are estimates, and rough ones from few
    replicates: so is n.

    Args:
        difference: Mean of paired differences.
        std: Their standard deviation between replicates.
        tests: Comparisons that are made.

    Returns:
        Replicates in total, at least 3; None for more than 1000, or where an argument is unknown.
    """
    if not (math.isfinite(difference) and math.isfinite(std)) or difference == 0.0:
        return None
    if std < _ROUNDING:
        return 3
    n = np.arange(3, MOST_REPLICATES + 1)
    critical = stats.t.ppf(1 - LEVEL / tests / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, abs(difference) / std * np.sqrt(n))
    # Far out scipy has no number (NaN), where the power is 1.
    enough = np.flatnonzero(np.nan_to_num(power, nan=1.0) >= POWER)
    return int(n[enough[0]]) if len(enough) else None


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half (``scipy.stats.trim_mean``); NaN where there is none.

    It resists single bad runs better than a mean, and wastes less than a median (Agarwal et al.
    2021, arXiv 2108.13264).

    Args:
        values: [S, K], over all of which it is taken.
    """
    sample = as_sample(values).ravel()
    return float(stats.trim_mean(sample, 0.25)) if len(sample) else math.nan
