"""Trials that a scheduler stopped early: left out of comparisons, listed where asked for."""

from dataclasses import replace

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.aggregate import configuration_text
from analysis.load import SearchResults
from analysis.tables import percent

HEADER = ("configuration", "trials", "iteration", "quick %")
CAPTION = (
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


def stopped_cells(results: SearchResults) -> list[tuple[str, ...]]:
    """Return a row of text for each configuration that was stopped, the furthest and best first.

    The columns are those of ``HEADER``.
    """
    names = list(results.varied)
    joined = results.trials.merge(results.stopped, on="trial_id", validate="one_to_one")
    keys = [configuration_text(names, row) for row in joined[names].itertuples(index=False)]
    cells = []
    for text, part in joined.assign(text=keys).groupby("text", sort=False):
        furthest = part.sort_values(["iteration", "quick"], na_position="first").iloc[-1]
        order = (int(furthest["iteration"]), float(furthest["quick"]))
        cells.append((order, (str(text), str(len(part)), str(order[0]), percent(order[1]))))
    return [row for _, row in sorted(cells, key=lambda cell: cell[0], reverse=True)]


def stopped_table(results: SearchResults) -> Table:
    """Return ``stopped_cells`` as a table for a terminal."""
    table = Table(caption=Text(CAPTION), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(Text(HEADER[0]), overflow="fold")
    for name in HEADER[1:]:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row in stopped_cells(results):
        table.add_row(*map(Text, row))
    return table


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
