"""The chosen value of a setting on images, and on architectures, that had no say in the choice.

Choosing is by validation accuracy over unseen students (``analysis.answers``). ``chosen`` judges
the choice on test images. ``carry_over`` leaves each student architecture in turn out of it, and
judges on that one; there, who chooses and who judges share nothing: the choice for a replicate is
made by validation images and the *other* replicates, and judged by test images of its own, so that
neither lucky images nor lucky sets count twice.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import (
    Configuration,
    list_configurations,
    metric_split,
    setting_text,
)
from analysis.answers import (
    PLAIN,
    best_values,
    check_setting,
    is_settled,
    more_needed,
    searched_setting,
    subtract,
    value_groups,
)
from analysis.bootstrap import bootstrap_interval
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import sample_of, seed_accuracies, shared_sample, student_rows
from analysis.statistics import holm, paired_difference
from analysis.words import interval, percent
from harness.schema import TEST, VALIDATION

CHOSEN_COLUMNS = (
    "group", "setting", "value", "mean", "low", "high", "n",
    "reference", "difference", "difference_low", "difference_high", "n_paired",
)  # fmt: skip
"""Columns of ``chosen``."""
CARRY_OVER_COLUMNS = (
    "group", "setting", "student", "value", "own_value", "n",
    "reference", "gain", "gain_low", "gain_high", "p", "settled", "more_replicates",
    "missed", "missed_low", "missed_high",
)  # fmt: skip
"""Columns of ``carry_over``."""

_Samples = dict[float, pd.DataFrame]
"""Value of the setting -> accuracies, replicates down and student seeds across."""


def chosen(results: SearchResults, setting: str | None = None) -> pd.DataFrame:
    """Return the value that validation images choose, on test images.

    Args:
        results: A search, finished or not.
        setting: As in ``analysis.answers.best_values``.

    Returns:
        A row for each combination of the other settings; none without validation images.

        - ``group``, ``setting``: as in ``best_values``; ``value``: the chosen one
        - ``mean``, ``low``, ``high``, ``n``: test accuracy of unseen students, a fraction, and its
          95% interval over distilled sets
        - ``reference``: plain distillation's value where it was searched; else NaN
        - ``difference``, ``difference_low``, ``difference_high``, ``n_paired``: chosen minus
          reference on test images and shared replicates; 0 where the reference itself is chosen

    Raises:
        ConfigError: Not a varied numeric setting.
    """
    setting = check_setting(results, setting)
    if metric_split(results) == TEST:
        return pd.DataFrame([], columns=list(CHOSEN_COLUMNS))
    accuracies = seed_accuracies(student_rows(results, TEST))
    groups = dict(value_groups(list_configurations(results), setting))
    records = []
    for row in best_values(results, setting).to_dict("records"):
        samples = _samples(groups[row["group"]], setting, accuracies)
        plain = PLAIN.get(setting, math.nan)
        reference = plain if plain in samples else math.nan
        test = {name: row[f"test_{name}"] for name in ("mean", "low", "high", "n")}
        record = {"group": row["group"], "setting": setting, "value": row["best"], **test}
        record["reference"] = reference
        if reference in samples:
            found = paired_difference(subtract(samples[row["best"]], samples[reference]))
            names = ("difference", "difference_low", "difference_high", "n_paired")
            ends = (found.mean, found.low, found.high, found.n)
            record |= dict(zip(names, ends, strict=True))
        records.append(record)
    return pd.DataFrame(records, columns=list(CHOSEN_COLUMNS))


def carry_over(results: SearchResults, setting: str | None = None) -> pd.DataFrame:
    """Return what a choice gains for an architecture that had no say in it.

    Args:
        results: A search with two unseen students or more.
        setting: As in ``analysis.answers.best_values``.

    Returns:
        A row for each combination of the other settings and each unseen student, on the replicates
        that all values share; none where they share less than two, or without validation images.

        - ``group``, ``setting``: as in ``best_values``; ``student``: the one that is left out
        - ``value``: what the other students choose, on all replicates; ``own_value``: what this
          one would; both on validation images
        - ``n``: replicates
        - ``reference``: plain distillation's value where it was searched; else NaN
        - ``gain``, ``gain_low``, ``gain_high``: test accuracy of this student at what the others
          choose, minus that at the reference: fractions, with the 95% interval
        - ``p``: of the paired t test, Holm's over the students of a group; ``settled``,
          ``more_replicates``: as in ``best_values``
        - ``missed``, ``missed_low``, ``missed_high``: test accuracy at what this student itself
          chooses minus that at what the others choose: what a say would have gained it

    Raises:
        ConfigError: Not a varied numeric setting.
    """
    setting = check_setting(results, setting)
    by_split = {split: student_rows(results, split) for split in (VALIDATION, TEST)}
    unseen = {split: rows[rows["unseen"]] for split, rows in by_split.items()}
    # Without validation images there is nothing to choose by: nobody is left to vote.
    students = list(unseen[VALIDATION]["student"].unique())
    records: list[dict[str, Any]] = []
    for group, members in value_groups(list_configurations(results), setting):
        own: list[tuple[dict[str, Any], NDArray[np.float64]]] = []
        for student in students if len(students) > 1 else []:
            is_own = unseen[VALIDATION]["student"] == student
            votes = [
                _samples(members, setting, seed_accuracies(unseen[VALIDATION][rows]))
                for rows in (~is_own, is_own)
            ]
            judged = _samples(members, setting, seed_accuracies(unseen[TEST], student))
            if found := _judge(votes[0], votes[1], judged, PLAIN.get(setting)):
                record = {"group": group, "setting": setting, "student": student, **found.record}
                own.append((record, found.gains))
        records += _tested(own)
    return pd.DataFrame(records, columns=list(CARRY_OVER_COLUMNS))


class _Judged(NamedTuple):
    record: dict[str, Any]
    gains: NDArray[np.float64]
    """[S, K], empty without a reference."""


def _judge(
    others: _Samples, own: _Samples, judged: _Samples, plain: float | None
) -> _Judged | None:
    """Choose for each replicate by the other ones, and judge the choices."""
    values = [value for value in judged if len(judged[value]) and value in others and value in own]
    if not values:
        return None
    replicates = judged[values[0]].index
    for part in (others, own, judged):
        for value in values:
            replicates = replicates.intersection(part[value].index)
    if len(replicates) < 2:
        return None
    votes = [
        np.array([part[value].loc[replicates].mean(axis=1) for value in values])
        for part in (others, own)
    ]
    accuracies = shared_sample([judged[value].loc[replicates] for value in values])
    rows = np.arange(len(replicates))
    by_others, by_own = (accuracies[_choices(vote), rows] for vote in votes)
    missed = bootstrap_interval(by_own - by_others)
    reference = plain if plain in values else None
    gains = (
        np.empty((0, 1)) if reference is None else by_others - accuracies[values.index(reference)]
    )
    record = {
        "value": values[int(votes[0].mean(axis=1).argmax())],
        "own_value": values[int(votes[1].mean(axis=1).argmax())],
        "n": len(replicates),
        "reference": math.nan if reference is None else reference,
        "missed": missed.mean,
        "missed_low": missed.low,
        "missed_high": missed.high,
    }
    return _Judged(record, gains)


def _choices(votes: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each replicate, the value with the highest mean over the others, [S]; ties: the first.

    Args:
        votes: [C, S], accuracy of each value and replicate.
    """
    found: NDArray[np.intp] = (votes.sum(axis=1, keepdims=True) - votes).argmax(axis=0)
    return found


def _tested(found: list[tuple[dict[str, Any], NDArray[np.float64]]]) -> list[dict[str, Any]]:
    tests = [paired_difference(gains) for _, gains in found]
    records = []
    for (record, _), test, p in zip(found, tests, holm(one.p for one in tests), strict=True):
        settled = is_settled(test, p)
        more = math.nan if settled else more_needed(test, len(tests))
        gain = {"gain": test.mean, "gain_low": test.low, "gain_high": test.high, "p": p}
        records.append({**record, **gain, "settled": settled, "more_replicates": more})
    return records


def _samples(members: list[Configuration], setting: str, accuracies: pd.DataFrame) -> _Samples:
    found = {float(one.settings[setting]): sample_of(one.trials, accuracies) for one in members}
    return {value: sample for value, sample in found.items() if len(sample)}


def chosen_table(results: SearchResults, setting: str | None = None) -> Table:
    """Return ``chosen`` as a table; empty where the search asks about no single number."""
    setting = setting or searched_setting(results)
    frame = chosen(results, setting) if setting else pd.DataFrame([], columns=list(CHOSEN_COLUMNS))
    columns = {"group": list(frame["group"])} if frame["group"].any() else {}
    columns["chosen"] = [setting_text(value) for value in frame["value"]]
    settings = len(columns)
    columns["test %"] = [percent(value) for value in frame["mean"]]
    columns["95% interval"] = list(map(interval, frame["low"], frame["high"]))
    columns["n"] = [setting_text(n) for n in frame["n"]]
    columns["above plain"] = [percent(value) for value in frame["difference"]]
    columns["its interval"] = list(map(interval, frame["difference_low"], frame["difference_high"]))
    caption = (
        "The value chosen by validation images, on test images: accuracy of unseen students with "
        "its 95% interval over n distilled sets, and points above plain distillation, paired."
    )
    cells = make_cells(columns, settings, [])
    return Table(
        "chosen", f"The chosen value on test images: {results.title}", frame, cells, caption
    )


def carry_over_table(results: SearchResults, setting: str | None = None) -> Table:
    """Return ``carry_over`` as a table; empty where the search asks about no single number."""
    setting = setting or searched_setting(results)
    columns_of = list(CARRY_OVER_COLUMNS)
    frame = carry_over(results, setting) if setting else pd.DataFrame([], columns=columns_of)
    columns = {"group": list(frame["group"])} if frame["group"].any() else {}
    columns["left out"] = list(frame["student"])
    settings = len(columns)
    columns["others choose"] = [setting_text(value) for value in frame["value"]]
    columns["it chooses"] = [setting_text(value) for value in frame["own_value"]]
    columns["gain"] = [percent(value) for value in frame["gain"]]
    columns["gain interval"] = list(map(interval, frame["gain_low"], frame["gain_high"]))
    columns["p"] = ["-" if math.isnan(p) else f"{p:.3f}" for p in frame["p"]]
    columns["missed"] = [percent(value) for value in frame["missed"]]
    columns["missed interval"] = list(map(interval, frame["missed_low"], frame["missed_high"]))
    columns["n"] = [str(n) for n in frame["n"]]
    columns["settled"] = ["yes" if settled else "no" for settled in frame["settled"]]
    caption = (
        "Each student architecture left out of the choice in turn, and judged on. gain: its test "
        "accuracy at what the others choose, above plain distillation, in points. missed: what its "
        "own choice would have gained more. Choices are made by validation images and the other "
        "replicates; 95% intervals over n replicates; p by the paired t test, after Holm."
    )
    cells = make_cells(columns, settings, [])
    return Table("carry_over", f"Does it carry over: {results.title}", frame, cells, caption)
