"""Methods side by side: ``python -m analysis.methods runs/methods`` prints a table in Markdown.

The folder is a search's, or an export of one.
"""

import sys
from pathlib import Path

import pandas as pd

from analysis import render
from analysis.exports import is_export, read_export
from analysis.load import SearchResults, load_search
from analysis.render import make_cells
from analysis.samples import student_rows
from analysis.statistics import mean_interval
from analysis.words import interval, percent
from harness.errors import HarnessError
from harness.schema import VALIDATION

_NETWORKS = "acc.networks"
_BASELINE, _OTHER_BASELINE = "random-real", "kmeans"
_REFERENCE = "dc"
_HEADER = (
    "IPC",
    "method",
    "early networks",
    "accuracy, %",
    "95% interval",
    "n",
    "over random real, points",
    "gain's 95% interval",
    "over k-means, points",
    "s/iteration",
    "of DC's",
)


def compare(results: SearchResults) -> pd.DataFrame:
    """Return one row for each (ipc, method, early-stage networks), means over distilled sets.

    Args:
        results: A search that varies ``method``; finished or not.

    Returns:
        - ``ipc``, ``method``, ``networks`` (0: fresh random ones)
        - ``mean``, ``low``, ``high``: validation accuracy of the main model's students, fraction,
          with the 95% t interval over sets (NaN where n < 2); ``n``: sets
        - ``gain``, ``gain_low``, ``gain_high``: over random real images of the same replicate
        - ``gain_kmeans``: the same over k-means, without an interval
        - ``seconds``: median seconds an iteration, early-stage networks included; NaN for
          baselines; ``ratio``: those over DC's at the same ipc
    """
    rows = student_rows(results, VALIDATION)
    rows = rows[rows["counted"] & ~rows["unseen"]]
    rows = rows.merge(results.trials[["trial_id", _NETWORKS]], on="trial_id")
    keys = ["ipc", "method", _NETWORKS, "replicate"]
    rows = rows.assign(**{_NETWORKS: rows[_NETWORKS].astype("Float64").fillna(0).astype(int)})
    rows = rows.assign(each_s=rows["distill_cost_s"] / rows["iterations"].astype(float))
    sets = rows.groupby(keys)[["accuracy", "each_s"]].mean().reset_index()
    records = []
    for _, own in sets.groupby(keys[:3], sort=True):
        ipc, networks = int(own["ipc"].iloc[0]), int(own[_NETWORKS].iloc[0])
        method = str(own["method"].iloc[0])
        accuracy = mean_interval(own["accuracy"])
        gain = mean_interval(_gain(own, sets, ipc, _BASELINE))
        iterates = method not in (_BASELINE, _OTHER_BASELINE)
        records.append(
            {
                "ipc": ipc,
                "method": method,
                "networks": networks,
                **dict(zip(("mean", "low", "high", "n"), accuracy, strict=True)),
                **dict(zip(("gain", "gain_low", "gain_high"), gain[:3], strict=True)),
                "gain_kmeans": _gain(own, sets, ipc, _OTHER_BASELINE).mean(),
                "seconds": own["each_s"].median() if iterates else float("nan"),
            }
        )
    frame = pd.DataFrame(records)
    if frame.empty:
        return frame
    plain = frame[(frame["method"] == _REFERENCE) & (frame["networks"] == 0)]
    of_dc = frame["ipc"].map(plain.set_index("ipc")["seconds"])
    return frame.assign(ratio=frame["seconds"] / of_dc)


def _gain(own: pd.DataFrame, sets: pd.DataFrame, ipc: int, baseline: str) -> pd.Series:
    """Accuracy of each set minus that of a baseline's set of the same replicate."""
    other = sets[(sets["ipc"] == ipc) & (sets["method"] == baseline)]
    pairs = own.merge(other, on="replicate", suffixes=("", "_other"))
    return pairs["accuracy"] - pairs["accuracy_other"]


def markdown(frame: pd.DataFrame) -> str:
    """Return the table as text, accuracies in percent."""
    columns: dict[str, list[str]] = {name: [] for name in _HEADER}
    for row in frame.to_dict("records"):
        texts = [
            str(row["ipc"]),
            str(row["method"]),
            str(row["networks"] or "-"),
            percent(row["mean"]),
            interval(row["low"], row["high"]),
            str(row["n"]),
            percent(row["gain"]),
            interval(row["gain_low"], row["gain_high"]),
            percent(row["gain_kmeans"]),
            "-" if pd.isna(row["seconds"]) else f"{row['seconds']:.3g}",
            "-" if pd.isna(row["ratio"]) else f"{row['ratio']:.2g}",
        ]
        for name, text in zip(_HEADER, texts, strict=True):
            columns[name].append(text)
    return render.markdown(make_cells(columns, 3, []), "").rstrip() + "\n"


def main(arguments: list[str]) -> int:
    """Print the table of a folder; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m analysis.methods FOLDER\n")
        return 2
    try:
        folder = Path(arguments[0])
        results = read_export(folder) if is_export(folder) else load_search(folder)
    except HarnessError as error:
        sys.stderr.write(f"analysis.methods: {error}\n")
        return 2
    if not {"method", _NETWORKS} <= set(results.varied):
        sys.stderr.write(
            f"analysis.methods: {arguments[0]}: does not vary method and acc.networks\n"
        )
        return 2
    sys.stdout.write(markdown(compare(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
