"""What distilling gains over real images: IOR, HLR, LRS and ARS (DD-Ranking, arXiv 2505.13300).

All accuracies are fractions on test images, as DD-Ranking has it; nothing is chosen by them.

- IOR, improvement over random: accuracy on the set minus that on as many random real images, by the
  same recipe (``acc(syn, any) - acc(random, any)``).
- HLR, hard-label recovery: accuracy on all real images minus that on the set, without KD and
  augmentation (``acc(real, hard) - acc(syn, hard)``).
- LRS, label-robust score: ``(e^a - e^-1) / (e - e^-1)`` with ``a = (IOR - HLR) / 2``.
- ARS, augmentation-robust score: the same of ``b``, the mean of the improvements over random with
  augmentation and without.

Each is made for a replicate from rows of that replicate, then averaged.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.aggregate import list_configurations, setting_text
from analysis.bootstrap import Interval, bootstrap_interval
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import student_rows
from analysis.words import interval, percent
from harness.schema import TEST

RANDOM, FULL_DATA = "random-real", "full-data"
BASELINES = (RANDOM, "kmeans", FULL_DATA)
SCORES = ("ior", "hlr", "lrs", "ars")
SCORE_COLUMNS = (
    "student", "is_main",
    *(f"{name}{end}" for name in SCORES for end in ("", "_low", "_high", "_n")),
    "missing",
)  # fmt: skip
"""Columns of ``scores`` that are not settings."""

_TASK = ["dataset", "protocol", "student", "replicate"]
_RECIPE = ["epochs", "augmentation", "kd_variant", "kd_temperature", "kd_alpha"]
_SETTINGS = ["evaluation.lr", "evaluation.batch"]
_SET = ["method", "ipc", "iterations", "pool", "main_model", "main_probability"]
_OF_STUDENTS = ("trial_id", "seed", "kd.", "evaluation.", "run.", "elf.")
"""Settings, or starts of their names, that are no part of what a distilled set is made from."""


class _Rows(NamedTuple):
    """Mean accuracy of each trial and student, with all that says which rows match."""

    frame: pd.DataFrame

    def accuracy(self, *like: "dict[str, Any]") -> float:
        """Mean accuracy of the rows that agree in all these values; NaN where there are none."""
        mask = np.ones(len(self.frame), dtype=bool)
        for values in like:
            for name, value in values.items():
                column = self.frame[name]
                mask &= (column.isna() if pd.isna(value) else column == value).to_numpy(dtype=bool)
        return float(self.frame["accuracy"].to_numpy()[mask].mean()) if mask.any() else math.nan


def scores(results: SearchResults, baselines: SearchResults | None = None) -> pd.DataFrame:
    """Return IOR, HLR, LRS and ARS of each configuration and student.

    Args:
        results: A search, finished or not.
        baselines: Another search to look for ``random-real`` and ``full-data`` in as well. Rows
            match where dataset, protocol, ipc, student, replicate and the whole recipe are equal.

    Returns:
        A row for each configuration with results of a method that is no baseline, and student.

        - one column for each name in ``results.varied``
        - ``student``: its label; ``is_main``: whether it is the main model, for which DD-Ranking
          defines the scores
        - ``ior``, ``hlr``, ``lrs``, ``ars``: means over replicates; NaN where rows are missing
        - ``ior_low``, ``ior_high``, ``ior_n`` and so on: 95% intervals, replicates
        - ``missing``: what to run for the scores that are not there; empty where all are
    """
    rows = _rows(results)
    pooled = rows if baselines is None else pd.concat([rows, _rows(baselines)], ignore_index=True)
    known = _Rows(pooled)
    records: list[dict[str, Any]] = []
    for settings, trials in list_configurations(results):
        own = rows[rows["trial_id"].isin(trials["trial_id"]) & ~rows["method"].isin(BASELINES)]
        own = own.drop_duplicates(["replicate", "student"])
        for student, part in own.groupby("student", sort=False):
            found = [_scores_of(row, known) for row in part.to_dict("records")]
            values: dict[str, Any] = {}
            for name in SCORES:
                finite = [one[name] for one in found if not math.isnan(one[name])]
                ends: Interval = bootstrap_interval(finite)
                values |= {
                    name: ends.mean,
                    f"{name}_low": ends.low,
                    f"{name}_high": ends.high,
                    f"{name}_n": ends.n,
                }
            records.append(
                {
                    **settings,
                    "student": student,
                    "is_main": student == part["main_model"].iloc[0],
                    **values,
                    "missing": _missing(values, part.iloc[0]),
                }
            )
    return pd.DataFrame(records, columns=[*results.varied, *SCORE_COLUMNS])


def scores_table(results: SearchResults, baselines: SearchResults | None = None) -> Table:
    """Return ``scores`` as a table."""
    frame = scores(results, baselines)
    columns = {name: [setting_text(value) for value in frame[name]] for name in results.varied}
    columns["student"] = [
        f"{name} (main model)" if main else name
        for name, main in zip(frame["student"], frame["is_main"], strict=True)
    ]
    for name in SCORES:
        ends = map(interval, frame[f"{name}_low"], frame[f"{name}_high"])
        columns[f"{name.upper()} %"] = [
            percent(mean) + ("" if text == "-" else f" {text}")
            for mean, text in zip(frame[name], ends, strict=True)
        ]
    columns["n"] = [str(n) for n in frame["ior_n"]]
    needed = "; ".join(
        sorted({part for text in frame["missing"] for part in text.split("; ")} - {""})
    )
    caption = (
        "DD-Ranking (arXiv 2505.13300), on test images, with 95% intervals over n replicates. IOR: "
        "improvement over as many random real images, in points. HLR: what is lost against all "
        "real images with hard labels. LRS and ARS: 0 to 100, 26.9 where nothing is gained and "
        "nothing lost." + (f" Missing: {needed}." if needed else "")
    )
    cells = make_cells(columns, len(results.varied) + 1, [])
    return Table("scores", f"Beside real images: {results.title}", frame, cells, caption)


def label_robust(ior: float, hlr: float) -> float:
    """LRS of an improvement over random and a hard-label recovery, fractions; 0 to 1."""
    return _scale((ior - hlr) / 2)


def augmentation_robust(with_augmentation: float, without: float) -> float:
    """ARS of the improvements over random with augmentation and without, fractions; 0 to 1."""
    return _scale((with_augmentation + without) / 2)


def _scale(x: float) -> float:
    return (math.exp(x) - math.exp(-1)) / (math.e - math.exp(-1))


def _rows(results: SearchResults) -> pd.DataFrame:
    """A row for each trial and student, means over its student seeds that did not diverge."""
    rows = student_rows(results, TEST)
    rows = rows[rows["counted"]]
    keys = ["trial_id", *dict.fromkeys([*_TASK, *_SET, *_RECIPE])]
    rows = rows.assign(accuracy=rows["accuracy"].astype("float64"))
    frame = rows.groupby(keys, dropna=False, sort=False)["accuracy"].mean().reset_index()
    settings = results.settings.reindex(columns=["trial_id", *_SETTINGS])
    names = [name for name in results.settings.columns if not name.startswith(_OF_STUDENTS)]
    settings["made_by"] = (
        results.settings[names].astype("str").agg("|".join, axis=1) if names else ""
    )
    return frame.merge(settings, on="trial_id", how="left", validate="many_to_one")


def _scores_of(row: dict[str, Any], known: _Rows) -> dict[str, float]:
    """The four scores of a replicate and student."""
    task = {name: row[name] for name in _TASK}
    made = {name: row[name] for name in (*_SET, "made_by")}
    random = {"method": RANDOM, "ipc": row["ipc"]}
    recipe = {name: row[name] for name in (*_RECIPE, *_SETTINGS)}
    kd = {name: row[name] for name in _RECIPE if name.startswith("kd_")}
    ior = row["accuracy"] - known.accuracy(task, random, recipe)
    plain = {"kd_variant": "off", "augmentation": "none"}
    hlr = known.accuracy(task, {"method": FULL_DATA}) - known.accuracy(task, made, plain)
    gains = {
        name: known.accuracy(task, made, kd, {"augmentation": name})
        - known.accuracy(task, random, kd, {"augmentation": name})
        for name in known.frame["augmentation"].unique()
    }
    augmented = [value for name, value in gains.items() if name != "none" and value == value]
    ars = math.nan
    if augmented and "none" in gains:
        ars = augmentation_robust(augmented[0], gains["none"])
    return {"ior": ior, "hlr": hlr, "lrs": label_robust(ior, hlr), "ars": ars}


def _missing(values: dict[str, Any], row: pd.Series) -> str:
    """What to run for the scores that are not there."""
    found = []
    if math.isnan(values["ior"]):
        found.append(f"method = '{RANDOM}' with the same ipc and recipe, for IOR")
    if math.isnan(values["hlr"]):
        found.append(
            f"method = '{FULL_DATA}', and the set with kd.variant = 'off' and "
            "evaluation.augmentation = 'none', for HLR and LRS"
        )
    if math.isnan(values["ars"]):
        found.append(
            f"the set and '{RANDOM}' with evaluation.augmentation = 'none' and "
            "'crop-scale-rotate', for ARS"
        )
    return "; ".join(found)
