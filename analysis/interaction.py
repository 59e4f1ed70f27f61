"""Do two settings help each other: the difference of differences of a 2 x 2, paired."""

import math
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from analysis.aggregate import (
    Configuration,
    applying,
    configuration_text,
    is_missing,
    list_configurations,
    metric_split,
    setting_text,
)
from analysis.answers import (
    MAIN_PROBABILITY,
    is_settled,
    more_needed,
    more_words,
    subtract,
)
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import sample_of, seed_accuracies, student_rows
from analysis.statistics import paired_difference
from analysis.words import difference_words, interval, percent, split_of
from harness.errors import ConfigError
from harness.schema import UNSEEN_MEAN

KD_VARIANT = "kd.variant"

INTERACTION_COLUMNS = (
    "group", "first", "first_from", "first_to", "second", "second_from", "second_to", "effect",
    "mean", "low", "high", "p", "n", "settled", "more_replicates", "split",
)  # fmt: skip
"""Columns of ``interactions``."""


class Change(NamedTuple):
    """A setting that goes from one value to another."""

    setting: str
    before: Any
    after: Any


def interactions(
    results: SearchResults, first: Change, second: Change, metric: str = UNSEEN_MEAN
) -> pd.DataFrame:
    """Return the effects of two changes, alone and together.

    With ``y(f, s)`` the validation accuracy over unseen students of a replicate, the interaction
    is ``(y(1, 1) - y(0, 1)) - (y(1, 0) - y(0, 0))``: what the first change gains more where the
    second is made too. Each replicate gives one value, from the same seeds in all four arms.

    Args:
        results: A search with the four combinations.
        first: For example ``Change("pool.main_probability", 1.0, 0.9)``.
        second: For example ``Change("kd.variant", "off", "softened")``.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        Five rows for each combination of the other settings with all four arms (``group``): the
        ``effect`` is ``first alone``, ``first with second``, ``second alone``, ``second with
        first`` or ``interaction``.

        - ``first`` ... ``second_to``: the changes
        - ``mean``, ``low``, ``high``: difference of fractions and its 95% interval
        - ``p``: of the paired t test, not corrected: the interaction is the question
        - ``n``: replicates that all the arms of this effect share
        - ``settled``, ``more_replicates``, ``split``: as in ``analysis.answers.best_values``

    Raises:
        ConfigError: One of the settings is not varied.
    """
    for change in (first, second):
        if change.setting not in results.varied:
            raise ConfigError(
                f"setting: got '{change.setting}', which {results.name} does not vary; expected "
                f"one of {', '.join(results.varied) or '(none)'}"
            )
    split = metric_split(results, metric)
    accuracies = seed_accuracies(student_rows(results, split))
    records = []
    for group, arms in _squares(list_configurations(results), first, second):
        y = {place: sample_of(one.trials, accuracies) for place, one in arms.items()}
        effects = {
            "first alone": subtract(y[1, 0], y[0, 0]),
            "first with second": subtract(y[1, 1], y[0, 1]),
            "second alone": subtract(y[0, 1], y[0, 0]),
            "second with first": subtract(y[1, 1], y[1, 0]),
        }
        effects["interaction"] = subtract(effects["first with second"], effects["first alone"])
        for effect, values in effects.items():
            found = paired_difference(values)
            settled = is_settled(found, found.p)
            more = math.nan if settled else more_needed(found, 1)
            low, high = found.low, found.high
            records.append(
                (
                    group,
                    first.setting,
                    first.before,
                    first.after,
                    second.setting,
                    second.before,
                    second.after,
                    effect,
                    found.mean,
                    low,
                    high,
                    found.p,
                    found.n,
                    settled,
                    more,
                    split,
                )
            )
    return pd.DataFrame(records, columns=list(INTERACTION_COLUMNS))


def pool_and_kd(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return ``interactions`` of the model pool with knowledge distillation, for all that is there.

    The pool is off at a main-model probability of 1; KD goes from off, and from its control (the
    smaller step without a teacher), to on.

    Args:
        results: A search; empty where it does not vary both.
        metric: As in ``analysis.aggregate.by_setting``.
    """
    if not {MAIN_PROBABILITY, KD_VARIANT} <= set(results.varied):
        return pd.DataFrame([], columns=list(INTERACTION_COLUMNS))
    probabilities, variants = (
        [value for value in results.trials[name].unique() if not is_missing(value)]
        for name in (MAIN_PROBABILITY, KD_VARIANT)
    )
    changes = [
        (Change(MAIN_PROBABILITY, 1.0, float(value)), Change(KD_VARIANT, before, after))
        for value in sorted(probabilities)
        if value < 1.0 and 1.0 in probabilities
        for before, after in combinations(("off", "control", "softened", "legacy"), 2)
        if {before, after} <= set(variants) and after not in ("off", "control")
        if before in ("off", "control")
    ]
    found = [interactions(results, first, second, metric) for first, second in changes]
    frames = [frame for frame in found if len(frame)]
    if not frames:
        return pd.DataFrame([], columns=list(INTERACTION_COLUMNS))
    return pd.concat(frames, ignore_index=True)


def interaction_words(frame: pd.DataFrame) -> list[str]:
    """Say what a frame of interactions says: a line for each square that has a replicate.

    Args:
        frame: As ``interactions`` or ``pool_and_kd`` returns it.
    """
    keys = ["group", "first", "first_from", "first_to", "second", "second_from", "second_to"]
    lines = []
    for _, square in frame.groupby(keys, sort=False, dropna=False):
        row = dict(zip(square["effect"], square.itertuples(), strict=True))
        both = row["interaction"]
        if both.n == 0:
            continue  # no replicate has all four corners yet
        start = f"{both.group}: " if both.group else ""
        first, second = (
            f"{name} {setting_text(before)} to {setting_text(after)}"
            for name, before, after in (
                (both.first, both.first_from, both.first_to),
                (both.second, both.second_from, both.second_to),
            )
        )
        alone, together = _said(row["first alone"]), _said(row["first with second"])
        lines.append(
            f"{start}{first} gains {alone}, and {together} after {second}: interaction "
            f"{_said(both)}, n = {both.n}: {_verdict(both)}"
        )
    return lines


def interaction_table(results: SearchResults) -> Table:
    """Return ``pool_and_kd`` as a table."""
    frame = pool_and_kd(results)
    columns: dict[str, list[str]] = {"group": list(frame["group"])} if frame["group"].any() else {}
    for name in ("first", "second"):
        columns[name] = [
            f"{setting} {setting_text(before)} to {setting_text(after)}"
            for setting, before, after in zip(
                frame[name], frame[f"{name}_from"], frame[f"{name}_to"], strict=True
            )
        ]
    columns["effect"] = list(frame["effect"])
    settings = len(columns)
    columns["points"] = [percent(value) for value in frame["mean"]]
    columns["95% interval"] = list(map(interval, frame["low"], frame["high"]))
    columns["p"] = ["-" if math.isnan(p) else f"{p:.3f}" for p in frame["p"]]
    columns["n"] = [str(n) for n in frame["n"]]
    columns["settled"] = ["yes" if settled else "no" for settled in frame["settled"]]
    caption = (
        f"Effects on the accuracy of unseen students on {split_of(frame)} images, in points, on n "
        "shared replicates, with 95% intervals; p by the paired t test. interaction: what the "
        "first change gains more where the second is made too."
    )
    cells = make_cells(columns, settings, list(frame["effect"] == "interaction"))
    return Table("interaction", f"Pool and KD: {results.title}", frame, cells, caption)


def _squares(
    found: list[Configuration], first: Change, second: Change
) -> list[tuple[str, dict[tuple[int, int], Configuration]]]:
    """The four arms for each combination of the other settings, where all four are there.

    Other settings that do not apply to one of the arms (temperature, where KD is off; the others
    of the pool, at probability 1) fit any value.
    """
    changes = (first.setting, second.setting)
    by_place: dict[tuple[int, int], list[tuple[dict[str, Any], Configuration]]] = {}
    for one in found:
        place = tuple(
            [change.before, change.after].index(one.settings[change.setting])
            if one.settings[change.setting] in (change.before, change.after)
            else -1
            for change in (first, second)
        )
        rest = {k: v for k, v in applying(one.settings).items() if k not in changes}
        if -1 not in place:
            by_place.setdefault((place[0], place[1]), []).append((rest, one))
    squares = []
    whole = by_place.get((1, 1), [])
    for rest, one in whole:
        arms = {(1, 1): one}
        for place in ((0, 0), (0, 1), (1, 0)):
            fitting = [
                (other, arm)
                for other, arm in by_place.get(place, ())
                if other.items() <= rest.items()
            ]
            if fitting:
                arms[place] = max(fitting, key=lambda item: len(item[0]))[1]
        if len(arms) == 4:
            text = configuration_text(list(rest), rest.values()) if len(whole) > 1 and rest else ""
            squares.append((text, arms))
    return squares


def _said(row: Any) -> str:
    return difference_words(row.mean, row.low, row.high)


def _verdict(row: Any) -> str:
    if not row.settled:
        return f"undecided, {more_words(row.more_replicates, row.n)}"
    return "they help each other" if row.mean > 0 else "each does part of the other's work"
