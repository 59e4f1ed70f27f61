"""From rows to one line a configuration: means over distilled sets, with their intervals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.bootstrap import bootstrap_interval
from analysis.load import SearchResults
from analysis.samples import (
    MAIN,
    UNSEEN,
    sample_of,
    seed_accuracies,
    student_rows,
    within_std,
)
from harness.errors import ConfigError, suggest
from harness.schema import TEST, TEST_UNSEEN_MEAN, UNSEEN_MEAN, VALIDATION

METRIC_COLUMNS = (
    "split",
    "mean",
    "low",
    "high",
    "std",
    "std_within",
    "n",
    "n_diverged",
    "n_not_run",
    "n_diverged_students",
    "test_mean",
    "test_low",
    "test_high",
)
"""Columns of ``by_setting`` that are not settings."""
FIXED = "(no setting varied)"
"""Text of the one configuration of a search that varies nothing."""

_SPLITS = {UNSEEN_MEAN: VALIDATION, TEST_UNSEEN_MEAN: TEST}


def metric_split(results: SearchResults, metric: str = UNSEEN_MEAN) -> str:
    """Return the split that a metric is read from.

    It is the metric's own, but ``test`` where every row has the protocol ``paper``, which trains
    on all training images and so has no validation images.

    Args:
        results: A search.
        metric: ``validation/unseen_mean`` or ``test/unseen_mean``.

    Raises:
        ConfigError: Another metric.
    """
    if metric not in _SPLITS:
        raise ConfigError(f"metric: got '{metric}'; {suggest(metric, _SPLITS)}")
    if len(results.rows) and (results.rows["protocol"] == "paper").all():
        return TEST
    return _SPLITS[metric]


class Configuration(NamedTuple):
    """One combination of the varied settings."""

    settings: dict[str, Any]
    """Value of each varied setting; missing where it does not apply (KD off)."""
    trials: pd.DataFrame
    """Its rows of ``SearchResults.trials``."""

    @property
    def text(self) -> str:
        """Its settings in words."""
        return configuration_text(list(self.settings), self.settings.values())


def list_configurations(results: SearchResults) -> list[Configuration]:
    """Return each combination of the varied settings, smallest first; missing is a value as well.

    One configuration where nothing is varied, none where nothing is planned.
    """
    trials, settings = results.trials, list(results.varied)
    found = [
        Configuration({name: part[name].iloc[0] for name in settings}, part)
        for part in _split(trials, settings)
    ]
    check_count("trials in configurations", sum(len(one.trials) for one in found), len(trials))
    return sorted(found, key=lambda one: [value_order(value) for value in one.settings.values()])


def by_setting(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return one row for each configuration, means over its distilled sets.

    The value of a trial is its accuracy over unseen students (``seed_accuracies``). A
    configuration's mean and standard deviation are over the values of its replicates: one a
    distilled set.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.
        metric: ``validation/unseen_mean`` or ``test/unseen_mean``; ``metric_split`` says which
            split is used.

    Returns:
        A row for each combination of the varied settings, smallest first; one row where nothing
        is varied. Missing settings (KD off) are a value like any other.

        - one column for each name in ``results.varied``
        - ``split``: split of ``mean`` to ``std_within``
        - ``mean``: fraction, 0..1; NaN where n = 0
        - ``low``, ``high``: ends of the 95% interval (``analysis.bootstrap``); NaN where n < 2
        - ``std``: standard deviation between distilled sets; NaN where n < 2
        - ``std_within``: standard deviation between student seeds within sets, pooled; NaN with
          one student seed
        - ``n``: distilled sets in the mean: replicates with status ok and a value
        - ``n_diverged``, ``n_not_run``: trials with that status
        - ``n_diverged_students``: networks of unseen students that diverged, left out of ``mean``
        - ``test_mean``, ``test_low``, ``test_high``: the same mean and interval on test images

    Raises:
        ConfigError: Unknown metric.
    """
    split = metric_split(results, metric)
    rows = student_rows(results, split)
    accuracies = seed_accuracies(rows)
    on_test = accuracies if split == TEST else seed_accuracies(student_rows(results, TEST))
    lost = rows.loc[rows["unseen"] & ~rows["counted"], "trial_id"].value_counts()
    records: list[dict[str, Any]] = []
    for settings, part in list_configurations(results):
        sample = sample_of(part, accuracies)
        statuses = part["status"].value_counts()
        main, test = bootstrap_interval(sample), bootstrap_interval(sample_of(part, on_test))
        records.append(
            {
                **settings,
                "split": split,
                "mean": main.mean,
                "low": main.low,
                "high": main.high,
                "std": float(sample.mean(axis=1).std(ddof=1)) if main.n > 1 else math.nan,
                "std_within": within_std(sample),
                "n": main.n,
                "n_diverged": int(statuses.get("diverged", 0)),
                "n_not_run": int(statuses.get("not_run", 0)),
                "n_diverged_students": int(lost.reindex(part["trial_id"]).sum()),
                "test_mean": test.mean,
                "test_low": test.low,
                "test_high": test.high,
            }
        )
    return pd.DataFrame(records, columns=[*results.varied, *METRIC_COLUMNS])


def configurations(results: SearchResults) -> pd.DataFrame:
    """Return a row for each configuration, split and group of students.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.

    Returns:
        In the order of ``list_configurations``; every configuration has a row for every split and
        group, with n = 0 where there is nothing yet.

        - one column for each name in ``results.varied``
        - ``split``: ``validation`` or ``test``, those that rows have
        - ``students``: ``unseen``, ``main``, or the label of a student
        - ``mean``, ``low``, ``high``, ``std``, ``std_within``, ``n``: as in ``by_setting``
    """
    columns = ["split", "students", "mean", "low", "high", "std", "std_within", "n"]
    found = list_configurations(results)
    records: list[dict[str, Any]] = []
    for split in (VALIDATION, TEST):
        rows = student_rows(results, split)
        groups = [UNSEEN, MAIN, *rows["student"].unique()] if len(rows) else []
        for students in groups:
            accuracies = seed_accuracies(rows, students)
            for place, (settings, part) in enumerate(found):
                sample = sample_of(part, accuracies)
                mean, low, high, n = bootstrap_interval(sample)
                std = float(sample.mean(axis=1).std(ddof=1)) if n > 1 else math.nan
                values = (split, students, mean, low, high, std, within_std(sample), n)
                record = dict(zip(columns, values, strict=True))
                records.append({"place": place, **settings, **record})
    frame = pd.DataFrame(records, columns=["place", *results.varied, *columns])
    frame = frame.sort_values("place", kind="stable", ignore_index=True)
    return frame.drop(columns="place")


def check_count(what: str, got: int, expected: int) -> None:
    """Stop if grouping or joining lost or doubled anything: a wrong mean would look right.

    Raises:
        AssertionError: The counts differ; a bug of this package.
    """
    if got != expected:
        raise AssertionError(f"{what}: got {got}, expected {expected}; please report this")


def applying(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a configuration that apply to it: those that are not missing."""
    return {name: value for name, value in settings.items() if not is_missing(value)}


def setting_text(value: object) -> str:
    """Return a setting's value as short text, ``-`` where it is missing."""
    if is_missing(value):
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        # A column with missing values holds integers as floats.
        whole = number.is_integer() and abs(number) < 1e15
        return str(int(number)) if whole else f"{number:.6g}"
    return str(value)


def configuration_text(names: Sequence[str], values: Iterable[object]) -> str:
    """Return ``ipc = 1, kd.alpha = 0.5``, without the settings that are missing."""
    pairs = zip(names, values, strict=True)
    said = [f"{name} = {setting_text(value)}" for name, value in pairs if not is_missing(value)]
    return ", ".join(said) or FIXED


def configuration_texts(trials: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return ``configuration_text`` of each row of ``SearchResults.trials``."""
    values = [trials[name] for name in names]
    rows = zip(*values, strict=True) if values else [()] * len(trials)
    return [configuration_text(names, row) for row in rows]


def _split(trials: pd.DataFrame, settings: list[str]) -> list[pd.DataFrame]:
    if not settings:
        return [trials] if len(trials) else []
    return [part for _, part in trials.groupby(settings, dropna=False, sort=False)]


def is_missing(value: object) -> bool:
    """Whether a setting does not apply: None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def value_order(value: object) -> tuple[int, float, str]:
    """Return a sort key over mixed types: numbers, then texts, then missing values."""
    if is_missing(value):
        return 2, 0.0, ""
    if isinstance(value, (int, float, np.number, np.bool_)):
        return 0, float(value), ""
    return 1, 0.0, str(value)
