"""The levels of a setting: its values, or ranges of them where it was drawn from many."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.aggregate import Configuration, is_missing, setting_text, value_order
from analysis.answers import is_number
from analysis.figures.panels import place_labels

MAX_NUMBERS = 6
"""More different numbers than these are put into ranges."""
RANGES = 4


class Levels(NamedTuple):
    """The levels of a setting among configurations."""

    setting: str
    of: list[str]
    """Level of each configuration."""
    order: list[str]
    """All levels: where the setting does not apply, then the smallest first."""
    ordered: frozenset[str]
    """Those that are numbers, between which a line means something."""


def find_levels(found: Sequence[Configuration], setting: str) -> Levels:
    """Return the levels of a setting.

    A setting that does not apply has the level of what decides that, as in
    ``analysis.figures.panels``. More than six different numbers are put into four ranges that hold
    about as many configurations each, as ``0.1 to 0.3``.

    Args:
        found: As ``list_configurations`` returns them.
        setting: Dotted name of a varied setting.
    """
    labels = place_labels(found, setting)
    values = [one.settings[setting] for one in found]
    numbers = all(is_number(value) or is_missing(value) for value in values)
    known = {float(value) for value in values if not is_missing(value)} if numbers else set()
    if len(known) > MAX_NUMBERS:
        missing = [label for label, value in zip(labels, values, strict=True) if is_missing(value)]
        labels, ranges = _ranges(labels, values)
        order = list(dict.fromkeys([*missing, *ranges]))
        return Levels(setting, labels, order, frozenset(ranges))
    places = sorted(
        zip(labels, values, strict=True),
        key=lambda item: (not is_missing(item[1]), value_order(item[1])),
    )
    order = list(dict.fromkeys(label for label, _ in places))
    ordered = {label for label, value in places if numbers and not is_missing(value)}
    return Levels(setting, labels, order, frozenset(ordered))


def several_levels(found: Sequence[Configuration]) -> list[Levels]:
    """Return the levels of each varied setting that has more than one."""
    levels = [find_levels(found, name) for name in (found[0].settings if found else ())]
    return [one for one in levels if len(one.order) > 1]


def _ranges(labels: list[str], values: Sequence[object]) -> tuple[list[str], list[str]]:
    """The labels with ranges for the numbers, and the ranges, the lowest first."""
    numbers = pd.Series([np.nan if is_missing(value) else value for value in values], dtype="f8")
    bins = pd.qcut(numbers, RANGES, labels=False, duplicates="drop")
    texts = {}
    for place, part in numbers.groupby(bins):
        ends = [setting_text(float(f"{end:.2g}")) for end in (part.min(), part.max())]
        texts[place] = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    found = [
        label if pd.isna(place) else texts[place] for label, place in zip(labels, bins, strict=True)
    ]
    return found, list(texts.values())
