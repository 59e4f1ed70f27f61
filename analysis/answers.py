"""Which value of a setting is best, how sure that is, and the answer in plain words."""

import math
from typing import Any, NamedTuple

import numpy as np
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
from analysis.bootstrap import TAILS, best_shares, bootstrap_interval, resampled_means
from analysis.load import SearchResults
from analysis.samples import sample_of, seed_accuracies, shared_sample, student_rows
from analysis.statistics import (
    LEVEL,
    MOST_REPLICATES,
    Difference,
    holm,
    paired_difference,
    replicates_needed,
)
from analysis.words import difference_words, interval, percent
from harness.errors import ConfigError, suggest
from harness.schema import TEST, UNSEEN_MEAN

MAIN_PROBABILITY = "pool.main_probability"
"""The setting that the project's first question is about."""
PLAIN = {MAIN_PROBABILITY: 1.0}
"""Value of a setting that others are compared with where it was searched: plain distillation."""
LEAST_REPLICATES = 3
"""Fewer do not settle anything: two have one degree of freedom."""

VALUE_COLUMNS = (
    "group", "setting", "split", "best", "best_low", "best_high", "p_best", "mean", "low", "high",
    "n", "reference", "difference", "difference_low", "difference_high", "p", "n_paired",
    "settled", "more_replicates", "test_mean", "test_low", "test_high", "test_n",
)  # fmt: skip
"""Columns of ``best_values``."""


class _Arm(NamedTuple):
    """A value of the setting, with its results."""

    value: float
    sample: pd.DataFrame
    trials: pd.DataFrame


def setting_title(setting: str) -> str:
    """Return what a setting is called in sentences and on axes."""
    return "main-model probability" if setting == MAIN_PROBABILITY else setting


def numeric_settings(results: SearchResults) -> list[str]:
    """Return the varied settings with at least two values, all of them numbers."""
    found = []
    for name in results.varied:
        values = [value for value in results.trials[name].unique() if not is_missing(value)]
        numbers = all(is_number(value) for value in values)
        if numbers and len(values) > 1:
            found.append(name)
    return found


def searched_setting(results: SearchResults) -> str | None:
    """Return the numeric setting that a search asks about; None where there is no single one.

    It is ``pool.main_probability`` where that is varied, else the only numeric setting.
    """
    names = numeric_settings(results)
    if MAIN_PROBABILITY in names:
        return MAIN_PROBABILITY
    return names[0] if len(names) == 1 else None


def best_values(
    results: SearchResults, setting: str | None = None, metric: str = UNSEEN_MEAN
) -> pd.DataFrame:
    """Return the best value of a numeric setting, for each combination of the other settings.

    Values are judged by validation accuracy over unseen students. The interval over values holds
    95% of the best values of resamples of the replicates that all values share. The best value is
    then compared, replicate by replicate, with a reference: that of plain distillation (1.0 for
    ``pool.main_probability``) where it was searched and is not the best itself, else the runner-up.
    p values are Holm's, over the comparisons of every value with the reference (of every other
    value with the best, where the runner-up is the reference). It is settled where p < 0.05, the
    interval of the difference is above 0 and n is at least 3.

    A configuration to which one of the other settings does not apply belongs to all of their
    values: at a main-model probability of 1 the distribution of the others plays no part.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.
        setting: Its dotted name; by default ``searched_setting``.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each combination of the other settings that has a value with results.

        - ``group``: the other settings in words; empty where there are none
        - ``setting``: its name
        - ``split``: of ``mean`` to ``high`` and of the differences
        - ``best``, ``best_low``, ``best_high``: best value and the ends of its 95% interval, which
          are values of the search; NaN where the values share less than two replicates
        - ``p_best``: share of resamples in which it is the best
        - ``mean``, ``low``, ``high``, ``n``: of the best value, as in ``by_setting``
        - ``reference``: value compared with; NaN where there is no other
        - ``difference``, ``difference_low``, ``difference_high``: best minus reference, fractions
        - ``p``, ``n_paired``: of that difference; shared replicates
        - ``settled``: bool
        - ``more_replicates``: how many more would settle it (``replicates_needed``); NaN where it
          is settled, unknown, or more than 1000
        - ``test_mean`` ... ``test_n``: of the best value on test images, not chosen by

    Raises:
        ConfigError: Not a varied numeric setting.
    """
    setting = check_setting(results, setting)
    split = metric_split(results, metric)
    accuracies = seed_accuracies(student_rows(results, split))
    on_test = accuracies if split == TEST else seed_accuracies(student_rows(results, TEST))
    records = []
    for group, members in value_groups(list_configurations(results), setting):
        arms = [
            _Arm(float(one.settings[setting]), sample_of(one.trials, accuracies), one.trials)
            for one in members
        ]
        arms = [arm for arm in arms if len(arm.sample)]
        if arms:
            found = _judge(arms, PLAIN.get(setting))
            best = next(arm for arm in arms if arm.value == found["best"])
            test = bootstrap_interval(sample_of(best.trials, on_test))
            ends = dict(zip(("test_mean", "test_low", "test_high", "test_n"), test, strict=True))
            records.append({"group": group, "setting": setting, "split": split, **found, **ends})
    return pd.DataFrame(records, columns=list(VALUE_COLUMNS))


def value_words(row: Any) -> list[str]:
    """Say what a row of ``best_values`` says, in two or three lines."""
    name = setting_title(row.setting)
    start = f"{row.group}: best {name}" if row.group else f"Best {name}"
    best = setting_text(row.best)
    if not math.isnan(row.best_low):
        best += f" [{setting_text(row.best_low)}, {setting_text(row.best_high)}]"
    if math.isnan(row.reference):
        first = f"{start}: undecided; only {best} has results so far"
    elif row.settled:
        first = (
            f"{start}: {best}; better than {setting_text(row.reference)} by {_gain(row)}, "
            f"n = {row.n_paired}"
        )
    elif row.n_paired == 0:
        first = (
            f"{start}: undecided; {best} has the highest mean, but shares no replicate with "
            + (f"{setting_text(row.reference)}")
        )
    else:
        first = (
            f"{start}: undecided at n = {row.n_paired}; {best} has the highest mean, {_gain(row)} "
            f"above {setting_text(row.reference)}; {more_words(row.more_replicates, row.n_paired)}"
        )
    accuracy = accuracy_words(row.mean, row.low, row.high, row.n)
    lines = [
        first,
        f"Mean {row.split} accuracy of unseen students at {best.split()[0]}: {accuracy}",
    ]
    if row.split != TEST:
        test = accuracy_words(row.test_mean, row.test_low, row.test_high, row.test_n)
        lines.append(f"On test images: {test}")
    return lines


def more_words(more: float, n: int) -> str:
    """Say how many more replicates would settle a difference."""
    if n < 2:
        missing = LEAST_REPLICATES - n
        lack = "one replicate has no spread" if n else "no replicate has both"
        return f"{lack}: at least {missing} more replicates are needed"
    if math.isnan(more):
        return (
            f"not even {MOST_REPLICATES} replicates would settle a difference as small as this at "
            "this spread"
        )
    return f"about {int(more)} more replicate{'' if more == 1 else 's'} would settle it"


def more_needed(found: Difference, tests: int) -> float:
    """Return how many more replicates a difference needs, at least 1; NaN where unknown."""
    needed = replicates_needed(found.mean, found.std, tests)
    return (
        math.nan if needed is None else float(max(needed - found.n, LEAST_REPLICATES - found.n, 1))
    )


def is_settled(found: Difference, p: float) -> bool:
    """Whether a difference is no chance: p < 0.05, interval without 0, at least 3 replicates."""
    apart = found.low > 0.0 or found.high < 0.0
    return found.n >= LEAST_REPLICATES and p < LEVEL and apart


def subtract(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return first minus second on the replicates and student seeds that they share."""
    replicates = first.index.intersection(second.index)
    seeds = first.columns.intersection(second.columns)
    return first.loc[replicates, seeds] - second.loc[replicates, seeds]


def check_setting(results: SearchResults, setting: str | None) -> str:
    """Return the numeric setting to judge, by default ``searched_setting``.

    Raises:
        ConfigError: It is not a varied numeric setting, or there is no single one.
    """
    known = numeric_settings(results)
    if setting is None:
        setting = searched_setting(results)
        if setting is None:
            raise ConfigError(
                f"setting: {results.name} varies {', '.join(known) or 'no number'}, expected one "
                "numeric setting; name the one to judge"
            )
    if setting not in known:
        raise ConfigError(f"setting: got '{setting}'; {suggest(setting, known)}")
    return setting


def value_groups(found: list[Configuration], setting: str) -> list[tuple[str, list[Configuration]]]:
    """Group configurations by their other settings; a missing one fits any value.

    Args:
        found: Configurations.
        setting: Whose values are compared.

    Returns:
        Of each group the other settings in words, and its configurations, smallest value first.
    """
    own = [one for one in found if not is_missing(one.settings[setting])]
    keys: list[dict[str, Any]] = []
    for one in own:
        key = {k: v for k, v in applying(one.settings).items() if k != setting}
        if key not in keys:
            keys.append(key)
    # One that another extends has no values of its own to be compared.
    whole = [key for key in keys if not any(key.items() < other.items() for other in keys)]
    groups = []
    for key in whole:
        members = {
            one.settings[setting]: one
            for one in own
            if all(
                is_missing(v) or key.get(k) == v for k, v in one.settings.items() if k != setting
            )
        }
        same = [k for k in key if all(other.get(k) == key[k] for other in whole)]
        told = {k: v for k, v in key.items() if k not in same} if len(whole) > 1 else {}
        text = configuration_text(list(told), told.values()) if told else ""
        groups.append((text, [members[value] for value in sorted(members)]))
    return groups


def _judge(arms: list[_Arm], plain: float | None) -> dict[str, Any]:
    """Find the best of some values and compare it with a reference."""
    means = np.array([arm.sample.to_numpy().mean() for arm in arms])
    order = np.argsort(-means, kind="stable")
    best = arms[order[0]]
    own = bootstrap_interval(best.sample)
    record: dict[str, Any] = {
        "best": best.value,
        "mean": own.mean,
        "low": own.low,
        "high": own.high,
        "n": own.n,
        "n_paired": 0,
        "settled": False,
    }
    record |= _spread(arms, best)
    if len(arms) < 2:
        return record
    reference = next((arm for arm in arms if arm.value == plain and arm is not best), None)
    if reference is None:
        reference = arms[order[1]]
        family = [(best, arm) for arm in arms if arm is not best]
    else:
        family = [(arm, reference) for arm in arms if arm is not reference]
    tests = [paired_difference(subtract(a.sample, b.sample)) for a, b in family]
    corrected = holm(test.p for test in tests)
    place = next(i for i, (a, b) in enumerate(family) if a is best and b is reference)
    found, p = tests[place], corrected[place]
    settled = is_settled(found, p)
    return record | {
        "reference": reference.value,
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "p": p,
        "n_paired": found.n,
        "settled": settled,
        "more_replicates": math.nan if settled else more_needed(found, len(tests)),
    }


def _spread(arms: list[_Arm], best: _Arm) -> dict[str, float]:
    """Interval over values and the chance of being the best, where they share two replicates."""
    shared = shared_sample([arm.sample for arm in arms])
    if shared.shape[1] < 2:
        return {}
    shares = best_shares(resampled_means(shared))
    values = np.array([arm.value for arm in arms])
    reached = np.cumsum(shares)
    low = values[np.searchsorted(reached, TAILS[0])]
    high = values[min(int(np.searchsorted(reached, TAILS[1])), len(values) - 1)]
    return {
        "best_low": float(min(low, best.value)),
        "best_high": float(max(high, best.value)),
        "p_best": float(shares[[arm is best for arm in arms]].sum()),
    }


def accuracy_words(mean: float, low: float, high: float, n: int) -> str:
    """Return ``61.0% [51.8, 70.2], n = 2``."""
    ends = interval(low, high)
    return f"{percent(mean)}% {'(no interval)' if ends == '-' else ends}, n = {int(n)}"


def _gain(row: Any) -> str:
    return difference_words(row.difference, row.difference_low, row.difference_high)


def is_number(value: object) -> bool:
    """Whether a setting's value is a number; truth values are not."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
