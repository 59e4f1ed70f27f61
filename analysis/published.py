"""Tables 4 and 5 of arXiv 2402.13007, beside the same cells of a search.

The published numbers are test accuracies in percent on CIFAR10 of one distillation each, without
an interval; those with KD are maxima over 13 temperatures on test images. Beside Table 5 stands
``plain``, which the paper does not print: what its repository logged (``result/result.txt``) for
plain DC and students of plain cross-entropy, which Table 5's are too.
"""

import io
import math
from typing import Any

import pandas as pd

from analysis.aggregate import configuration_text, list_configurations
from analysis.answers import accuracy_words
from analysis.bootstrap import bootstrap_interval
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import UNSEEN, sample_of, seed_accuracies, student_rows
from analysis.words import interval, percent, points
from harness.schema import DISTILLED_TRACK, TEST

STUDENTS = ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18")
"""Columns of both tables; ConvNet is the main model, published for Table 4's baseline alone."""
UNSEEN_STUDENTS = STUDENTS[1:]
PUBLISHED_COLUMNS = (
    "table", "ipc", "iterations", "method", "configuration", "students", "published", "mean",
    "low", "high", "n", "difference", "excluded",
)  # fmt: skip
"""Columns of ``beside_published``."""

# ipc, iterations, method, then a column for each of STUDENTS.
_TABLE_4 = """\
1,1000,baseline,28.49,26.59,20.97,21.83,26.53,14.30
1,1000,pool,,27.88,20.75,21.61,26.51,15.17
1,1000,KD,,26.52,20.87,22.07,25.25,18.69
1,1000,pool & KD,,28.17,21.22,22.54,27.15,22.03
1,2000,baseline,28.62,26.59,20.91,21.36,26.23,14.68
1,2000,pool,,27.50,21.43,21.71,26.55,14.04
1,2000,KD,,27.08,21.03,21.68,25.36,19.10
1,2000,pool & KD,,28.10,22.11,22.18,26.95,21.84
1,3000,baseline,28.34,26.07,21.01,21.42,26.51,14.27
1,3000,pool,,28.01,21.26,21.62,26.82,14.09
1,3000,KD,,26.88,21.66,21.74,25.42,18.97
1,3000,pool & KD,,28.07,22.50,21.86,27.25,22.27
10,1000,baseline,44.60,27.35,22.16,20.64,30.38,15.60
10,1000,pool,,29.29,23.81,23.40,30.40,14.94
10,1000,KD,,27.93,23.63,21.55,35.65,19.43
10,1000,pool & KD,,30.02,24.91,25.38,33.85,21.51
10,2000,baseline,44.53,27.57,23.71,20.90,30.03,15.60
10,2000,pool,,29.20,24.67,22.45,30.20,15.68
10,2000,KD,,27.78,23.43,21.98,35.53,19.37
10,2000,pool & KD,,30.23,24.96,24.80,33.80,21.11
10,3000,baseline,44.44,27.49,22.72,21.84,30.07,15.42
10,3000,pool,,29.40,23.66,23.69,29.60,15.23
10,3000,KD,,27.98,24.67,21.78,35.46,19.24
10,3000,pool & KD,,29.98,25.03,26.53,33.68,20.96
"""
_TABLE_5 = """\
1,1000,plain,27.89,25.87,20.52,18.80,24.81,18.13
1,2000,plain,28.18,26.51,21.44,18.29,24.87,18.26
1,3000,plain,28.36,26.50,20.66,17.39,25.24,19.10
10,1000,plain,44.57,27.33,20.71,19.83,34.97,18.83
10,2000,plain,45.11,27.16,21.98,17.94,35.01,19.10
10,3000,plain,45.38,27.31,24.47,20.48,35.33,19.30
1,1000,S1,,10.29,10.11,9.92,11.35,10.39
1,1000,S2,,16.27,16.48,10.34,20.08,11.42
1,1000,S3,,27.24,20.22,16.88,25.11,17.81
1,2000,S1,,10.1,10.94,10.00,13.62,10.40
1,2000,S2,,14.81,17.06,9.96,21.00,11.69
1,2000,S3,,27.49,20.88,20.54,25.69,18.65
1,3000,S1,,10.00,10.80,10.04,13.60,10.41
1,3000,S2,,10.00,10.66,9.65,19.60,11.48
1,3000,S3,,27.73,22.31,19.47,25.06,18.73
10,1000,S1,,24.05,16.36,16.10,23.15,10.91
10,1000,S2,,27.63,19.75,20.12,30.29,12.86
10,1000,S3,,29.37,25.82,23.70,34.97,18.34
10,2000,S1,,25.88,17.93,13.74,24.62,10.96
10,2000,S2,,27.74,21.03,20.58,31.28,13.44
10,2000,S3,,30.48,25.76,27.24,34.99,18.69
10,3000,S1,,24.62,17.12,12.57,25.37,11.21
10,3000,S2,,28.59,21.15,20.92,31.57,13.62
10,3000,S3,,30.78,25.07,28.26,35.50,19.33
"""
_METHODS = {
    (1.0, None): (4, ("baseline", "KD")),
    (0.9, "similar"): (4, ("pool", "pool & KD")),
    (0.9, "similar-depth1"): (4, ("pool", "pool & KD")),
    (0.25, "diverse"): (5, ("S1", None)),
    (0.9, "diverse"): (5, ("S2", None)),
}
"""(main-model probability, the others) -> table, and its rows without and with a teacher; S3 of
Table 5 is Table 4's pool, whose other networks have depth 3 in the paper and 1 in its code."""
BESIDE_TABLE_5 = {"baseline": "plain", "pool": "S3"}
"""Row of Table 4 -> the same beside Table 5."""
TAUGHT = ("softened", "legacy")
REPRODUCED = 0.015
"""How far, as a fraction, a mean over unseen students may be from the published one."""


def published() -> pd.DataFrame:
    """Return the published cells.

    Returns:
        - ``table``: 4 or 5; ``ipc``, ``iterations``: int64
        - ``method``: ``baseline``, ``pool``, ``KD``, ``pool & KD``; ``S1`` to ``S3`` in Table 5,
          and ``plain`` beside it
        - ``students``: one of ``STUDENTS``, or ``unseen``: the mean over the five others
        - ``published``: fraction, 0..1
    """
    parts = []
    for table, text in ((4, _TABLE_4), (5, _TABLE_5)):
        names = ["ipc", "iterations", "method", *STUDENTS]
        wide = pd.read_csv(io.StringIO(text), names=names)
        wide[UNSEEN] = wide[list(UNSEEN_STUDENTS)].mean(axis=1)
        long = wide.melt(names[:3], var_name="students", value_name="published")
        parts.append(long.assign(table=table, published=long["published"] / 100))
    found = pd.concat(parts, ignore_index=True).dropna(subset="published")
    return found[["table", "ipc", "iterations", "method", "students", "published"]]


def beside_published(results: SearchResults) -> pd.DataFrame:
    """Return each cell of Tables 4 and 5 that a search measured, beside the published number.

    Only what is comparable: DC on CIFAR10 (or a folder of its images, which the table's caption
    says) with protocol ``paper`` and the paper's main model. KD's control arm stands beside the row
    without a teacher, of which it is the variant with a smaller step.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.

    Returns:
        A row for each published cell, configuration and student.

        - ``table``, ``ipc``, ``iterations``, ``method``, ``students``, ``published``: as in
          ``published``
        - ``configuration``: the varied settings in words
        - ``mean``, ``low``, ``high``, ``n``: test accuracy over distilled sets, fractions
        - ``difference``: mean minus published
        - ``excluded``: bool, whether the interval leaves the published value out
    """
    rows = student_rows(results, TEST)
    cells, copies = published(), _copies(results)
    accuracies: dict[str, pd.DataFrame] = {}
    records: list[tuple[Any, ...]] = []
    for settings, trials in list_configurations(results):
        own = rows[rows["trial_id"].isin(trials["trial_id"])]
        if not len(own):
            continue
        first = own.iloc[0]
        unseen = set(own.loc[own["unseen"], "student"])
        text = configuration_text(list(settings), settings.values())
        for table, method in _places(first, copied=first["trial_id"] in copies):
            same = (cells["table"] == table) & (cells["method"] == method)
            same &= (cells["ipc"] == first["ipc"]) & (cells["iterations"] == first["iterations"])
            for cell in cells[same].itertuples():
                if cell.students not in (UNSEEN, *own["student"]):
                    continue
                if cell.students == UNSEEN and unseen != set(UNSEEN_STUDENTS):
                    continue  # a mean over other networks
                if cell.students not in accuracies:
                    accuracies[cell.students] = seed_accuracies(rows, cell.students)
                sample = sample_of(trials, accuracies[cell.students])
                mean, low, high, n = bootstrap_interval(sample)
                out = not math.isnan(low) and not low <= cell.published <= high
                records.append(
                    (
                        table,
                        first["ipc"],
                        first["iterations"],
                        method,
                        text,
                        cell.students,
                        cell.published,
                        mean,
                        low,
                        high,
                        n,
                        mean - cell.published,
                        out,
                    )
                )
    frame = pd.DataFrame(records, columns=list(PUBLISHED_COLUMNS))
    return frame.sort_values(["table", "ipc", "iterations"], kind="stable", ignore_index=True)


def published_table(results: SearchResults, table: int) -> Table:
    """Return Table 4 or 5 in its own shape, with what the search found in each cell."""
    frame = beside_published(results)
    frame = frame[frame["table"] == table].reset_index(drop=True)
    students = [name for name in (*STUDENTS, UNSEEN) if name in set(frame["students"])]
    keys = ["ipc", "iterations", "method", "configuration"]
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in frame.to_dict("records"):
        key = (str(row["ipc"]), str(row["iterations"]), row["method"], row["configuration"])
        ends = interval(row["low"], row["high"])
        own = percent(row["mean"]) + ("" if ends == "-" else f" {ends}")
        mark = " ≠" if row["excluded"] else ""
        text = f"{own} / {percent(row['published'])} ({100 * row['difference']:+.1f}){mark}"
        lines.setdefault(key, {})[row["students"]] = text
    columns = {name: [key[place] for key in lines] for place, name in enumerate(keys)}
    columns |= {name: [cells.get(name, "-") for cells in lines.values()] for name in students}
    caption = (
        "Test accuracy in % with its 95% interval / the published value of arXiv 2402.13007 "
        "(difference in points). ≠ the interval leaves the published value out. The published "
        "values are of one distillation each; those with KD are the best of 13 temperatures on "
        "test images."
    )
    if _copies(results):
        caption += (
            " The images are a folder's, normalised as CIFAR10; where it is a copy, encoded anew, "
            "part of a difference may be the copy's."
        )
    cells = make_cells(columns, len(keys), [])
    title = f"Table {table} of arXiv 2402.13007: {results.title}"
    return Table(f"table{table}", title, frame, cells, caption)


def reproduction_words(results: SearchResults) -> list[str]:
    """Say of the mean over unseen students how far it is from each published cell, a line for each.

    Args:
        results: As ``beside_published`` takes it.
    """
    frame = beside_published(results)
    lines = []
    for row in frame[frame["students"] == UNSEEN].to_dict("records"):
        cell = f"Table {row['table']}, IPC {row['ipc']}, {row['iterations']} iterations"
        start = f"{cell}, {row['method']} ({row['configuration']}): "
        if row["n"] == 0:
            lines.append(f"{start}no mean, since networks of unseen students diverged")
            continue
        side = "above" if row["difference"] > 0 else "below"
        within = abs(row["difference"]) <= REPRODUCED
        lines.append(
            f"{start}{accuracy_words(row['mean'], row['low'], row['high'], row['n'])}, "
            f"{points(abs(row['difference']))} {side} the published {percent(row['published'])}%: "
            f"{'' if within else 'not '}within {points(REPRODUCED)}"
        )
    return lines


def _places(row: pd.Series, *, copied: bool) -> list[tuple[int, str]]:
    """Tables and rows that a trial's first row belongs to."""
    comparable = (
        row["protocol"] == "paper"
        and (copied or row["dataset"] == "cifar10")
        and row["method"] == "dc"
        and row["main_model"] == "convnet"
        and row["track"] == DISTILLED_TRACK
    )
    if not comparable:
        return []
    probability = float(row["main_probability"])
    others = None if probability == 1.0 else row["pool"]
    table, methods = _METHODS.get((probability, others), (0, (None, None)))
    method = methods[row["kd_variant"] in TAUGHT]
    if method is None:
        return []
    return [(table, method), *([(5, BESIDE_TABLE_5[method])] if method in BESIDE_TABLE_5 else [])]


def _copies(results: SearchResults) -> set[str]:
    """Trials whose images are a folder's that says it is CIFAR10's."""
    settings = results.settings
    if not {"dataset.name", "dataset.normalise_as"} <= set(settings.columns):
        return set()
    own = (settings["dataset.name"] == "imagefolder") & (
        settings["dataset.normalise_as"] == "cifar10"
    )
    return set(settings.loc[own, "trial_id"])
