"""Trials that a scheduler stopped early: left out of comparisons, listed where asked for."""

from dataclasses import replace

import pandas as pd

from analysis.aggregate import configuration_texts
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.words import percent

STOPPED_COLUMNS = ("configuration", "trials", "iteration", "quick")
"""Columns of ``stopped_configurations``."""
_CAPTION = (
    "Stopped early, in no comparison: where a configuration's furthest trial stopped, and the "
    "validation accuracy of two quick students there: not that of the unseen students above."
)


def without_stopped(results: SearchResults) -> SearchResults:
    """Return a search without the configurations of which a trial was stopped early.

    Also their other trials are left out: a mean over the replicates that happened to go on would
    not be comparable.
    """
    if not len(results.stopped):
        return results
    trials = results.trials[~_of_stopped(results)]
    rows = results.rows[results.rows["trial_id"].isin(trials["trial_id"])]
    return replace(results, trials=trials.reset_index(drop=True), rows=rows)


def stopped_configurations(results: SearchResults) -> pd.DataFrame:
    """Return the configurations of which a trial was stopped early.

    Args:
        results: A search, finished or not.

    Returns:
        A row for each, the furthest and best first.

        - ``configuration``: its varied settings in words
        - ``trials``: how many of its trials were stopped
        - ``iteration``: where the furthest of them stopped
        - ``quick``: its last quick validation score, a fraction; NaN where it has none
    """
    joined = results.trials.merge(results.stopped, on="trial_id", validate="one_to_one")
    records = []
    texts = configuration_texts(joined, results.varied)
    for text, part in joined.assign(text=texts).groupby("text", sort=False):
        furthest = part.sort_values(["iteration", "quick"], na_position="first").iloc[-1]
        found = (text, len(part), int(furthest["iteration"]), float(furthest["quick"]))
        records.append(dict(zip(STOPPED_COLUMNS, found, strict=True)))
    frame = pd.DataFrame(records, columns=list(STOPPED_COLUMNS))
    return frame.sort_values(["iteration", "quick"], ascending=False, ignore_index=True)


def stopped_table(results: SearchResults) -> Table:
    """Return ``stopped_configurations`` as a table."""
    frame = stopped_configurations(results)
    columns = {
        "configuration": list(frame["configuration"]),
        "trials": [str(value) for value in frame["trials"]],
        "iteration": [str(value) for value in frame["iteration"]],
        "quick %": [percent(value) for value in frame["quick"]],
    }
    title = f"Stopped early: {results.title}"
    return Table("stopped", title, frame, make_cells(columns, 1, []), _CAPTION)


def describe_stopped(results: SearchResults) -> list[str]:
    """Say in a line how many trials were stopped, where and at which scores; none where none."""
    stopped = results.stopped
    if not len(stopped):
        return []
    counts = stopped["iteration"].value_counts().sort_index()
    where = ", ".join(f"{number} at iteration {iteration}" for iteration, number in counts.items())
    quick = stopped["quick"].dropna()
    scores = ""
    if len(quick):
        scores = f", quick validation accuracy {percent(quick.min())} to {percent(quick.max())}%"
    return [
        f"{len(stopped)} of {len(results.trials)} trials were stopped early and their "
        f"configurations are in no comparison ({where}{scores}); --include-stopped lists them"
    ]


def _of_stopped(results: SearchResults) -> pd.Series:
    """Whether each planned trial is of a configuration of which one was stopped."""
    stopped = results.trials["trial_id"].isin(results.stopped["trial_id"])
    names = list(results.varied)
    if not names:
        return pd.Series(bool(stopped.any()), index=results.trials.index)
    return stopped.groupby([results.trials[name] for name in names], dropna=False).transform("any")
