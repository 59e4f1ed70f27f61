"""What configurations cost: seconds, GPU-seconds and peak memory, by phase."""

from typing import Any

import pandas as pd

from analysis.aggregate import list_configurations, setting_text
from analysis.load import SearchResults
from analysis.records import GPU_SECONDS, PEAKS_GIB, TIMINGS
from analysis.render import Table, make_cells
from harness.schema import FINISHED, PHASES

_ALWAYS = ("total_s", "distill_cost_s", "eval_s")
_LEAST_SHOWN = 0.05
"""Seconds; less is 0.0 in a table."""
_CAPTION = (
    "Seconds a trial on its device, means over n trials. total: what the set costs to make "
    "(distill cost, also where it came from the store) plus evaluating (eval); distill: what this "
    "search itself spent. peak: largest of the trials."
)
_WITH_GPU = (
    " GPU-s: seconds times the share of a GPU that a trial has, of each phase that it ran itself; "
    "those of a teacher are among those of evaluating."
)
_WITHOUT_GPU = " There are no GPU-seconds by phase: the trials that recorded phases had no GPU."
_UNKNOWN = " There are no GPU-seconds by phase: these trials recorded no phases."


def cost(results: SearchResults) -> pd.DataFrame:
    """Return what a trial of each configuration costs.

    A set costs what making it takes, whether this search made it or took it from a store:
    ``total_s`` is ``distill_cost_s + eval_s``.

    Args:
        results: A search, finished or not.

    Returns:
        A row for each configuration; means over its trials that ended with a result.

        - one column for each name in ``results.varied``
        - ``device``: cpu or the GPU's name
        - ``total_s``, then the seconds of each phase that trials record: ``distill_cost_s``,
          ``eval_s``, and what this search spent: ``distill_s``, ``quick_s``, ``control_s``,
          ``store_s`` and others
        - ``distill/gpu_s`` and so on: GPU-seconds of each of ``harness.schema.PHASES``, over the
          trials that ran it; NaN where none did, and on the CPU
        - ``distill/peak_gib`` and so on: peak memory of each phase, largest of the trials; NaN
          where it was not recorded
        - ``peak_gib``: largest of the trials
        - ``n``: trials
    """
    gpu, peaks = list(GPU_SECONDS.values()), list(PEAKS_GIB.values())
    seconds = _seconds(results)
    records: list[dict[str, Any]] = []
    for settings, trials in list_configurations(results):
        done = trials[trials["status"].isin(FINISHED)]
        records.append(
            {
                **settings,
                "device": ", ".join(sorted({name for name in done["device"] if name})),
                "total_s": float((done["distill_cost_s"] + done["eval_s"]).mean()),
                **{name: float(done[name].mean()) for name in (*seconds, *gpu)},
                **{name: float(done[name].max()) for name in (*peaks, "peak_gib")},
                "n": len(done),
            }
        )
    names = [*results.varied, "device", "total_s", *seconds, *gpu, *peaks, "peak_gib", "n"]
    return pd.DataFrame(records, columns=names)


def cost_table(results: SearchResults) -> Table:
    """Return ``cost`` as a table.

    Left out are phases that took no time, and GPU-seconds where no trial had a GPU.
    """
    frame = cost(results)
    columns = {name: [setting_text(v) for v in frame[name]] for name in results.varied}
    columns["device"] = [text or "-" for text in frame["device"]]
    for name in ("total_s", *_seconds(results)):
        if name in _ALWAYS or frame[name].ge(_LEAST_SHOWN).any():
            title = name.removesuffix("_s").replace("_", " ") + " s"
            columns[title] = _texts(frame[name], 1)
    of_gpu = frame[list(GPU_SECONDS.values())].notna().any()
    of_memory = frame[list(PEAKS_GIB.values())].notna().any()
    for phase in PHASES:
        if of_gpu[GPU_SECONDS[phase]]:
            columns[f"{phase} GPU-s"] = _texts(frame[GPU_SECONDS[phase]], 1)
    for phase in PHASES:
        if of_memory[PEAKS_GIB[phase]]:
            columns[f"{phase} peak GiB"] = _texts(frame[PEAKS_GIB[phase]], 2)
    columns["peak GiB"] = _texts(frame["peak_gib"], 2)
    columns["n"] = [str(n) for n in frame["n"]]
    note = _WITH_GPU if of_gpu.any() else _WITHOUT_GPU if of_memory.any() else _UNKNOWN
    cells = make_cells(columns, len(results.varied) + 1, [])
    return Table("cost", f"Cost: {results.title}", frame, cells, _CAPTION + note)


def _seconds(results: SearchResults) -> list[str]:
    """Columns of seconds on the clock, those of other versions included."""
    recorded = [name for name in results.trials.columns if name.endswith("_s")]
    plain = [name for name in recorded if "/" not in name and name not in results.varied]
    return list(dict.fromkeys(["distill_cost_s", "eval_s", *TIMINGS, *plain]))


def _texts(values: pd.Series, digits: int) -> list[str]:
    return ["-" if value != value else f"{value:.{digits}f}" for value in values]
