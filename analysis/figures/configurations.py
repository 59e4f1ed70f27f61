"""Configurations below each other, the best on top."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.aggregate import metric_split
from analysis.figures.drawing import Drawn
from analysis.figures.measured import measure
from analysis.figures.style import BLACK, WIDTH, finish, limit, reach, sets_words, wrap
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

MAX_LINES = 40


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
    rows = [(one.text, *found) for one, _, found in measure(results, metric) if found.n]
    frame = pd.DataFrame(rows, columns=["configuration", "mean", "low", "high", "n"])
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def draw_configurations(points: pd.DataFrame, split: str = VALIDATION) -> Figure:
    """Draw a dot and an interval for each configuration, one line each, the first on top.

    Args:
        points: As ``configuration_points`` returns them, at least one.
        split: Images that the accuracies are on, for the axis.
    """
    texts = [
        wrap(f"{text} (n = {n})", 70, 3)
        for text, n in zip(points["configuration"], points["n"], strict=True)
    ]
    height = 0.35 + 0.15 * max(text.count("\n") + 1 for text in texts)
    figure = Figure(figsize=(WIDTH, 0.9 + height * len(points)), layout="constrained")
    panel = figure.subplots()
    lines = np.arange(len(points))[::-1]
    panel.errorbar(
        100 * points["mean"],
        lines,
        xerr=reach(points),
        color=BLACK,
        marker="o",
        linestyle="none",
        elinewidth=1.8,
        markersize=7,
        capsize=4,
    )
    for line, text in zip(lines, texts, strict=True):
        # Above its line rather than beside it: settings are long and the figure is narrow.
        at = (0.01, line + 0.09 / height)
        panel.text(*at, text, transform=panel.get_yaxis_transform(), fontsize=8, va="bottom")
    panel.set_yticks([])
    panel.set_ylim(-0.4, len(points) - 0.1)
    panel.set_xlabel(f"mean {split} accuracy of unseen students, %")
    limit(panel.set_xlim, points)
    finish(panel)
    return figure


def configuration_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the configurations of a search.

    Args:
        results: A search, finished or not.
        settings: Empty: all of them.

    Raises:
        ResultError: No configuration has an accuracy.
    """
    del settings
    points = configuration_points(results)
    if not len(points):
        raise ResultError(f"{results.name}: no unseen student has an accuracy; wait for a trial")
    split = metric_split(results)
    caption = (
        f"Mean accuracy of unseen students on {split} images by configuration: "
        f"{sets_words(points)}."
    )
    if len(points) > MAX_LINES:
        caption += f" The best {MAX_LINES} of {len(points)}; the table has all."
    figure = draw_configurations(points.head(MAX_LINES), split)
    return Drawn("configurations", "Configurations", caption, figure, points)
