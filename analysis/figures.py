"""Figures: pure functions from results to points, and thin drawing of points.

Tests look at the points; the drawing holds no arithmetic on results.
"""

import io
import textwrap
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.aggregate import (
    by_setting,
    configuration_text,
    list_configurations,
    metric_split,
)
from analysis.bootstrap import bootstrap_interval
from analysis.load import SearchResults
from analysis.samples import UNSEEN as UNSEEN_STUDENTS
from analysis.samples import sample_of, seed_accuracies, student_rows
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

MAIN_PROBABILITY = "pool.main_probability"
"""The setting on the x axis of the main figure."""
UNSEEN = "unseen mean"
"""Series of the mean over all student seeds of all unseen students."""

# Okabe and Ito's colours for the colour-blind, without the yellow that is faint on white. Marker
# and line style change along, so that series are told apart in grey.
_BLACK = "#000000"
_STYLES = (
    ("#0072B2", "s", "--"),
    ("#D55E00", "^", ":"),
    ("#009E73", "D", "-."),
    ("#CC79A7", "v", (0, (5, 1, 1, 1, 1, 1))),
    ("#E69F00", "P", (0, (3, 1))),
    ("#56B4E9", "X", (0, (1, 1))),
)
_WIDTH = 5.2
"""Inches: narrow, so that the text is still readable when a phone scales the figure down."""


def main_probability_points(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return accuracy against the main-model probability.

    Args:
        results: A search that varies ``pool.main_probability``.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each point, in the order of drawing; points without a distilled set are left out.

        - ``group``: the other varied settings as text; empty where there are none. Points of
          different groups are never averaged.
        - ``main_probability``: 0..1
        - ``series``: ``unseen mean``, or the label of a student, with ``(main model)`` where it is
        - ``mean``: fraction, 0..1, over distilled sets
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distilled sets in the mean

    Raises:
        ResultError: The search does not vary ``pool.main_probability``.
    """
    if MAIN_PROBABILITY not in results.varied:
        raise ResultError(
            f"{results.name}: the space varies {', '.join(results.varied) or 'nothing'}, expected "
            f"{MAIN_PROBABILITY}; draw the configurations instead"
        )
    rows = student_rows(results, metric_split(results, metric))
    counted = rows[rows["counted"]]
    main = [name for name in counted["student"].unique() if name in set(counted["main_model"])]
    labels = [*main, *(name for name in counted["student"].unique() if name not in main)]
    titles = {name: f"{name} (main model)" if name in main else name for name in labels}
    series = {UNSEEN: UNSEEN_STUDENTS, **{titles[name]: name for name in labels}}
    groups: dict[str, None] = {}
    points = []
    for title, students in series.items():
        accuracies = seed_accuracies(rows, students)
        for settings, trials in list_configurations(results):
            others = {k: v for k, v in settings.items() if k != MAIN_PROBABILITY}
            group = configuration_text(list(others), others.values()) if others else ""
            groups.setdefault(group)
            found = bootstrap_interval(sample_of(trials, accuracies))
            if found.n:
                points.append((group, settings[MAIN_PROBABILITY], title, *found))
    columns = ["group", "main_probability", "series", "mean", "low", "high", "n"]
    frame = pd.DataFrame(points, columns=columns)
    return frame.sort_values(
        by=["group", "series", "main_probability"],
        key=lambda column: {
            "group": column.map({text: place for place, text in enumerate(groups)}),
            "series": column.map({text: place for place, text in enumerate(series)}),
        }.get(str(column.name), column),
        ignore_index=True,
    )


def configuration_points(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the accuracy of each configuration, best first.

    Args:
        results: A search.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each configuration that has a distilled set.

        - ``configuration``: the varied settings as text
        - ``mean``: fraction, 0..1, of unseen students over distilled sets
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distilled sets in the mean
    """
    frame = by_setting(results, metric)
    frame["configuration"] = _texts(frame, results.varied)
    frame = frame[frame["n"] > 0].sort_values("mean", ascending=False, kind="stable")
    return frame[["configuration", "mean", "low", "high", "n"]].reset_index(drop=True)


def draw_main_probability(points: pd.DataFrame, split: str = VALIDATION) -> Figure:
    """Draw accuracy against the main-model probability, a panel for each group.

    Args:
        points: As ``main_probability_points`` returns them, at least one.
        split: Images that the accuracies are on, for the axis.
    """
    groups = list(dict.fromkeys(points["group"]))
    series = list(dict.fromkeys(points["series"]))
    figure = Figure(figsize=(_WIDTH, 1.1 + 3.1 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    places = np.sort(points["main_probability"].unique())
    # Beside each other, or the error bars of all series would lie on one line.
    gap = float(np.diff(places).min()) if len(places) > 1 else 1.0
    step = min(0.09 * gap, 0.01)
    drawn = {}
    for panel, group in zip(panels, groups, strict=True):
        for place, name in enumerate(series):
            part = points[(points["group"] == group) & (points["series"] == name)]
            colour, marker, line = _STYLES[(place - 1) % len(_STYLES)]
            unseen = name == UNSEEN
            side = 0.0 if unseen else step * ((place + 1) // 2) * (1 if place % 2 else -1)
            drawn[name] = panel.errorbar(
                part["main_probability"] + side,
                100 * part["mean"],
                yerr=_reach(part),
                color=_BLACK if unseen else colour,
                marker="o" if unseen else marker,
                linestyle="-" if unseen else line,
                linewidth=2.6 if unseen else 1.1,
                elinewidth=1.8 if unseen else 0.8,
                markersize=7 if unseen else 4.5,
                capsize=4 if unseen else 2,
                zorder=3 if unseen else 2,
            )
        panel.set_ylabel(f"{split} accuracy, %")
        panel.set_title("\n".join(textwrap.wrap(_plain(group), 70)), fontsize=9, loc="left")
        _finish(panel)
    panels[-1].set_xlabel("main-model probability")
    if len(places) <= 11:
        crowded = gap < 0.08 * (places[-1] - places[0])
        labels = [f"{place:g}" for place in places]
        panels[-1].set_xticks(places, labels, rotation=90 if crowded else 0)
    _limit(panels[0].set_ylim, points)
    figure.legend(
        list(drawn.values()),
        [_plain(name) for name in drawn],
        loc="outside lower center",
        ncols=3,
        fontsize=8.5,
        frameon=False,
    )
    return figure


def draw_configurations(points: pd.DataFrame, split: str = VALIDATION) -> Figure:
    """Draw a dot and an interval for each configuration, one line each, the first on top.

    Args:
        points: As ``configuration_points`` returns them, at least one.
        split: Images that the accuracies are on, for the axis.
    """
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.5 * len(points)), layout="constrained")
    panel = figure.subplots()
    lines = np.arange(len(points))[::-1]
    panel.errorbar(
        100 * points["mean"],
        lines,
        xerr=_reach(points),
        color=_BLACK,
        marker="o",
        linestyle="none",
        elinewidth=1.8,
        markersize=7,
        capsize=4,
    )
    for line, text, n in zip(lines, points["configuration"], points["n"], strict=True):
        # Above its line rather than beside it: settings are long and the figure is narrow.
        label = _plain(textwrap.shorten(f"{text} (n = {n})", 78, placeholder=" ..."))
        panel.text(0.01, line + 0.22, label, transform=panel.get_yaxis_transform(), fontsize=8)
    panel.set_yticks([])
    panel.set_ylim(-0.5, len(points) - 0.3)
    panel.set_xlabel(f"mean {split} accuracy of unseen students, %")
    _limit(panel.set_xlim, points)
    _finish(panel)
    return figure


def figure_svg(figure: Figure) -> str:
    """Return a figure as an ``<svg>`` element: the same figure is the same text, at any time.

    Text stays text, so that it can be searched and read aloud; there is no date and no reference
    to other documents.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "harness", "svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    # Without the XML declaration and the document type, which do not belong inside HTML.
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _texts(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    values = [frame[name] for name in names]
    if not values:
        return [configuration_text((), ())] * len(frame)
    return [configuration_text(names, row) for row in zip(*values, strict=True)]


def _reach(points: pd.DataFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Length of the error bars in percent, [2, points]; NaN, so no bar at all, where n < 2."""
    mean = points["mean"]
    return 100 * np.array([mean - points["low"], points["high"] - mean], dtype=np.float64)


def _limit(set_limits: Callable[[float, float], object], points: pd.DataFrame) -> None:
    """Show all intervals, but nothing below 0% or above 100%."""
    low = 100 * float(points[["mean", "low"]].min().min())
    high = 100 * float(points[["mean", "high"]].max().max())
    margin = max(0.06 * (high - low), 1.0)
    set_limits(max(low - margin, 0.0), min(high + margin, 100.0))


def _finish(panel: Axes) -> None:
    panel.grid(color="#d8d8d8", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _plain(text: str) -> str:
    """Escape what matplotlib would read as mathematics."""
    return text.replace("$", r"\$")
