"""Numbers in words: accuracies in percent, differences in points."""

import math

import pandas as pd

from harness.schema import VALIDATION


def percent(value: float) -> str:
    """Return a fraction in percent with one decimal, ``-`` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def interval(low: float, high: float) -> str:
    """Return ``[low, high]`` in percent with one decimal, ``-`` for NaN."""
    return "-" if math.isnan(low) or math.isnan(high) else f"[{percent(low)}, {percent(high)}]"


def points(value: float) -> str:
    """Return a difference of fractions as ``1.2 points``."""
    return f"{percent(value)} points"


def difference_words(mean: float, low: float, high: float) -> str:
    """Return ``1.2 points [0.4, 2.0]``; without an interval where it is unknown."""
    ends = interval(low, high)
    return points(mean) + ("" if ends == "-" else f" {ends}")


def split_of(frame: pd.DataFrame) -> str:
    """Return the split that the means of a ``by_setting`` frame are on."""
    return str(frame["split"].iloc[0]) if len(frame) else VALIDATION
