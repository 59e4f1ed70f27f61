"""What configurations cost: seconds by phase, and peak memory."""

from typing import Any

import pandas as pd

from analysis.aggregate import list_configurations, setting_text
from analysis.load import SearchResults
from analysis.records import TIMINGS
from analysis.render import Table, make_cells
from harness.schema import FINISHED


def cost(results: SearchResults) -> pd.DataFrame:
    """Return what a trial of each configuration costs.

    A set costs what making it takes, whether this search made it or took it from a store:
    ``total_s`` is ``distill_cost_s + eval_s``.

    Args:
        results: A search, finished or not.

    Returns:
        A row for each configuration; means over its trials that ended with a result.

        - one column for each name in ``results.varied``
        - ``device``: cpu or the GPU's name; seconds of one are GPU-seconds, of the other CPU's
        - ``total_s``, then the seconds of each phase that trials record: ``distill_cost_s``,
          ``eval_s``, and what this search spent: ``distill_s``, ``quick_s``, ``control_s``,
          ``store_s`` and others
        - ``peak_gib``: largest of the trials
        - ``n``: trials
    """
    columns = list(results.trials.columns)
    seconds = [name for name in columns if name.endswith("_s") and name not in results.varied]
    order = ["distill_cost_s", "eval_s", *TIMINGS]
    seconds = list(dict.fromkeys([*order, *seconds]))
    records: list[dict[str, Any]] = []
    for settings, trials in list_configurations(results):
        done = trials[trials["status"].isin(FINISHED)]
        records.append(
            {
                **settings,
                "device": ", ".join(sorted({name for name in done["device"] if name})),
                "total_s": float((done["distill_cost_s"] + done["eval_s"]).mean()),
                **{name: float(done[name].mean()) for name in seconds},
                "peak_gib": float(done["peak_gib"].max()),
                "n": len(done),
            }
        )
    names = [*results.varied, "device", "total_s", *seconds, "peak_gib", "n"]
    return pd.DataFrame(records, columns=names)


def cost_table(results: SearchResults) -> Table:
    """Return ``cost`` as a table; phases that took no time are left out."""
    frame = cost(results)
    columns = {name: [setting_text(v) for v in frame[name]] for name in results.varied}
    columns["device"] = [text or "-" for text in frame["device"]]
    for name in frame.columns:
        always = name in ("total_s", "distill_cost_s", "eval_s")
        if name.endswith("_s") and (always or frame[name].gt(0).any()):
            title = name.removesuffix("_s").replace("_", " ") + " s"
            columns[title] = ["-" if v != v else f"{v:.1f}" for v in frame[name]]
    columns["peak GiB"] = ["-" if v != v else f"{v:.2f}" for v in frame["peak_gib"]]
    columns["n"] = [str(n) for n in frame["n"]]
    caption = (
        "Seconds a trial on its device (GPU-seconds on a GPU), means over n trials. total: what "
        "the set costs to make (distill cost, also where it came from the store) plus evaluating "
        "(eval); distill: what this search itself spent. peak: largest of the trials."
    )
    cells = make_cells(columns, len(results.varied) + 1, [])
    return Table("cost", f"Cost: {results.title}", frame, cells, caption)
