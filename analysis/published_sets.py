"""Sets that others published, as ``harness evaluate`` scored them: rows, and a table.

One published set is one distillation: an interval here is over the students trained on it, and says
nothing of what another distillation would give.
"""

from pathlib import Path

import pandas as pd

from analysis.render import Table, make_cells
from analysis.statistics import mean_interval
from analysis.words import interval, percent
from harness.errors import ResultError
from harness.schema import EVALUATIONS_FILE, TEST

COLUMNS = ("set", "loss", "student", "mean", "low", "high", "n", "diverged", "random", "epochs")
"""Columns of ``published_sets``."""
_LOSSES = {"off": "whole", "control": "half"}


def read_published(folder: Path) -> pd.DataFrame:
    """Read what ``harness evaluate --out`` wrote, from the folders below one.

    Returns:
        Rows as ``harness.schema.COLUMNS``; empty where there are none.

    Raises:
        ResultError: A file cannot be read.
    """
    parts = []
    for path in sorted(folder.glob(f"*/{EVALUATIONS_FILE}")):
        try:
            parts.append(pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise ResultError(f"{path}: cannot be read ({error}); restore it") from error
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def published_sets(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the test accuracy of each student on each set.

    Args:
        rows: As ``read_published`` returns them.

    Returns:
        - ``set``: file and entry; ``loss``: ``whole``, or ``half`` for the control arm, whose
          label's term has the weight 0.5 and which has no teacher
        - ``student``; ``mean``, ``low``, ``high``: fraction, with the 95% t interval over student
          networks; ``n``: networks; ``diverged``: networks that did and are in no mean
        - ``random``: mean on random real images under the same recipe; ``epochs``
    """
    if not len(rows):
        return pd.DataFrame([], columns=list(COLUMNS))
    rows = rows[rows["split"] == TEST]
    rows = rows.assign(loss=rows["kd_variant"].map(_LOSSES), fine=rows["status"] == "ok")
    records = []
    for (name, loss, student), part in rows.groupby(["trial_id", "loss", "student"], sort=False):
        own = part[part["method"] != "random-real"]
        random = part[(part["method"] == "random-real") & part["fine"]]
        found = mean_interval(own.loc[own["fine"], "accuracy"])
        lost = int((~own["fine"]).sum())
        records.append(
            (name, loss, student, *found, lost, random["accuracy"].mean(), own["epochs"].iloc[0])
        )
    return pd.DataFrame(records, columns=list(COLUMNS))


def published_sets_table(rows: pd.DataFrame) -> Table:
    """Return ``published_sets`` as a table."""
    frame = published_sets(rows)
    columns = {name: [str(value) for value in frame[name]] for name in ("set", "loss", "student")}
    columns["test %"] = [percent(value) for value in frame["mean"]]
    columns["95% interval"] = list(map(interval, frame["low"], frame["high"]))
    columns["n"] = [str(n) for n in frame["n"]]
    if frame["diverged"].any():
        columns["diverged"] = [str(n) for n in frame["diverged"]]
    columns["random real %"] = [percent(value) for value in frame["random"]]
    caption = (
        "Test accuracy of n students trained on one published set, with 95% intervals over the "
        "students. loss: the whole cross-entropy, or half of it."
    )
    return Table("published_sets", "Published sets", frame, make_cells(columns, 3, []), caption)
