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
from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from analysis.aggregate import list_configurations, setting_text
from analysis.bootstrap import bootstrap_interval
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import student_rows
from analysis.words import interval, percent
from harness.schema import DISTILLED_TRACK, TEST

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
_KD = ["kd_variant", "kd_temperature", "kd_alpha"]
_SETTINGS = ["evaluation.lr", "evaluation.batch"]
_RECIPE = ["epochs", "augmentation", *_SETTINGS]
_SET = ["method", "ipc", "iterations", "pool", "main_model", "main_probability"]
_NONE = "none"
_OF_STUDENTS = ("trial_id", "seed", "kd.", "evaluation.", "run.", "elf.")
"""Settings, or starts of their names, that are no part of what a distilled set is made from."""


class _Means:
    """Mean accuracy of the rows that agree in some columns."""

    def __init__(self, rows: pd.DataFrame, *names: str) -> None:
        self._names = names
        found: dict[tuple[Any, ...], list[float]] = {}
        keys = zip(*(rows[name] for name in names), strict=True)
        for key, accuracy in zip(keys, rows["accuracy"], strict=True):
            found.setdefault(key, []).append(accuracy)
        self._means = {key: fmean(values) for key, values in found.items()}

    def like(self, row: Mapping[Any, Any], **other: Any) -> float:
        """Mean of those that agree with a row, but for ``other``; NaN where there are none."""
        wanted = {**row, **other}
        return self._means.get(tuple(wanted[name] for name in self._names), math.nan)


class _Known(NamedTuple):
    """What the scores of a row are made of."""

    random: _Means
    """Random images, by the whole recipe."""
    random_augmented: _Means
    """Random images, by KD and augmentation."""
    full_data: _Means
    plain: _Means
    """The same set, without KD and augmentation."""
    augmented: _Means
    """The same set, by KD and augmentation."""
    augmentations: tuple[str, ...]
    """Those that occur, but for none."""


def scores(results: SearchResults, baselines: SearchResults | None = None) -> pd.DataFrame:
    """Return IOR, HLR, LRS and ARS of each configuration and student.

    Args:
        results: A search, finished or not; where trials were stopped early, compare
            ``analysis.without_stopped`` of it.
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
    known = _know(pooled)
    found = list_configurations(results)
    places = {name: place for place, one in enumerate(found) for name in one.trials["trial_id"]}
    own = rows[~rows["method"].isin(BASELINES)]
    own = own.assign(place=own["trial_id"].map(places)).sort_values("place", kind="stable")
    own = own.drop_duplicates(["place", "replicate", "student"])
    records: list[dict[str, Any]] = []
    for _, part in own.groupby(["place", "student"], sort=False):
        place, student, main_model = part.iloc[0][["place", "student", "main_model"]]
        made = [_scores_of(row, known) for row in part.to_dict("records")]
        values: dict[str, Any] = {}
        for name in SCORES:
            ends = bootstrap_interval([one[name] for one in made if not math.isnan(one[name])])
            named = (name, f"{name}_low", f"{name}_high", f"{name}_n")
            values |= dict(zip(named, ends, strict=True))
        head = {**found[place].settings, "student": student, "is_main": student == main_model}
        records.append({**head, **values, "missing": _missing(values)})
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
    rows = rows[rows["counted"] & (rows["track"] == DISTILLED_TRACK)]
    keys = ["trial_id", *_TASK, *_SET, *_KD, "epochs", "augmentation"]
    rows = rows.assign(accuracy=rows["accuracy"].astype("float64"))
    frame = rows.groupby(keys, dropna=False, sort=False)["accuracy"].mean().reset_index()
    settings = results.settings.reindex(columns=["trial_id", *_SETTINGS])
    names = [name for name in results.settings.columns if not name.startswith(_OF_STUDENTS)]
    made_by = zip(*(results.settings[name] for name in names), strict=True)
    settings["made_by"] = [str(values) for values in made_by] if names else ""
    frame = frame.merge(settings, on="trial_id", how="left", validate="many_to_one")
    # None, unlike NaN, is equal to itself.
    return frame.astype("object").where(frame.notna(), None)


def _know(rows: pd.DataFrame) -> _Known:
    random = rows[rows["method"] == RANDOM]
    hard = rows[(rows["kd_variant"] == "off") & (rows["augmentation"] == _NONE)]
    made = [*_TASK, *_SET, "made_by"]
    return _Known(
        random=_Means(random, *_TASK, "ipc", *_KD, *_RECIPE),
        random_augmented=_Means(random, *_TASK, "ipc", *_KD, "augmentation"),
        full_data=_Means(rows[rows["method"] == FULL_DATA], *_TASK),
        plain=_Means(hard, *made),
        augmented=_Means(rows, *made, *_KD, "augmentation"),
        augmentations=tuple(sorted(set(rows["augmentation"]) - {_NONE})),
    )


def _scores_of(row: Mapping[Any, Any], known: _Known) -> dict[str, float]:
    """The four scores of a replicate and student."""
    ior = row["accuracy"] - known.random.like(row)
    hlr = known.full_data.like(row) - known.plain.like(row)
    plain, *augmented = (
        known.augmented.like(row, augmentation=name)
        - known.random_augmented.like(row, augmentation=name)
        for name in (_NONE, *known.augmentations)
    )
    gain = next((value for value in augmented if not math.isnan(value)), math.nan)
    ars = augmentation_robust(gain, plain)
    return {"ior": ior, "hlr": hlr, "lrs": label_robust(ior, hlr), "ars": ars}


def _missing(values: Mapping[str, Any]) -> str:
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
