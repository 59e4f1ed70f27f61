"""Accuracy against a numeric setting, first of all the main-model probability."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.aggregate import is_missing, metric_split
from analysis.answers import MAIN_PROBABILITY, is_number, numeric_settings, setting_title
from analysis.figures.drawing import Drawn
from analysis.figures.measured import configurations_of, measure
from analysis.figures.panels import arrange
from analysis.figures.style import (
    BLACK,
    SMALL,
    WIDTH,
    Style,
    finish,
    is_logarithmic,
    limit,
    plain,
    reach,
    series_style,
    sets_words,
    wrap,
)
from analysis.load import SearchResults
from analysis.samples import UNSEEN as UNSEEN_STUDENTS
from analysis.samples import student_rows
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

UNSEEN = "unseen mean"
"""Series of the mean over all student seeds of all unseen students."""
ACCURACY_COLUMNS = ("group", "value", "label", "series", "mean", "low", "high", "n")
"""Columns of ``accuracy_points``."""
MAX_PANELS = 6
MAX_SERIES = 12
_LEGEND_WIDTH, _HANDLE = 76, 7
"""Characters that a row of the legend has room for, and those that a line's sample takes."""
_UNSEEN_STYLE = Style(BLACK, "o", "-")


def accuracy_points(
    results: SearchResults, setting: str = MAIN_PROBABILITY, metric: str = UNSEEN_MEAN
) -> pd.DataFrame:
    """Return accuracy against a numeric setting.

    Args:
        results: A search that varies it.
        setting: Its dotted name.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each point, in the order of drawing; points without a distilled set are left out.

        - ``group``: the other varied settings as text; empty where there are none. Points of
          different groups are never averaged.
        - ``value``: the setting's; NaN where it does not apply (for example the temperature, where
          KD is off): that configuration is in every group that it can be compared with
        - ``label``: the value as text, or what decides that it does not apply (``off``)
        - ``series``: ``unseen mean``, or the label of a student, with ``(main model)`` where it is
        - ``mean``: fraction, 0..1, over distilled sets
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distilled sets in the mean

    Raises:
        ResultError: The search does not vary it, or not as numbers.
    """
    values = results.trials[setting].unique() if setting in results.varied else ["none"]
    if not all(is_number(value) or is_missing(value) for value in values):
        raise ResultError(
            f"{results.name}: the space varies {', '.join(results.varied) or 'nothing'}, expected "
            f"numbers of {setting}; draw the configurations instead"
        )
    rows = student_rows(results, metric_split(results, metric))
    counted = rows[rows["counted"]]
    main = [name for name in counted["student"].unique() if name in set(counted["main_model"])]
    labels = [*main, *(name for name in counted["student"].unique() if name not in main)]
    titles = {name: f"{name} (main model)" if name in main else name for name in labels}
    series = {UNSEEN: UNSEEN_STUDENTS, **{titles[name]: name for name in labels}}
    # Once each: a configuration may be in many panels.
    found = configurations_of(results)
    intervals = {
        (title, id(one.configuration)): one.interval
        for title, students in series.items()
        for one in measure(results, metric, students)
    }
    points = []
    for panel in arrange(found, [setting]):
        for title in series:
            for one, (label,) in panel.places:
                interval = intervals[title, id(one)]
                if interval.n:
                    value = one.settings[setting]
                    number = float("nan") if is_missing(value) else float(value)
                    points.append((panel.text, number, label, title, *interval))
    return pd.DataFrame(points, columns=list(ACCURACY_COLUMNS))


def draw_accuracy(
    points: pd.DataFrame, setting: str = MAIN_PROBABILITY, split: str = VALIDATION
) -> Figure:
    """Draw accuracy against a setting, a panel for each group.

    Where the setting does not apply, points stand on the left, joined to nothing.

    Args:
        points: As ``accuracy_points`` returns them, at least one.
        setting: Dotted name of the setting, for the axis.
        split: Images that the accuracies are on, for the axis.
    """
    groups = list(dict.fromkeys(points["group"]))
    series = list(dict.fromkeys(points["series"]))
    height = 3.1 if len(groups) <= 2 else 2.3
    figure = Figure(figsize=(WIDTH, 1.1 + height * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    axis = _Axis(points)
    drawn = {}
    for panel, group in zip(panels, groups, strict=True):
        for place, name in enumerate(series):
            part = points[(points["group"] == group) & (points["series"] == name)]
            unseen = name == UNSEEN
            style = _UNSEEN_STYLE if unseen else series_style(place - (series[0] == UNSEEN))
            at = axis.places(part) + axis.aside(0 if unseen else place)
            for applies in (False, True):
                chosen = (part["value"].notna() == applies).to_numpy()
                if not chosen.any():
                    continue
                drawn[name] = panel.errorbar(
                    at[chosen],
                    100 * part.loc[chosen, "mean"],
                    yerr=reach(part[chosen]),
                    color=style.colour,
                    marker=style.marker,
                    linestyle=style.line if applies else "none",
                    linewidth=2.6 if unseen else 1.1,
                    elinewidth=1.8 if unseen else 0.8,
                    markersize=7 if unseen else 4.5,
                    capsize=4 if unseen else 2,
                    zorder=3 if unseen else 2,
                )
        panel.set_ylabel(f"{split} accuracy, %")
        panel.set_title(wrap(group), fontsize=9, loc="left")
        finish(panel)
    panels[-1].set_xlabel(setting_title(setting))
    axis.set_ticks(panels[-1])
    limit(panels[0].set_ylim, points)
    figure.legend(
        list(drawn.values()),
        [plain(name) for name in drawn],
        loc="outside lower center",
        ncols=_legend_columns(list(drawn)),
        fontsize=SMALL,
        frameon=False,
    )
    return figure


def _legend_columns(labels: Sequence[str]) -> int:
    """The most columns, up to three, that a figure has room for."""
    for columns in (3, 2):
        rows = math.ceil(len(labels) / columns)
        parts = [labels[at : at + rows] for at in range(0, len(labels), rows)]
        if sum(max(map(len, part)) + _HANDLE for part in parts) <= _LEGEND_WIDTH:
            return columns
    return 1


def accuracy_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw accuracy against a setting of a search.

    Args:
        results: A search, finished or not.
        settings: Its dotted name; by default the first of ``searched_settings``.

    Raises:
        ResultError: It is not varied, or nothing can be compared.
    """
    (setting,) = settings or [*searched_settings(results), (MAIN_PROBABILITY,)][0]
    if setting in results.varied:
        panels = arrange(configurations_of(results), [setting])
        if len(panels) > 1 and max(len(panel.places) for panel in panels) == 1:
            raise ResultError(
                f"{results.name}: no two values of {setting} share their other settings; draw the "
                "effects instead"
            )
    points = accuracy_points(results, setting)
    if not len(points):
        raise ResultError(f"{results.name}: no student has an accuracy yet; wait for a trial")
    split = metric_split(results)
    title = f"Accuracy against {setting_title(setting)}"
    shown, left_out = _shown(points)
    caption = (
        f"Accuracy on {split} images against {setting_title(setting)}: {sets_words(points)}. "
        "Thick: mean over the unseen students; thin: each student, shifted a little sideways "
        f"so that the intervals can be told apart.{left_out}"
    )
    figure = draw_accuracy(shown, setting, split)
    return Drawn(f"accuracy:{setting}", title, caption, figure, points)


def searched_settings(results: SearchResults) -> list[tuple[str]]:
    """Return the numeric settings that are varied, the main-model probability first."""
    names = [name for name in numeric_settings(results) if name != MAIN_PROBABILITY]
    first = [MAIN_PROBABILITY] if MAIN_PROBABILITY in results.varied else []
    return [(name,) for name in [*first, *names]]


class _Axis:
    """Where values stand: numbers at themselves, and those that do not apply left of them."""

    def __init__(self, points: pd.DataFrame) -> None:
        self._values = np.sort(points["value"].dropna().unique())
        self._logarithmic = is_logarithmic(self._values.tolist())
        at = self._scale(self._values)
        # Beside each other, or the error bars of all series would lie on one line.
        self._gap = float(np.diff(at).min()) if len(at) > 1 else 1.0
        self._span = float(at[-1] - at[0]) if len(at) > 1 else 1.0
        labels = list(dict.fromkeys(points.loc[points["value"].isna(), "label"]))
        first = at[0] if len(at) else 0.0
        step = max(0.12 * self._span, self._gap if len(at) > 1 else 0.0)
        self._missing = {
            text: first - step * (len(labels) - place) for place, text in enumerate(labels)
        }

    def places(self, part: pd.DataFrame) -> NDArray[np.float64]:
        """Return where points stand, in the unit of the axis."""
        missing = part["label"].map(self._missing).to_numpy(dtype="float64")
        at = self._scale(part["value"].to_numpy(dtype="float64"))
        return np.where(part["value"].isna(), missing, at)

    def aside(self, place: int) -> float:
        """Return how far a series is shifted; those of place 1, 2, ... to the right and left."""
        step = min(0.09 * self._gap, 0.01 * self._span)
        return step * ((place + 1) // 2) * (1 if place % 2 else -1)

    def set_ticks(self, panel: Axes) -> None:
        """Put the values on an axis, if there are not too many."""
        values = self._values
        if len(values) > 11:
            values = values[np.linspace(0, len(values) - 1, 6).round().astype("int64")]
        at = self._scale(values)
        crowded = self._gap < 0.08 * self._span or any(len(text) > 8 for text in self._missing)
        panel.set_xticks(
            [*self._missing.values(), *at],
            [*map(plain, self._missing), *(f"{value:g}" for value in values)],
            rotation=90 if crowded else 0,
        )

    def _scale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(values) if self._logarithmic else values


def _shown(points: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The groups and series that there is room for, and words on what is left out."""
    words = ""
    unseen = points[points["series"] == UNSEEN]
    best = (unseen if len(unseen) else points).groupby("group", sort=False)["mean"].max()
    if len(best) > MAX_PANELS:
        kept = best.nlargest(MAX_PANELS).index
        points = points[points["group"].isin(kept)]
        words += f" The {MAX_PANELS} of {len(best)} combinations of the other settings whose best "
        words += "mean is highest."
    series = list(dict.fromkeys(points["series"]))
    if len(series) > MAX_SERIES:
        points = points[points["series"].isin(series[:MAX_SERIES])]
        words += f" The first {MAX_SERIES} of {len(series)} lines."
    return points, words
