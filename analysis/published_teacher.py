"""What a teacher gains on sets that others published, beside Table 4 of arXiv 2402.13007.

Students of all arms begin from the same weights and see the images in the same order, so that arms
are compared network by network. One published set is one distillation: an interval here is over the
networks trained on it, and says nothing of what another distillation would give.
"""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.published import TAUGHT, published
from analysis.published_sets import accuracies_by_seed, place_of
from analysis.render import Table, make_cells
from analysis.samples import UNSEEN
from analysis.scores import RANDOM
from analysis.statistics import mean_interval
from analysis.words import interval, percent, points
from harness.schema import TEST

COLUMNS = (
    "set", "loss", "alpha", "temperature", "student", "part", "mean", "low", "high", "n",
    "diverged", "table4",
)  # fmt: skip
"""Columns of ``published_gains``."""
_KEYS = list(COLUMNS[:5])
_TABLE_4 = 4
_WITH = {"baseline": "KD", "pool": "pool & KD"}
"""Row of Table 4 without a teacher -> the same with one."""
_ACCURACY, _GAIN = "accuracy", "gain"
_PARTS = ("step", "transfer")
"""Of a gain."""


def published_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a teacher gains for each student on each set, and which part of it is what.

    Args:
        rows: As ``analysis.published_sets.read_published`` returns them.

    Returns:
        Rows for each set, loss with a teacher and student that was trained by it.

        - ``set``: file and entry; ``loss``: ``softened``, the paper's formula, or ``legacy``, its
          code's; ``alpha``, ``temperature``
        - ``student``: as in ``analysis.published_sets.accuracies_by_seed``
        - ``part``: ``accuracy``, by that loss; ``gain``, that minus the whole cross-entropy's;
          ``step``, the control arm of the same alpha minus the whole cross-entropy's;
          ``transfer``, accuracy minus the control arm's. Arms that were not trained have no part.
        - ``mean``, ``low``, ``high``, ``n``: fractions, with the 95% t interval over n student
          networks, paired by their seeds (``unseen``: over seeds, each the mean of five networks)
        - ``diverged``: networks, or seeds, that did in an arm of the part and are in no mean
        - ``table4``: of ``accuracy`` what Table 4 says, of ``gain`` that minus its row without a
          teacher; else NaN
    """
    if not len(rows):
        return pd.DataFrame([], columns=list(COLUMNS))
    rows = rows[(rows["split"] == TEST) & (rows["method"] != RANDOM)]
    cells = published()
    cells = cells[cells["table"] == _TABLE_4].set_index(["ipc", "iterations", "method", "students"])
    known = cells["published"].to_dict()
    taught = rows[rows["kd_variant"].isin(TAUGHT)]
    records = []
    keys = ["trial_id", "ipc", "kd_variant", "kd_alpha", "kd_temperature"]
    for (name, ipc, *kd), part in taught.groupby(keys):
        own = rows[rows["trial_id"] == name]
        control = own[(own["kd_variant"] == "control") & (own["kd_alpha"] == kd[1])]
        off = own[own["kd_variant"] == "off"]
        row, iterations = place_of(str(name))
        for student, found in _parts(*map(accuracies_by_seed, (part, control, off))):
            printed, without = (
                known.get((ipc, iterations, method, student), math.nan)
                for method in (_WITH.get(row), row)
            )
            beside = {_ACCURACY: printed, _GAIN: printed - without}
            for of, values in found.items():
                ends, lost = mean_interval(values.dropna()), int(values.isna().sum())
                records.append((name, *kd, student, of, *ends, lost, beside.get(of, math.nan)))
    return pd.DataFrame(records, columns=list(COLUMNS))


def published_teacher_table(rows: pd.DataFrame) -> Table:
    """Return ``published_gains`` as a table, a line for each set, loss and student."""
    frame = published_gains(rows)
    lines = {
        key: part.set_index("part").to_dict("index")
        for key, part in frame.groupby(_KEYS, sort=False)
    }
    columns = {name: [str(key[place]) for key in lines] for place, name in enumerate(_KEYS)}
    columns["accuracy %"] = [_cell(parts[_ACCURACY]) for parts in lines.values()]
    for part in (_GAIN, *_PARTS):
        columns[part] = [_cell(parts[part]) if part in parts else "-" for parts in lines.values()]
    for part, title in ((_ACCURACY, "Table 4 %"), (_GAIN, "Table 4's gain")):
        found = [parts[part]["table4"] if part in parts else math.nan for parts in lines.values()]
        columns[title] = [percent(value) for value in found]
    caption = (
        "Test accuracy of students with a teacher on one published set, and its parts in points, "
        "with 95% intervals over n networks, paired by seed. gain: above the whole cross-entropy. "
        "step: the control arm (label's loss alone, of weight 1 - alpha) above that. transfer: "
        "above the control arm. softened: the paper's formula; legacy: its code's loss. Table 4's "
        "gain is over its own row without a teacher, and of the best of 13 temperatures on test "
        "images."
    )
    cells = make_cells(columns, len(_KEYS), [])
    return Table("published_teacher", "Published sets with a teacher", frame, cells, caption)


def published_teacher_words(rows: pd.DataFrame) -> list[str]:
    """Say what a teacher gains on published sets.

    Args:
        rows: As ``analysis.published_sets.read_published`` returns them.

    Returns:
        For each set and loss a line for the mean over the paper's five unseen students, and one of
        each student's gain; a line for each student where not all five were trained.
    """
    frame = published_gains(rows)
    lines = []
    for (name, loss, alpha, temperature), part in frame.groupby(_KEYS[:4], sort=False):
        how = f"{loss} KD at alpha {alpha:g} and temperature {temperature:g}"
        students = {
            str(student): own.set_index("part").to_dict("index")
            for student, own in part.groupby("student", sort=False)
        }
        if UNSEEN not in students:
            lines += [f"{name}, {one}, {how}: {_in_words(own)}" for one, own in students.items()]
            continue
        mean = students.pop(UNSEEN)
        lines.append(f"{name}, mean over the five unseen students, {how}: {_in_words(mean)}")
        gains = [
            f"{one} {_difference(own[_GAIN])}" for one, own in students.items() if _GAIN in own
        ]
        if gains:
            lines.append(f"{name}, {how}, gain by student: {'; '.join(gains)}")
    return lines


def _in_words(parts: dict[Any, dict[Any, Any]]) -> str:
    accuracy = parts[_ACCURACY]
    text = f"{percent(accuracy['mean'])}% {_spread(accuracy)}"
    if not accuracy["n"]:
        text = f"no mean, since a network diverged at each of {accuracy['diverged']} seeds"
    elif {_GAIN, *_PARTS} <= parts.keys():
        gain, step, transfer = (_difference(parts[of]) for of in (_GAIN, *_PARTS))
        text += (
            f"; a gain of {gain}, over the whole loss, of it the smaller step alone {step}, "
            f"transfer {transfer}"
        )
    if not math.isnan(accuracy["table4"]):
        text += f"; Table 4 has {percent(accuracy['table4'])}%"
        if not math.isnan(more := parts.get(_GAIN, {}).get("table4", math.nan)):
            text += f", a gain of {points(more)} over its row without a teacher"
    return text


def _parts(
    taught: pd.DataFrame, control: pd.DataFrame, off: pd.DataFrame
) -> Iterator[tuple[str, dict[str, pd.Series]]]:
    """Each student with a teacher: its accuracy and the differences of its arms, by seed."""
    for student in taught:
        parts = {_ACCURACY: taught[student]}
        if student in off:
            parts[_GAIN] = taught[student] - off[student]
        if student in off and student in control:
            parts["step"] = control[student] - off[student]
        if student in control:
            parts["transfer"] = taught[student] - control[student]
        yield str(student), parts


def _difference(row: dict[Any, Any]) -> str:
    if not row["n"]:
        return f"unknown, {row['diverged']} diverged"
    return f"{points(row['mean'])} {_spread(row)}"


def _cell(row: dict[Any, Any]) -> str:
    if not row["n"]:
        return f"-, {row['diverged']} diverged"
    return f"{percent(row['mean'])} {_spread(row)}"


def _spread(row: dict[Any, Any]) -> str:
    lost = f", {row['diverged']} diverged" if row["diverged"] else ""
    return f"{interval(row['low'], row['high'])}, n = {row['n']}{lost}"
