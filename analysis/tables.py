"""The table of a search: one row a configuration."""

import math

import numpy as np
import pandas as pd
from rich.table import Table as RichTable

from analysis.aggregate import METRIC_COLUMNS, by_setting, list_configurations, setting_text
from analysis.answers import subtract
from analysis.bootstrap import best_shares, resampled_means
from analysis.load import SearchResults
from analysis.render import Cells, Table, make_cells, terminal
from analysis.samples import sample_of, seed_accuracies, shared_sample, student_rows
from analysis.statistics import holm, interquartile_mean, paired_difference
from analysis.words import interval, percent, split_of
from harness.schema import TEST, UNSEEN_MEAN

RANKING_COLUMNS = ("iqm", "p_best", "behind", "behind_low", "behind_high", "p", "n_paired")
"""Columns of ``leaderboard`` that ``by_setting`` does not have."""
_COUNTS = {
    "n_diverged": "diverged",
    "n_not_run": "not run",
    "n_diverged_students": "diverged students",
}


def leaderboard(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the configurations, best mean first, and how sure their order is.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        The rows and columns of ``by_setting``, those without a mean last, and

        - ``iqm``: interquartile mean over sets and student seeds, a fraction
        - ``p_best``: share of resamples in which it has the highest mean, among the
          configurations with two sets or more, on the replicates that these share; NaN for
          others, and where these share less than two
        - ``behind``, ``behind_low``, ``behind_high``: the best's accuracy minus its own on shared
          replicates, fractions; NaN for the best itself
        - ``p``: of that difference, paired t test, Holm's over the configurations
        - ``n_paired``: shared replicates
    """
    frame = by_setting(results, metric)
    accuracies = seed_accuracies(student_rows(results, split_of(frame)))
    samples = [sample_of(one.trials, accuracies) for one in list_configurations(results)]
    frame["iqm"] = [interquartile_mean(sample) for sample in samples]
    frame["p_best"] = np.nan
    several = [place for place, sample in enumerate(samples) if len(sample) > 1]
    if several:
        shared = shared_sample([samples[place] for place in several])
        if shared.shape[1] > 1:
            frame.loc[several, "p_best"] = best_shares(resampled_means(shared))
    ranks = frame["mean"].rank(method="first", ascending=False)
    best = None if ranks.isna().all() else int(ranks.argmin())
    found = [
        paired_difference([]) if best in (None, place) else
        paired_difference(subtract(samples[best], sample))
        for place, sample in enumerate(samples)
    ]  # fmt: skip
    frame["behind"] = [one.mean for one in found]
    frame["behind_low"] = [one.low for one in found]
    frame["behind_high"] = [one.high for one in found]
    frame["p"] = holm(one.p for one in found)
    frame["n_paired"] = [one.n for one in found]
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def leaderboard_table(results: SearchResults) -> Table:
    """Return ``leaderboard`` as a table."""
    frame = leaderboard(results)
    cells = table_cells(frame.drop(columns=list(RANKING_COLUMNS)))
    columns = {name: [row[i] for row in cells.rows] for i, name in enumerate(cells.header)}
    columns["IQM %"] = [percent(value) for value in frame["iqm"]]
    columns["P(best)"] = ["-" if math.isnan(p) else f"{p:.2f}" for p in frame["p_best"]]
    columns["behind"] = [percent(value) for value in frame["behind"]]
    columns["behind interval"] = list(map(interval, frame["behind_low"], frame["behind_high"]))
    columns["p"] = ["-" if math.isnan(p) else f"{p:.3f}" for p in frame["p"]]
    caption = (
        table_caption(frame) + " IQM: interquartile mean over sets and student seeds. P(best): "
        "share of resamples in which it is the best. behind: the best's accuracy minus its own on "
        "shared replicates, in points; p by the paired t test, after Holm."
    )
    shown = make_cells(columns, cells.num_settings, list(cells.best))
    return Table("leaderboard", f"Leaderboard: {results.title}", frame, shown, caption)


def table_cells(frame: pd.DataFrame, *, test: bool = True) -> Cells:
    """Return the text of a table.

    Columns of counts (diverged, not run, diverged students) are shown where one is not 0.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
        test: Whether to show the test columns too, where the main ones are on validation images.
    """
    settings = [name for name in frame.columns if name not in METRIC_COLUMNS]
    best = [bool(mark) for mark in frame["mean"] == frame["mean"].max()]
    columns: dict[str, list[str]] = {
        name: [setting_text(value) for value in frame[name]] for name in settings
    }
    columns["accuracy %"] = [
        percent(mean) + (" *" if mark else "")
        for mean, mark in zip(frame["mean"], best, strict=True)
    ]
    columns["95% interval"] = list(map(interval, frame["low"], frame["high"]))
    columns["std"] = [percent(value) for value in frame["std"]]
    if test and frame["std_within"].notna().any():
        columns["std within"] = [percent(value) for value in frame["std_within"]]
    columns["n"] = [str(value) for value in frame["n"]]
    if test and split_of(frame) != TEST:
        columns["test %"] = [percent(value) for value in frame["test_mean"]]
        columns["test interval"] = list(map(interval, frame["test_low"], frame["test_high"]))
    for name, title in _COUNTS.items():
        if frame[name].any():
            columns[title] = [str(value) for value in frame[name]]
    return make_cells(columns, len(settings), best)


def table_caption(frame: pd.DataFrame) -> str:
    """Say what a table shows: accuracy of whom, on which images, over what.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
    """
    split = split_of(frame)
    caption = (
        f"Mean accuracy of unseen students on {split} images, over n distilled sets "
        "(distillation seeds), with 95% intervals (bootstrap over distillation and student "
        "seeds) and the std between sets. * best mean."
    )
    if split == TEST:
        caption += (
            ' Protocol "paper" trains on all training images and has no validation images:'
            " these are test accuracies, to compare with published ones, not to choose by."
        )
    return caption


def terminal_table(frame: pd.DataFrame, title: str) -> RichTable:
    """Return a table for a terminal, accuracies in percent with one decimal.

    Test columns are left to the report: the table fits 80 columns, and chooses by validation.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
        title: Line above the table.
    """
    return terminal(table_cells(frame, test=False), title, table_caption(frame))
