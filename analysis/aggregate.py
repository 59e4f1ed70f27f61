"""From rows to one line a configuration: means over distilled sets, with their intervals."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import SearchResults
from analysis.statistics import mean_interval
from harness.errors import ConfigError, suggest
from harness.schema import TEST, TEST_UNSEEN_MEAN, UNSEEN_MEAN, VALIDATION

METRIC_COLUMNS = (
    "split",
    "mean",
    "low",
    "high",
    "std",
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


def student_rows(results: SearchResults, split: str) -> pd.DataFrame:
    """Return the rows that means are made of: students of trials with status ok.

    Args:
        results: A search.
        split: ``validation`` or ``test``.

    Returns:
        The rows of ``results.rows`` on that split, and two columns more:

        - ``unseen``: bool, whether the student is another architecture than the main model
        - ``counted``: bool, whether it enters means; False for a student that diverged, which
          has no accuracy (it is not one of 10%)
    """
    rows = results.rows
    ok = results.trials.loc[results.trials["status"] == "ok", "trial_id"]
    chosen = rows[rows["trial_id"].isin(ok) & (rows["split"] == split) & rows["student"].notna()]
    return chosen.assign(
        unseen=chosen["student"] != chosen["main_model"],
        counted=(chosen["status"] == "ok") & chosen["accuracy"].notna(),
    )


def unseen_means(rows: pd.DataFrame) -> pd.Series:
    """Return the accuracy of each trial over unseen students, as ``trial.json`` states it.

    It is the mean over architectures of the mean over an architecture's networks that did not
    diverge: each architecture weighs the same. A trial has none (NaN) where all networks of an
    architecture diverged, since a mean over the others would not be comparable.

    Args:
        rows: As ``student_rows`` returns them.

    Returns:
        Fraction, 0..1, indexed by ``trial_id``.
    """
    unseen = rows[rows["unseen"]]
    finite = unseen["accuracy"].where(unseen["counted"])
    by_student = finite.groupby([unseen["trial_id"], unseen["student"]]).mean()
    # Unlike groupby's own mean, this one does not pass over a missing architecture.
    balanced = by_student.groupby("trial_id").agg(lambda part: part.mean(skipna=False))
    return balanced.astype("float64")


def by_setting(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return one row for each configuration, means over its distilled sets.

    The value of a trial is its accuracy over unseen students (``unseen_means``). A
    configuration's mean, interval and standard deviation are over the values of its trials: one a
    distilled set.

    Args:
        results: A search, finished or not.
        metric: ``validation/unseen_mean`` or ``test/unseen_mean``; ``metric_split`` says which
            split is used.

    Returns:
        A row for each combination of the varied settings, smallest first; one row where nothing
        is varied. Missing settings (KD off) are a value like any other.

        - one column for each name in ``results.varied``
        - ``split``: split of ``mean`` to ``std``
        - ``mean``: fraction, 0..1; NaN where n = 0
        - ``low``, ``high``: ends of the 95% t interval; NaN where n < 2
        - ``std``: standard deviation between distilled sets; NaN where n < 2
        - ``n``: distilled sets in the mean: trials with status ok and a value
        - ``n_diverged``, ``n_not_run``: trials with that status
        - ``n_diverged_students``: networks of unseen students that diverged, left out of ``mean``
        - ``test_mean``, ``test_low``, ``test_high``: the same mean and interval on test images

    Raises:
        ConfigError: Unknown metric.
    """
    split = metric_split(results, metric)
    trials = results.trials.assign(
        value=_unseen_means(results, split), test=_unseen_means(results, TEST)
    )
    lost = student_rows(results, split)
    lost = lost[lost["unseen"] & ~lost["counted"]]
    settings = list(results.varied)
    records: list[dict[str, Any]] = []
    counted = 0
    for part in _configurations(trials, settings):
        counted += len(part)
        sets = part["value"].dropna()
        statuses = part["status"].value_counts()
        main, test = mean_interval(sets), mean_interval(part["test"].dropna())
        records.append(
            {
                **{name: part[name].iloc[0] for name in settings},
                "split": split,
                "mean": main.mean,
                "low": main.low,
                "high": main.high,
                "std": float(sets.std(ddof=1)) if main.n > 1 else math.nan,
                "n": main.n,
                "n_diverged": int(statuses.get("diverged", 0)),
                "n_not_run": int(statuses.get("not_run", 0)),
                "n_diverged_students": int(lost["trial_id"].isin(part["trial_id"]).sum()),
                "test_mean": test.mean,
                "test_low": test.low,
                "test_high": test.high,
            }
        )
    check_count("trials in configurations", counted, len(results.trials))
    records.sort(key=lambda record: [_order(record[name]) for name in settings])
    return pd.DataFrame(records, columns=[*settings, *METRIC_COLUMNS])


def check_count(what: str, got: int, expected: int) -> None:
    """Stop if grouping or joining lost or doubled anything: a wrong mean would look right.

    Raises:
        AssertionError: The counts differ; a bug of this package.
    """
    if got != expected:
        raise AssertionError(f"{what}: got {got}, expected {expected}; please report this")


def setting_text(value: object) -> str:
    """Return a setting's value as short text, ``-`` where it is missing."""
    if _missing(value):
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
    said = [f"{name} = {setting_text(value)}" for name, value in pairs if not _missing(value)]
    return ", ".join(said) or FIXED


def _unseen_means(results: SearchResults, split: str) -> pd.Series:
    """``unseen_means`` aligned with ``results.trials``; NaN where there is none."""
    means = unseen_means(student_rows(results, split))
    return results.trials["trial_id"].map(means).astype("float64")


def _configurations(trials: pd.DataFrame, settings: list[str]) -> list[pd.DataFrame]:
    if not settings:
        return [trials] if len(trials) else []
    return [part for _, part in trials.groupby(settings, dropna=False, sort=False)]


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _order(value: object) -> tuple[int, float, str]:
    """Sort key over mixed types: numbers, then texts, then missing values."""
    if _missing(value):
        return 2, 0.0, ""
    if isinstance(value, (int, float, np.number, np.bool_)):
        return 0, float(value), ""
    return 1, 0.0, str(value)
