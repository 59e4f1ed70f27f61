"""The architecture matrix: distilled with one network, evaluated on each."""

from typing import Any

import pandas as pd

from analysis.aggregate import list_configurations, metric_split, setting_text
from analysis.answers import subtract
from analysis.bootstrap import bootstrap_interval
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import MAIN, sample_of, seed_accuracies, student_rows
from analysis.statistics import paired_difference
from analysis.words import interval, percent, split_of
from harness.schema import UNSEEN_MEAN

MATRIX_COLUMNS = (
    "split", "distilled_with", "evaluated_on", "in_pool", "mean", "low", "high", "n", "drop",
    "drop_low", "drop_high",
)  # fmt: skip
"""Columns of ``architecture_matrix`` that are not settings."""


def architecture_matrix(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the accuracy of each student for each configuration, and its drop.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.
        metric: Says which split: ``analysis.aggregate.metric_split``.

    Returns:
        A row for each configuration with results and each student.

        - one column for each name in ``results.varied``
        - ``split``: of all numbers
        - ``distilled_with``: label of the main model
        - ``evaluated_on``: label of the student
        - ``in_pool``: whether the distillation could draw the student's architecture
        - ``mean``, ``low``, ``high``, ``n``: fractions, over distilled sets
        - ``drop``, ``drop_low``, ``drop_high``: the main model's accuracy minus the student's on
          the same set, fractions; NaN where the main model is no student; 0 for itself
    """
    split = metric_split(results, metric)
    rows = student_rows(results, split)
    main = seed_accuracies(rows, MAIN)
    of_student = {name: seed_accuracies(rows, name) for name in rows["student"].unique()}
    firsts = rows.drop_duplicates(["trial_id", "student"])
    records: list[dict[str, Any]] = []
    for settings, trials in list_configurations(results):
        own = firsts[firsts["trial_id"].isin(trials["trial_id"])].drop_duplicates("student")
        of_main = sample_of(trials, main)
        for student, main_model, in_pool in zip(
            own["student"], own["main_model"], own["student_in_pool"], strict=True
        ):
            sample = sample_of(trials, of_student[student])
            found = bootstrap_interval(sample)
            drop = paired_difference(subtract(of_main, sample))
            values = (
                split, main_model, student, bool(in_pool),
                *found, drop.mean, drop.low, drop.high,
            )  # fmt: skip
            records.append({**settings, **dict(zip(MATRIX_COLUMNS, values, strict=True))})
    return pd.DataFrame(records, columns=[*results.varied, *MATRIX_COLUMNS])


def matrix_table(results: SearchResults) -> Table:
    """Return the matrix: a row a configuration, a column a student, accuracy and drop in cells."""
    frame = architecture_matrix(results)
    settings = [name for name in results.varied if not name.startswith("network.")]
    students = list(dict.fromkeys(frame["evaluated_on"]))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in frame.to_dict("records"):
        key = (row["distilled_with"], *(setting_text(row[name]) for name in results.varied))
        ends = interval(row["low"], row["high"])
        text = percent(row["mean"]) + ("" if ends == "-" else f" {ends}")
        if row["evaluated_on"] != row["distilled_with"] and row["drop"] == row["drop"]:
            text += f" ({percent(-row['drop'])})"
        lines.setdefault(key, {})[row["evaluated_on"]] = text + ("°" if row["in_pool"] else "")
    shown = [0, *(1 + results.varied.index(name) for name in settings)]
    columns = {
        name: [key[place] for key in lines]
        for name, place in zip(["distilled with", *settings], shown, strict=True)
    }
    columns |= {name: [cells.get(name, "-") for cells in lines.values()] for name in students}
    caption = (
        f"Accuracy on {split_of(frame)} images in %, with 95% intervals, of students (columns) "
        "trained on sets distilled with the network on the left; in brackets the distance from "
        "that network's own accuracy, in points. ° the distillation could draw this architecture."
    )
    cells = make_cells(columns, 1 + len(settings), [])
    return Table("matrix", f"Architecture matrix: {results.title}", frame, cells, caption)
