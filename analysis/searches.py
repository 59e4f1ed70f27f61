"""Several searches side by side: the best of each, and what was chosen differently."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.aggregate import METRIC_COLUMNS, by_setting, configuration_text
from analysis.load import SearchResults
from analysis.protocol import NOTHING, protocol_choices
from analysis.render import Table, make_cells
from analysis.stopped import without_stopped
from analysis.words import interval, percent
from harness.schema import FINISHED

_METRICS = ("split", "mean", "low", "high", "n", "test_mean", "test_low", "test_high")
LEADER_COLUMNS = ("search", "configuration", *_METRICS, "finished", "planned")
"""Columns of ``leaders``."""


def search_labels(searches: Sequence[SearchResults]) -> list[str]:
    """Return a name for each search: that of its folder, or the path where two are the same."""
    names = [results.name for results in searches]
    paths = [str(results.folder) for results in searches]
    if len({*names, "choice"}) > len(names):  # which is a column of its own
        return names
    if len(set(paths)) == len(paths):
        return paths
    seen: Counter[str] = Counter()
    labels = []
    for path in paths:
        seen[path] += 1
        labels.append(path if seen[path] == 1 else f"{path} ({seen[path]})")
    return labels


def leaders(searches: Sequence[SearchResults]) -> pd.DataFrame:
    """Return the best configuration of each search.

    Accuracies of searches that differ in protocol, dataset or students are not comparable: see
    ``protocol_differences``. Configurations that were stopped early are in no comparison.

    Args:
        searches: As ``analysis.load.load`` returns them, finished or not.

    Returns:
        A row for each search, in their order.

        - ``search``: as ``search_labels`` has it
        - ``configuration``: its varied settings in words; empty where nothing has a mean yet
        - ``split``, ``mean``, ``low``, ``high``, ``n``, ``test_mean``, ``test_low``,
          ``test_high``: as in ``analysis.aggregate.by_setting``; NaN and 0 where there is none
        - ``finished``, ``planned``: trials of the whole search
    """
    records: list[dict[str, Any]] = []
    for label, results in zip(search_labels(searches), searches, strict=True):
        frame = by_setting(without_stopped(results))
        done = frame[frame["n"] > 0].sort_values("mean", ascending=False, kind="stable")
        found: dict[str, Any] = {"search": label, "configuration": "", "split": "", "n": 0}
        if len(done):
            best = done.iloc[0]
            names = [name for name in frame.columns if name not in METRIC_COLUMNS]
            found["configuration"] = configuration_text(names, [best[name] for name in names])
            found |= {name: best[name] for name in _METRICS}
        finished = int(results.trials["status"].isin(FINISHED).sum())
        records.append({**found, "finished": finished, "planned": len(results.trials)})
    frame = pd.DataFrame(records, columns=list(LEADER_COLUMNS))
    numbers = [name for name in _METRICS if name not in ("split", "n")]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def protocol_differences(searches: Sequence[SearchResults]) -> pd.DataFrame:
    """Return the choices that are not the same in all searches.

    Args:
        searches: As ``analysis.load.load`` returns them, finished or not.

    Returns:
        A row for each choice that differs: ``choice``, as ``analysis.protocol.protocol_choices``
        names it, and a column for each search, named as ``search_labels`` has it, with its values
        as text, ``-`` where it has none.
    """
    labels, found = search_labels(searches), [protocol_choices(results) for results in searches]
    names = dict.fromkeys(name for one in found for name in one)
    records = []
    for name in names:
        texts = [one.get(name, NOTHING) for one in found]
        if len(set(texts)) > 1:
            records.append([name, *texts])
    return pd.DataFrame(records, columns=["choice", *labels])


def compare(searches: Sequence[SearchResults]) -> list[Table]:
    """Return the tables that compare searches: none of one, no differences where there are none."""
    if len(searches) < 2:
        return []
    differing = differences_table(searches)
    return [leaders_table(searches), *([differing] if len(differing.frame) else [])]


def leaders_table(searches: Sequence[SearchResults]) -> Table:
    """Return ``leaders`` as a table."""
    frame = leaders(searches)
    columns = {
        "search": list(frame["search"]),
        "best configuration": [text or NOTHING for text in frame["configuration"]],
        "on": [text or NOTHING for text in frame["split"]],
        "accuracy %": [percent(value) for value in frame["mean"]],
        "95% interval": list(map(interval, frame["low"], frame["high"])),
        "n": [str(value) for value in frame["n"]],
        "test %": [percent(value) for value in frame["test_mean"]],
        "test interval": list(map(interval, frame["test_low"], frame["test_high"])),
        "finished": [
            f"{done} of {planned}"
            for done, planned in zip(frame["finished"], frame["planned"], strict=True)
        ],
    }
    caption = (
        "The best configuration of each search: mean accuracy of unseen students over n distilled "
        "sets, with 95% intervals. Compare rows only where nothing that matters differs between "
        "their searches."
    )
    return Table("leaders", "Best of each search", frame, make_cells(columns, 3, []), caption)


def differences_table(searches: Sequence[SearchResults]) -> Table:
    """Return ``protocol_differences`` as a table."""
    frame = protocol_differences(searches)
    columns = {str(name): list(frame[name]) for name in frame.columns}
    caption = (
        "Choices of protocol, settings, code and machine that are not the same in all searches; "
        "all others are. Several values were varied, or drawn."
    )
    cells = make_cells(columns, len(columns), [])
    return Table("differences", "What differs between the searches", frame, cells, caption)
