"""Trials to look at: whose diagnostics fired, and those without a result."""

import pandas as pd

from analysis.aggregate import configuration_texts
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from harness.schema import FINISHED

DIAGNOSTIC_COLUMNS = (
    "trial_id", "configuration", "replicate", "diagnostic", "value", "threshold", "meaning",
)  # fmt: skip
"""Columns of ``fired_diagnostics``."""
UNFINISHED_COLUMNS = ("trial_id", "status", "configuration", "replicate", "notes")
"""Columns of ``unfinished``."""


def fired_diagnostics(results: SearchResults) -> pd.DataFrame:
    """Return a row for each diagnostic that fired.

    Args:
        results: A search, finished or not.

    Returns:
        - ``trial_id``, ``replicate``, and ``configuration``: its varied settings in words
        - ``diagnostic``: its name
        - ``value``, ``threshold``: it fired since the value is below
        - ``meaning``: what the value is
    """
    fired = results.diagnostics[results.diagnostics["fired"]]
    trials = _described(results.trials, results.varied)
    frame = fired.merge(trials, on="trial_id", how="left", validate="many_to_one")
    return frame[list(DIAGNOSTIC_COLUMNS)]


def unfinished(results: SearchResults) -> pd.DataFrame:
    """Return a row for each planned trial without a result, or whose distillation diverged.

    Args:
        results: A search, finished or not.

    Returns:
        - ``trial_id``, ``replicate``, ``configuration``: as in ``fired_diagnostics``
        - ``status``: one of ``harness.schema.STATUSES``
        - ``notes``: what the trial noted
    """
    left = ~results.trials["status"].isin(FINISHED) | (results.trials["status"] == "diverged")
    frame = _described(results.trials[left], results.varied)
    return frame[list(UNFINISHED_COLUMNS)].reset_index(drop=True)


def diagnostics_table(results: SearchResults) -> Table:
    """Return ``fired_diagnostics`` as a table."""
    frame = fired_diagnostics(results)
    columns = {
        "trial": list(frame["trial_id"]),
        "configuration": list(frame["configuration"]),
        "why": [
            f"{name}: {meaning}"
            for name, meaning in zip(frame["diagnostic"], frame["meaning"], strict=True)
        ],
        "value": [f"{value:.3g}" for value in frame["value"]],
        "below": [f"{value:.3g}" for value in frame["threshold"]],
    }
    caption = "Trials with a sign of failure. They are in the means all the same."
    cells = make_cells(columns, 3, [])
    return Table("diagnostics", f"Diagnostics that fired: {results.title}", frame, cells, caption)


def unfinished_table(results: SearchResults) -> Table:
    """Return ``unfinished`` as a table."""
    frame = unfinished(results)
    columns = {
        "trial": list(frame["trial_id"]),
        "status": [text.replace("_", " ") for text in frame["status"]],
        "configuration": list(frame["configuration"]),
        "replicate": [str(value) for value in frame["replicate"]],
    }
    caption = "Planned trials that are in no mean: not run yet, failed, or diverged."
    cells = make_cells(columns, 3, [])
    return Table("unfinished", f"Without a result: {results.title}", frame, cells, caption)


def _described(trials: pd.DataFrame, varied: tuple[str, ...]) -> pd.DataFrame:
    return trials.assign(configuration=configuration_texts(trials, varied))
