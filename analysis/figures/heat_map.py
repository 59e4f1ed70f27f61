"""Heat maps: accuracy over two settings."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.aggregate import metric_split
from analysis.answers import MAIN_PROBABILITY, numeric_settings, setting_title
from analysis.figures.drawing import Drawn
from analysis.figures.measured import configurations_of, measure
from analysis.figures.panels import arrange, axis_labels
from analysis.figures.style import SHADES, SMALL, WIDTH, ink, plain, sets_words, tell_apart, wrap
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

HEAT_MAP_COLUMNS = ("group", "x", "y", "mean", "low", "high", "n")
"""Columns of ``heat_map_cells``."""
MAX_PANELS = 4
MAX_VALUES = 16
"""Of a setting that is an axis."""
MAX_PAIRS = 3
"""Heat maps that are drawn where none is named."""
_FIRST = (("kd.temperature", "kd.alpha"), (MAIN_PROBABILITY, "pool.others"))


def heat_map_cells(
    results: SearchResults, x: str, y: str, metric: str = UNSEEN_MEAN
) -> pd.DataFrame:
    """Return accuracy over unseen students by two settings.

    Args:
        results: A search that varies both.
        x: Dotted name of one.
        y: Dotted name of the other.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each configuration in each group that it belongs to.

        - ``group``: the other varied settings as text; empty where there are none
        - ``x``, ``y``: the values as text, or what decides that a setting does not apply (``off``)
        - ``mean``: fraction, 0..1, over distilled sets; NaN where n = 0
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distilled sets in the mean

    Raises:
        ResultError: The search does not vary both, or a setting has too many values for an axis.
    """
    _, cells = _cells(results, x, y, metric)
    return cells


def draw_heat_map(
    cells: pd.DataFrame,
    axes: tuple[str, str],
    labels: tuple[list[str], list[str]],
    split: str = VALIDATION,
) -> Figure:
    """Draw heat maps below each other, one for each group, on one scale.

    Args:
        cells: As ``heat_map_cells`` returns them, one mean at least.
        axes: Titles of x and y.
        labels: Places on x, from the left, and on y, from below.
        split: Images that the accuracies are on.
    """
    groups = list(dict.fromkeys(cells["group"]))
    height = 0.5 + 0.42 * len(labels[1])
    figure = Figure(figsize=(WIDTH, 0.9 + (height + 0.5) * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    low, high = 100 * cells["mean"].min(), 100 * cells["mean"].max()
    norm = Normalize(low - 0.5 * (low == high), high + 0.5 * (low == high))
    mesh = None
    for panel, group in zip(panels, groups, strict=True):
        part = cells[cells["group"] == group]
        mesh = panel.pcolormesh(
            100 * _table(part, labels, "mean"),
            cmap=SHADES,
            norm=norm,
            edgecolors="white",
            linewidth=1.5,
        )
        panel.set_facecolor("#ececec")
        _write_cells(panel, part, labels, norm)
        panel.set_title(wrap(group), fontsize=9, loc="left")
        panel.set_yticks(np.arange(len(labels[1])) + 0.5, tell_apart(labels[1], _tick))
        panel.set_ylabel(plain(axes[1]))
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    crowded = max(map(len, labels[0])) * len(labels[0]) > 40
    panels[-1].set_xticks(
        np.arange(len(labels[0])) + 0.5,
        tell_apart(labels[0], _tick),
        rotation=90 if crowded else 0,
    )
    panels[-1].set_xlabel(plain(axes[0]))
    assert mesh is not None, "there is a group"
    bar = figure.colorbar(mesh, ax=list(panels), shrink=min(1.0, 0.6 + 0.4 / len(groups)))
    bar.set_label(f"{split} accuracy, %")
    bar.outline.set_visible(False)
    return figure


def heat_map_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw heat maps over two settings of a search.

    Args:
        results: A search, finished or not.
        settings: Dotted names of x and y; by default the first of ``setting_pairs``.

    Raises:
        ResultError: There are no two settings, or nothing has finished.
    """
    pairs = setting_pairs(results)
    if not settings and not pairs:
        raise ResultError(
            f"{results.name}: the space varies {', '.join(results.varied) or 'nothing'}, expected "
            f"two settings of 2 to {MAX_VALUES} values each; draw the effects instead"
        )
    x, y = settings or pairs[0]
    labels, cells = _cells(results, x, y, UNSEEN_MEAN)
    sizes = cells.groupby("group").agg({"mean": "size", "x": "nunique", "y": "nunique"})
    if not (sizes["mean"] > sizes[["x", "y"]].max(axis=1)).any():
        raise ResultError(
            f"{results.name}: {x} and {y} are not searched together with the same other settings; "
            "draw the effects instead"
        )
    done = cells[cells["n"] > 0]
    if not len(done):
        raise ResultError(f"{results.name}: no unseen student has an accuracy; wait for a trial")
    split = metric_split(results)
    best = done.groupby("group", sort=False)["mean"].max().nlargest(MAX_PANELS).index
    groups = cells["group"].nunique()
    halves = ", half their width below the mean" if done["n"].max() > 1 else ""
    caption = (
        f"Mean accuracy of unseen students on {split} images, %, by {setting_title(x)} and "
        f"{setting_title(y)}: {sets_words(done)}{halves}. Grey: not searched, or not finished."
    )
    if groups > MAX_PANELS:
        caption += f" The {MAX_PANELS} of {groups} combinations of the other settings with the "
        caption += "highest means."
    if len(pairs) > MAX_PAIRS:
        caption += f" {MAX_PAIRS} of {len(pairs)} pairs of settings are drawn unless named."
    shown = cells[cells["group"].isin(best)]
    figure = draw_heat_map(shown, (setting_title(x), setting_title(y)), labels, split)
    title = f"Accuracy by {setting_title(x)} and {setting_title(y)}"
    return Drawn(f"heat_map:{x},{y}", title, caption, figure, cells)


def setting_pairs(results: SearchResults) -> list[tuple[str, str]]:
    """Return pairs of varied settings that a heat map can show, the well-known ones first.

    The second of a pair, the y axis, is the one of texts, which are long.
    """
    found = configurations_of(results)
    numbers = numeric_settings(results)
    names = [
        name
        for name in results.varied
        if 2 <= len({str(one.settings[name]) for one in found}) <= MAX_VALUES
    ]
    pairs = [
        (b, a) if a not in numbers and b in numbers else (a, b) for a, b in combinations(names, 2)
    ]
    known = {frozenset(pair): pair for pair in pairs}
    first = [pair for pair in _FIRST if frozenset(pair) in known]
    return [*first, *(pair for pair in pairs if frozenset(pair) not in map(frozenset, first))]


def main_pairs(results: SearchResults) -> list[tuple[str, str]]:
    """Return the pairs that are drawn where none is named."""
    return setting_pairs(results)[:MAX_PAIRS]


def _cells(
    results: SearchResults, x: str, y: str, metric: str
) -> tuple[tuple[list[str], list[str]], pd.DataFrame]:
    """The places on both axes, and the cells."""
    for name in (x, y):
        if name not in results.varied:
            raise ResultError(
                f"{results.name}: the space varies {', '.join(results.varied) or 'nothing'}, "
                f"expected {name}; choose two of these"
            )
    found = configurations_of(results)
    panels = arrange(found, [x, y])
    labels = axis_labels(panels, [x, y], 0), axis_labels(panels, [x, y], 1)
    for name, places in zip((x, y), labels, strict=True):
        if len(places) > MAX_VALUES:
            raise ResultError(
                f"{results.name}: {name} has {len(places)} values, expected at most {MAX_VALUES} "
                "on the axis of a heat map; draw the effects instead"
            )
    # Once each: a configuration may be in many panels.
    intervals = {id(one.configuration): one.interval for one in measure(results, metric)}
    rows = [
        (panel.text, *place, *intervals[id(one)]) for panel in panels for one, place in panel.places
    ]
    return labels, pd.DataFrame(rows, columns=list(HEAT_MAP_COLUMNS))


def _tick(text: str) -> str:
    return wrap(text, 18, 2)


def _table(
    part: pd.DataFrame, labels: tuple[list[str], list[str]], column: str
) -> NDArray[np.float64]:
    """A column as [y, x]; NaN where there is no cell."""
    table = part.pivot(index="y", columns="x", values=column)
    return table.reindex(index=labels[1], columns=labels[0]).to_numpy(dtype="float64")


def _write_cells(
    panel: Axes, part: pd.DataFrame, labels: tuple[list[str], list[str]], norm: Normalize
) -> None:
    """Write the mean into each cell, and half the width of its interval below."""
    if len(labels[0]) > 10:
        return
    means, halves = _table(part, labels, "mean"), np.zeros(())
    halves = (_table(part, labels, "high") - _table(part, labels, "low")) / 2
    for (row, column), mean in np.ndenumerate(means):
        if np.isnan(mean):
            continue
        half = halves[row, column]
        below = f"\n±{100 * half:.1f}" if not np.isnan(half) and len(labels[0]) <= 8 else ""
        panel.text(
            column + 0.5,
            row + 0.5,
            f"{100 * mean:.1f}{below}",
            ha="center",
            va="center",
            fontsize=SMALL - (1.0 if below else 0.0),
            color=ink(colormaps[SHADES](norm(100 * mean))),
            linespacing=0.95,
        )
