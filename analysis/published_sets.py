"""Sets that others published, as ``harness evaluate`` scored them: rows, and a table.

One published set is one distillation: an interval here is over the students trained on it, and says
nothing of what another distillation would give.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.published import BESIDE_TABLE_5, STUDENTS, UNSEEN_STUDENTS, published
from analysis.render import Table, make_cells
from analysis.samples import UNSEEN
from analysis.statistics import mean_interval
from analysis.words import interval, percent, points
from harness.errors import ResultError
from harness.schema import EVALUATIONS_FILE, TEST

COLUMNS = (
    "set", "loss", "student", "mean", "low", "high", "n", "diverged", "random", "plain", "table4",
)  # fmt: skip
"""Columns of ``published_sets``."""
_LOSSES = {"off": "whole", "control": "half"}
_HALF = 0.5
"""Alpha of the control arm whose label's term has half its weight."""
_RUNS = {
    "res_DC_CIFAR10_ConvNet_1ipc_3000": "baseline",
    "modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000": "pool",
}
"""Files of arXiv 2402.13007's authors -> their rows in Table 4. Entry 0 is the set of 1000
iterations, entry 1 of 2000, entry 2 of 3000."""
_KEYS = ["set", "student"]
_UNSEEN = list(UNSEEN_STUDENTS)


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
    """Return the test accuracy of each student on each set, beside what was published.

    Args:
        rows: As ``read_published`` returns them.

    Returns:
        - ``set``: file and entry; ``loss``: ``whole``, or ``half`` for the control arm of alpha
          0.5, whose label's term has half its weight and which has no teacher (students that have
          one: ``analysis.published_teacher``)
        - ``student``: one of the paper's six in its order, then others; last ``unseen``, the mean
          over the paper's five others than its main model, where all of them were trained
        - ``mean``, ``low``, ``high``: fraction, with the 95% t interval over student networks
          (``unseen``: over seeds, each the mean of five networks)
        - ``n``: networks, or seeds; ``diverged``: networks that did and are in no mean
        - ``random``: mean on random real images under the same recipe, which are the same for all
          sets of one size
        - ``plain``, ``table4``: published for the set, NaN where nothing was
          (``analysis.published``): evaluated by plain cross-entropy, and in Table 4
    """
    if not len(rows):
        return pd.DataFrame([], columns=list(COLUMNS))
    rows = rows[rows["split"] == TEST]
    half = (rows["kd_variant"] == "control") & (rows["kd_alpha"] == _HALF)
    rows = rows[(rows["kd_variant"] == "off") | half]
    rows = rows.assign(loss=rows["kd_variant"].map(_LOSSES))
    cells = published().set_index(["table", "ipc", "iterations", "method", "students"])["published"]
    random = rows["method"] == "random-real"
    by_chance = _random(rows[random])
    records = []
    for (name, loss, ipc), part in rows[~random].groupby(["trial_id", "loss", "ipc"]):
        for student, measured in _students(part):
            chance = by_chance.get((loss, ipc, student), math.nan)
            beside = (
                cells.get((table, ipc, iterations, method, student), math.nan)
                for table, iterations, method in _rows_of(str(name))
            )
            records.append((name, loss, student, *measured, chance, *beside))
    return pd.DataFrame(records, columns=list(COLUMNS))


def accuracies_by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each network that was trained on one set by one loss.

    Args:
        rows: Of that set, loss and one split, as ``read_published`` returns them.

    Returns:
        [student seed, student], fractions, NaN where it diverged: the paper's six students in its
        order, then others; last ``unseen``, the mean over the paper's five others than its main
        model, where all of them were trained.
    """
    fine = rows.assign(accuracy=rows["accuracy"].where(rows["status"] == "ok"))
    wide = fine.pivot_table("accuracy", "student_seed", "student", dropna=False)
    names = sorted(
        wide, key=lambda name: STUDENTS.index(name) if name in STUDENTS else len(STUDENTS)
    )
    wide = wide[names]
    if set(_UNSEEN) <= set(names):
        # A seed of which a network diverged has no mean over all five.
        wide[UNSEEN] = wide[_UNSEEN].mean(axis=1, skipna=False)
    return wide


def _students(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each student of one set and loss: mean, low, high, n, diverged."""
    for name, values in accuracies_by_seed(rows).items():
        yield str(name), (*mean_interval(values.dropna()), int(values.isna().sum()))


def _random(rows: pd.DataFrame) -> pd.Series:
    """Mean accuracy on random real images, by loss, IPC and student."""
    fine = rows[rows["status"] == "ok"]
    means = fine.groupby(["loss", "ipc", "student"])["accuracy"].mean()
    five = means[means.index.isin(_UNSEEN, level="student")].groupby(["loss", "ipc"])
    whole = five.mean()[five.size() == len(_UNSEEN)].to_frame().assign(student=UNSEEN)
    found: pd.Series = pd.concat([means, whole.set_index("student", append=True)["accuracy"]])
    return found


def _rows_of(name: str) -> tuple[tuple[int, int, str], tuple[int, int, str]]:
    """Table, iterations and row where a set's numbers stand: plain ones, and Table 4's."""
    printed, iterations = place_of(name)
    return (5, iterations, BESIDE_TABLE_5.get(printed, "")), (4, iterations, printed)


def place_of(name: str) -> tuple[str, int]:
    """Return row and iterations of Table 4 where a set stands; an empty row where it does not."""
    file, _, entry = name.rpartition("#")
    printed = _RUNS.get(file, "")
    return printed, 1000 * (int(entry) + 1) if printed else 0


def published_sets_table(rows: pd.DataFrame) -> Table:
    """Return ``published_sets`` as a table, a line for each set and student."""
    frame = published_sets(rows)
    lines = frame.drop_duplicates(_KEYS, keep="last")  # by the whole loss where it was scored
    columns = {name: [str(value) for value in lines[name]] for name in _KEYS}
    arms = {}
    for loss in _LOSSES.values():
        found = lines[_KEYS].merge(frame[frame["loss"] == loss], how="left", on=_KEYS)
        if found["n"].notna().any():
            arms[loss] = found.to_dict("records")
            columns[f"{loss} loss %"] = [_cell(row) for row in arms[loss]]
    columns["logged, whole loss %"] = [percent(value) for value in lines["plain"]]
    columns["Table 4 %"] = [percent(value) for value in lines["table4"]]
    if len(arms) == len(_LOSSES):
        both = zip(*arms.values(), strict=True)
        columns["Table 4 is within"] = [_within(dict(zip(arms, row, strict=True))) for row in both]
    columns["random real %"] = [percent(value) for value in lines["random"]]
    caption = (
        "Test accuracy of n students trained on one published set, with 95% intervals over the "
        "students, by the whole cross-entropy and by half of it. logged: what the authors "
        "published for that set and plain cross-entropy (their log; Table 5 for the pool's); "
        "Table 4 %: what Table 4 says of it, and which of the two intervals holds that. random "
        "real: on random real images, by the whole loss where it was scored."
    )
    return Table("published_sets", "Published sets", frame, make_cells(columns, 2, []), caption)


def published_words(rows: pd.DataFrame) -> list[str]:
    """Say whether published sets give what was published of them, a line for each comparison.

    Args:
        rows: As ``read_published`` returns them.

    Returns:
        For each set and loss with a mean over unseen students, that beside the published one; then
        how many intervals of single students hold Table 4's value.
    """
    frame = published_sets(rows)
    lines = []
    for row in frame[frame["student"] == UNSEEN].to_dict("records"):
        whole = row["loss"] == "whole"
        value, source = (row["plain"], "logged") if whole else (row["table4"], "in Table 4")
        if math.isnan(value):
            continue
        ends = interval(row["low"], row["high"])
        apart = f"{points(abs(row['mean'] - value))} {'above' if row['mean'] > value else 'below'}"
        lines.append(
            f"{row['set']}, mean over the five unseen students, {row['loss']} loss: "
            f"{percent(row['mean'])}% {ends}, n = {row['n']}, {apart} the {percent(value)}% "
            f"{source}"
        )
    single = frame[(frame["student"] != UNSEEN) & frame["low"].notna() & frame["table4"].notna()]
    both = single[single.duplicated(_KEYS, keep=False)]
    held = both["table4"].between(both["low"], both["high"]).groupby(both["loss"]).sum()
    if len(both):
        lines.append(
            f"Table 4's value is within the 95% interval of the half loss for {held['half']} of "
            f"{len(both) // 2} pairs of set and student, and of the whole loss for {held['whole']}"
        )
    return lines


def _cell(row: dict[Any, Any]) -> str:
    if pd.isna(row["n"]):
        return "-"
    lost = f", {row['diverged']:.0f} diverged" if row["diverged"] else ""
    return f"{percent(row['mean'])} {interval(row['low'], row['high'])}, n = {row['n']:.0f}{lost}"


def _within(arms: dict[str, dict[Any, Any]]) -> str:
    """Losses by which a student's interval holds Table 4's value, where it was scored by all."""
    if any(math.isnan(row["low"]) or math.isnan(row["table4"]) for row in arms.values()):
        return "-"
    held = [loss for loss, row in arms.items() if row["low"] <= row["table4"] <= row["high"]]
    return ", ".join(held) or "neither"
