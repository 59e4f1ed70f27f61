"""Does a pool near to the main model converge faster, and generalise better?

Pools are ordered by the cosine of their networks' image gradients with the main model's, as trials
measure it where ``run.similarity_draws`` is above 0.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.aggregate import (
    Configuration,
    applying,
    configuration_text,
    list_configurations,
    metric_split,
    setting_text,
)
from analysis.answers import subtract
from analysis.bootstrap import TAILS, bootstrap_interval, resampled_means
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import sample_of, seed_accuracies, student_rows
from analysis.scores import RANDOM
from analysis.statistics import paired_difference
from analysis.words import interval, percent, split_of
from harness.schema import (
    LOSS_SLOPE,
    POOL_SIMILARITY,
    POOL_SIMILARITY_FINAL,
    POOL_SIMILARITY_INITIAL,
    POOL_SIMILARITY_MAIN,
    UNSEEN_MEAN,
)

METHOD = "method"
_MEASURED = {
    "similarity": POOL_SIMILARITY,
    "similarity_initial": POOL_SIMILARITY_INITIAL,
    "similarity_final": POOL_SIMILARITY_FINAL,
    "similarity_main": POOL_SIMILARITY_MAIN,
    "slope": LOSS_SLOPE,
}
_ENDS = ("", "_low", "_high", "_n")
SIMILARITY_COLUMNS = (
    *(f"{name}{end}" for name in _MEASURED for end in _ENDS),
    "split",
    *(f"gain{end}" for end in _ENDS),
)
"""Columns of ``pool_similarity`` that are not settings."""
CORRELATION_COLUMNS = ("group", "of", "correlation", "low", "high", "pools", "n")
"""Columns of ``similarity_correlations``."""
_LEAST_POOLS = 3


_MEANINGS = {
    "slope": ("faster the loss falls", "more slowly the loss falls"),
    "gain": ("smaller the gain of unseen students", "larger the gain of unseen students"),
}
"""Of what -> what a negative and what a positive correlation with the cosine says."""


def pool_similarity(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the pools, nearest to the main model first, with convergence and gain.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.
        metric: Of the gain; as in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each configuration of which a trial measured its pool. Each number has its 95%
        interval and n beside it: ``slope``, ``slope_low``, ``slope_high``, ``slope_n``.

        - one column for each name in ``results.varied``
        - ``similarity``, and ``similarity_initial``, ``similarity_final`` on the first and last
          images alone: mean cosine of the pool's image gradients with the main model's, -1..1
        - ``similarity_main``: cosine of two main models with different weights
        - ``slope``: of the logarithm of the main model's matching loss, nats an iteration
        - ``gain``: accuracy over unseen students minus that of ``random-real`` on the same
          replicates and other settings, a fraction on ``split``; NaN without such trials
    """
    split = metric_split(results, metric)
    accuracies = seed_accuracies(student_rows(results, split))
    found = list_configurations(results)
    records: list[dict[str, Any]] = []
    for one in _measured(found):
        record: dict[str, Any] = {**one.settings, "split": split}
        for name, column in _MEASURED.items():
            record |= _with_ends(name, bootstrap_interval(_values(one, column)))
        gain = paired_difference(_gains(one, found, accuracies))
        record |= _with_ends("gain", (gain.mean, gain.low, gain.high, gain.n))
        records.append(record)
    frame = pd.DataFrame(records, columns=[*results.varied, *SIMILARITY_COLUMNS])
    return frame.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def similarity_correlations(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return Spearman's rank correlation of similarity with convergence and gain, over pools.

    The interval is that of distillation seeds: it resamples the replicates that all pools share.
    It says nothing about pools that were not searched.

    Args:
        results: A search, finished or not.
        metric: As in ``pool_similarity``.

    Returns:
        Two rows for each combination of the settings that are not the pool's, where three pools
        or more share two replicates or more.

        - ``group``: those settings in words; empty where there is one combination
        - ``of``: ``slope`` or ``gain``
        - ``correlation``, ``low``, ``high``: -1..1, with the 95% interval; NaN where all are equal
        - ``pools``, ``n``: pools, shared replicates
    """
    accuracies = seed_accuracies(student_rows(results, metric_split(results, metric)))
    found = list_configurations(results)
    groups: dict[str, list[Configuration]] = {}
    for one in _measured(found):
        rest = {k: v for k, v in one.settings.items() if not k.startswith("pool.")}
        groups.setdefault(configuration_text(list(rest), rest.values()), []).append(one)
    records = []
    for text, pools in groups.items():
        cosines = [_values(one, POOL_SIMILARITY) for one in pools]
        of = {
            "slope": [_values(one, LOSS_SLOPE) for one in pools],
            "gain": [_gains(one, found, accuracies).mean(axis=1) for one in pools],
        }
        for name, others in of.items():
            shared = pd.concat([*cosines, *others], axis=1, join="inner").to_numpy().T
            if len(pools) >= _LEAST_POOLS and shared.shape[1] > 1:
                group = text if len(groups) > 1 else ""
                records.append((group, name, *_correlation(shared), len(pools), shared.shape[1]))
    return pd.DataFrame(records, columns=list(CORRELATION_COLUMNS))


def similarity_table(results: SearchResults) -> Table:
    """Return ``pool_similarity`` as a table, the correlations in its caption."""
    frame = pool_similarity(results)
    columns = {name: [setting_text(value) for value in frame[name]] for name in results.varied}
    for title, name in (
        ("cosine", "similarity"),
        ("first", "similarity_initial"),
        ("last", "similarity_final"),
        ("main", "similarity_main"),
    ):
        columns[title] = ["-" if value != value else f"{value:.3f}" for value in frame[name]]
    columns["slope"] = ["-" if value != value else f"{value:.2e}" for value in frame["slope"]]
    columns["gain"] = [percent(value) for value in frame["gain"]]
    columns["gain interval"] = list(map(interval, frame["gain_low"], frame["gain_high"]))
    columns["n"] = [str(n) for n in frame["gain_n"]]
    caption = (
        "cosine: of the image gradients of the pool's other networks with the main model's, also "
        "on the first and last images alone; main: of two main models. slope: of the logarithm of "
        "the main model's matching loss, nats an iteration. gain: accuracy of unseen students on "
        f"{split_of(frame)} images above that of random-real, in points, on n shared replicates."
    )
    words = correlation_words(similarity_correlations(results))
    cells = make_cells(columns, len(results.varied), [])
    title = f"Pools by similarity: {results.title}"
    return Table("pool_similarity", title, frame, cells, " ".join([caption, *words]))


def correlation_words(frame: pd.DataFrame) -> list[str]:
    """Say what ``similarity_correlations`` says: a sentence a row."""
    lines = []
    for row in frame.to_dict("records"):
        start = f"{row['group']}: rank" if row["group"] else "Rank"
        if row["correlation"] == row["correlation"]:
            said = f"{row['correlation']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        else:
            said = "unknown, since all are equal"
        lines.append(
            f"{start} correlation (Spearman) of cosine and {row['of']} over {row['pools']} pools: "
            f"{said}, n = {row['n']}: {_meaning(row)}."
        )
    return lines


def _meaning(row: Mapping[Hashable, Any]) -> str:
    """What a correlation's sign says, where its interval has one sign."""
    if not (row["low"] > 0.0 or row["high"] < 0.0):
        return "undecided"
    falling, rising = _MEANINGS[row["of"]]
    return f"the more similar the pool, the {rising if row['low'] > 0.0 else falling}"


def _measured(found: list[Configuration]) -> list[Configuration]:
    return [one for one in found if len(_values(one, POOL_SIMILARITY))]


def _values(one: Configuration, column: str) -> pd.Series:
    """A number of a configuration's trials with status ok, by replicate; those that have it."""
    if column not in one.trials.columns:
        return pd.Series(dtype="float64")
    own = one.trials[one.trials["status"] == "ok"].drop_duplicates("replicate")
    return own.set_index("replicate")[column].dropna().sort_index()


def _gains(
    one: Configuration, found: list[Configuration], accuracies: pd.DataFrame
) -> pd.DataFrame:
    """Accuracy above random images, by replicate and student seed; empty where there are none."""
    own = {k: v for k, v in applying(one.settings).items() if k != METHOD}
    floor = pd.DataFrame(index=one.trials["replicate"].iloc[:0])
    most = -1
    for other in found:
        rest = applying(other.settings)
        if rest.pop(METHOD, None) == RANDOM and rest.items() <= own.items() and len(rest) > most:
            floor, most = sample_of(other.trials, accuracies), len(rest)
    return subtract(sample_of(one.trials, accuracies), floor)


def _with_ends(name: str, values: tuple[float, float, float, int]) -> dict[str, float]:
    return {f"{name}{end}": v for end, v in zip(_ENDS, values, strict=True)}


def _correlation(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Rank correlation of the first half of the rows with the second, and its interval.

    Args:
        values: [2 C, S], for each of C pools its cosines, then what they are compared with.
    """
    mean = _rank_correlation(values.mean(axis=1)[None])[0]
    resampled = _rank_correlation(resampled_means(values[:, :, None]))
    if np.isnan(mean) or np.isnan(resampled).all():
        return float("nan"), float("nan"), float("nan")
    low, high = np.nanquantile(resampled, TAILS)
    return float(mean), float(low), float(high)


def _rank_correlation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row's first half with its second, [B]; NaN: all equal."""
    half = values.shape[1] // 2
    x, y = (stats.rankdata(part, axis=1) for part in (values[:, :half], values[:, half:]))
    x, y = (part - part.mean(axis=1, keepdims=True) for part in (x, y))
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    found: NDArray[np.float64] = np.divide(
        (x * y).sum(axis=1), scale, out=np.full(len(values), np.nan), where=scale > 0
    )
    return found
