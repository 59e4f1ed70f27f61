"""Parallel coordinates: a line a configuration, through its settings to its accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.aggregate import (
    configuration_texts,
    is_missing,
    metric_split,
    setting_text,
    value_order,
)
from analysis.answers import is_number, setting_title
from analysis.figures.drawing import Drawn
from analysis.figures.measured import configurations_of, measure
from analysis.figures.panels import place_labels
from analysis.figures.style import (
    BLACK,
    SHADES,
    SMALL,
    WIDTH,
    is_logarithmic,
    sets_words,
    shorten,
    tell_apart,
    wrap,
)
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

MAX_SETTINGS = 8
MAX_LINES = 200
MAX_TICKS = 6
_INTERVAL = ("mean", "low", "high", "n")
_MISSING = -0.16
"""Where a setting that does not apply stands, its values being at 0..1."""


class Axis(NamedTuple):
    """The axis of a setting."""

    title: str
    ticks: dict[str, float]
    """Where which values stand: 0..1, below 0 where the setting does not apply."""
    at: list[float]
    """Where each line crosses it."""


def parallel_lines(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the configurations with their settings and accuracy, best first.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each configuration that has a distilled set.

        - one column for each name in ``results.varied``: its value; missing where the setting does
          not apply
        - ``mean``: fraction, 0..1, of unseen students over distilled sets
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distilled sets in the mean
    """
    rows = [{**one.settings, **found._asdict()} for one, _, found in measure(results, metric)]
    frame = pd.DataFrame(rows, columns=[*results.varied, *_INTERVAL])
    frame = frame[frame["n"] > 0]
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def draw_parallel(lines: pd.DataFrame, axes: Sequence[Axis], split: str = VALIDATION) -> Figure:
    """Draw configurations as lines from axis to axis; the axes lie, as names are long.

    Args:
        lines: As ``parallel_lines`` returns them, best first, at least one.
        axes: Where they stand on the axis of each setting, as ``find_axis`` returns it, in order;
            ``at`` has a place for each line.
        split: Images that the accuracies are on.
    """
    rows = len(axes) + 1
    figure = Figure(figsize=(WIDTH, 0.3 + 0.85 * rows), layout="constrained")
    panel = figure.subplots()
    mean = 100 * lines["mean"].to_numpy(dtype="float64")
    low, high = float(mean.min()), float(mean.max())
    accuracy = (mean - low) / (high - low) if high > low else np.full(len(mean), 0.5)
    # Beside each other, the best on the right, or all of one value would be one line.
    aside = 0.03 * (accuracy - 0.5)
    x = np.stack([*(np.array(axis.at) + aside for axis in axes), accuracy])
    colours = colormaps[SHADES](0.9 * (1.0 - accuracy))
    heights = -np.arange(rows, dtype="float64")
    for place in range(len(lines))[::-1]:
        best = place == 0
        if best:
            panel.plot(x[:, 0], heights, color=BLACK, linewidth=4.2)
        panel.plot(
            x[:, place],
            heights,
            color="white" if best else colours[place],
            linewidth=1.6 if best else 0.9,
            alpha=1.0 if best else 0.75,
        )
    values = np.linspace(low, high, 5) if high > low else np.array([low])
    places = np.linspace(0.0, 1.0, len(values)) if high > low else np.array([0.5])
    ticks = {f"{v:.1f}": float(at) for v, at in zip(values, places, strict=True)}
    last = Axis(f"mean {split} accuracy of unseen students, %", ticks, [])
    for height, axis in zip(heights, [*axes, last], strict=True):
        _draw_axis(panel, float(height), axis)
    least = min([0.0, *(at for axis in axes for at in axis.ticks.values())])
    panel.set_xlim(least - 0.06, 1.06)
    panel.set_ylim(-rows + 0.65, 0.4)
    panel.set_axis_off()
    return figure


def find_axis(results: SearchResults, setting: str, lines: pd.DataFrame) -> Axis:
    """Return where configurations stand on the axis of a setting.

    Up to six values stand at equal distances, more numbers by their size, or by its logarithm
    where they are spread over 50-fold. Left of them is where the setting does not apply.

    Args:
        results: The search.
        setting: One that it varies.
        lines: As ``parallel_lines`` returns them, or its first rows.
    """
    found = {one.text: one for one in configurations_of(results)}
    own = [found[text] for text in configuration_texts(lines, results.varied)]
    labels = dict(zip(found, place_labels(list(found.values()), setting), strict=True))
    values = [one.settings[setting] for one in own]
    missing = sorted({labels[one.text] for one in own if is_missing(one.settings[setting])})
    known = sorted({v for v in values if not is_missing(v)}, key=value_order)
    if len(known) > MAX_TICKS and all(map(is_number, known)):
        numbers = np.array(known, dtype="float64")
        scaled = np.log(numbers) if is_logarithmic(numbers.tolist()) else numbers
        places = (scaled - scaled[0]) / (scaled[-1] - scaled[0])
        shown = _apart(places)
    else:
        places = (np.arange(len(known)) + 0.5) / max(len(known), 1)
        shown = list(range(len(known)))
    ticks = {text: _MISSING * (len(missing) - place) for place, text in enumerate(missing)}
    at = dict(zip(known, places.tolist(), strict=True))
    return Axis(
        setting_title(setting),
        ticks | {_tick(known[place]): float(places[place]) for place in shown},
        [
            ticks[labels[o.text]] if is_missing(v) else at[v]
            for o, v in zip(own, values, strict=True)
        ],
    )


def parallel_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the configurations of a search as lines.

    Args:
        results: A search, finished or not.
        settings: Empty: those that vary most.

    Raises:
        ResultError: Fewer than two settings or configurations.
    """
    del settings
    lines = parallel_lines(results)
    names = [n for n in results.varied if lines[n].map(setting_text).nunique() > 1]
    if len(names) < 2 or len(lines) < 2:
        raise ResultError(
            f"{results.name}: {len(names)} settings with several values and {len(lines)} "
            "configurations with results, expected two; draw the effects instead"
        )
    caption = (
        f"A line a configuration, from its settings to the mean accuracy of unseen students on "
        f"{metric_split(results)} images, {sets_words(lines)[6:]}; the darker the better, the best "
        "outlined."
    )
    if len(names) > MAX_SETTINGS:
        caption += f" The first {MAX_SETTINGS} of {len(names)} settings."
    shown = lines.head(MAX_LINES)
    if len(lines) > MAX_LINES:
        caption += f" The best {MAX_LINES} of {len(lines)} configurations."
    axes = [find_axis(results, name, shown) for name in names[:MAX_SETTINGS]]
    figure = draw_parallel(shown, axes, metric_split(results))
    return Drawn("parallel", "Configurations as lines", caption, figure, lines)


def _draw_axis(panel: Axes, height: float, axis: Axis) -> None:
    panel.plot([0.0, 1.0], [height, height], color=BLACK, linewidth=0.9, zorder=0.5)
    paint = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    panel.text(
        0.0, height + 0.2, wrap(axis.title, 60, 1), fontsize=SMALL, fontweight="bold", bbox=paint
    )
    room = max(8, 66 // max(len(axis.ticks), 1))
    texts = tell_apart(list(axis.ticks), lambda text: shorten(text, room))
    for text, at in zip(texts, axis.ticks.values(), strict=True):
        panel.plot([at, at], [height - 0.05, height + 0.05], color=BLACK, linewidth=0.9)
        panel.text(at, height - 0.09, text, ha="center", va="top", fontsize=7.5, bbox=paint)


def _tick(value: object) -> str:
    return f"{float(value):.3g}" if isinstance(value, float) else setting_text(value)


def _apart(places: NDArray[np.float64]) -> list[int]:
    """Choose places that are far enough from each other to be named, the ends among them."""
    chosen = [0]
    for place in range(1, len(places) - 1):
        if places[place] - places[chosen[-1]] >= 0.18 and 1.0 - places[place] >= 0.18:
            chosen.append(place)
    return [*chosen, len(places) - 1]
