"""Main effects: mean accuracy by the values of one setting.

A mean is over configurations, each counting once; its interval is over distillation seeds, with
the configurations as they are. It tells what the values do only where they were searched with the
same other settings, as in a full grid.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.aggregate import metric_split
from analysis.answers import setting_title
from analysis.bootstrap import bootstrap_interval
from analysis.figures.drawing import Drawn
from analysis.figures.levels import several_levels
from analysis.figures.measured import Joined, measure
from analysis.figures.style import (
    BLACK,
    GREY,
    SMALL,
    WIDTH,
    finish,
    limit,
    reach,
    spread_words,
    tell_apart,
    wrap,
)
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

EFFECT_COLUMNS = (
    "setting", "level", "is_ordered", "mean", "low", "high", "n", "effect", "configurations",
    "least", "most",
)  # fmt: skip
"""Columns of ``main_effects``."""
MAX_SETTINGS = 8


def main_effects(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the mean accuracy over unseen students for each level of each setting.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each level with results of each setting that has two or more; the settings in
        their order, levels as in ``analysis.figures.levels``.

        - ``setting``: dotted name
        - ``level``: a value, a range, or what decides that the setting does not apply (``off``)
        - ``is_ordered``: whether it is a number or a range, between which a line means something
        - ``mean``: fraction, 0..1, mean of the means of the configurations with this level
        - ``low``, ``high``: ends of its 95% interval over distillation seeds; NaN where n < 2. A
          set that a configuration lacks counts as the mean of those that it has.
        - ``n``: distillation seeds (replicates)
        - ``effect``: ``mean`` minus the mean over all configurations, a difference of fractions
        - ``configurations``: how many have results
        - ``least``, ``most``: lowest and highest mean of these
    """
    measured = measure(results, metric)
    joined = Joined(measured)
    total = float(joined.means[joined.has_results].mean()) if joined.has_results.any() else math.nan
    rows = []
    for one in several_levels([item.configuration for item in measured]):
        for level in one.order:
            own = np.flatnonzero((np.array(one.of) == level) & joined.has_results)
            if len(own):
                found = bootstrap_interval(joined.mean(own))
                means = joined.means[own]
                ends = (found.mean - total, len(own), float(means.min()), float(means.max()))
                rows.append((one.setting, level, level in one.ordered, *found, *ends))
    frame = pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))
    counts = frame.groupby("setting")["level"].transform("size")
    return frame[counts > 1].reset_index(drop=True)


def draw_main_effects(effects: pd.DataFrame, split: str = VALIDATION) -> Figure:
    """Draw a block of lines for each setting: means, intervals and the range of configurations.

    Args:
        effects: As ``main_effects`` returns them, at least one.
        split: Images that the accuracies are on.
    """
    settings = list(dict.fromkeys(effects["setting"]))
    lines = len(effects) + 1.6 * len(settings)
    figure = Figure(figsize=(WIDTH, 0.7 + 0.26 * lines), layout="constrained")
    panel = figure.subplots()
    places: list[float] = []
    ticks: list[str] = []
    at = 0.0
    for setting in settings:
        part = effects[effects["setting"] == setting]
        title = wrap(setting_title(setting), 60, 1)
        panel.text(
            0.0, at, title, transform=panel.get_yaxis_transform(), va="center", fontweight="bold",
            fontsize=9,
        )  # fmt: skip
        rows = at + 1 + np.arange(len(part))
        mean = 100 * part["mean"].to_numpy()
        panel.hlines(
            rows, 100 * part["least"], 100 * part["most"], color=GREY, linewidth=6, alpha=0.4
        )
        joined = part["is_ordered"].to_numpy(dtype="bool")
        panel.plot(mean[joined], rows[joined], color=BLACK, linewidth=0.9)
        panel.errorbar(
            mean, rows, xerr=reach(part), color=BLACK, marker="o", linestyle="none", elinewidth=1.4,
            markersize=5, capsize=2.5,
        )  # fmt: skip
        places += rows.tolist()
        ticks += tell_apart(list(part["level"]), lambda text: wrap(text, 26, 1))
        at = rows[-1] + 1.6
    panel.axvline(100 * _total(effects), color=GREY, linewidth=0.9, linestyle="--", zorder=1)
    panel.set_yticks(places, ticks, fontsize=SMALL)
    panel.set_ylim(at - 1.0, -0.7)
    panel.set_xlabel(f"mean {split} accuracy of unseen students, %")
    ends = effects.assign(low=effects[["low", "least"]].min(axis=1))
    limit(panel.set_xlim, ends.assign(high=effects[["high", "most"]].max(axis=1)))
    finish(panel)
    panel.grid(visible=False, axis="y")
    return figure


def effect_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the main effects of a search.

    Args:
        results: A search, finished or not.
        settings: Empty: all of them.

    Raises:
        ResultError: No setting has two levels with results.
    """
    del settings
    effects = main_effects(results)
    if not len(effects):
        raise ResultError(
            f"{results.name}: no setting has two values with results, expected one; wait for trials"
        )
    ranges = effects.groupby("setting", sort=False)["mean"].agg(
        lambda part: part.max() - part.min()
    )
    shown = effects[effects["setting"].isin(ranges.nlargest(MAX_SETTINGS).index)]
    split = metric_split(results)
    over = spread_words(effects, "distillation seed")
    caption = (
        f"Mean accuracy of unseen students on {split} images by the value of each setting, over "
        f"all configurations that have it, {over}. Grey bars: from the lowest to the highest "
        "configuration; dashed: mean of all. Differences are effects of a setting alone where its "
        "values share their other settings."
    )
    if len(ranges) > MAX_SETTINGS:
        caption += f" The {MAX_SETTINGS} of {len(ranges)} settings with the widest range."
    figure = draw_main_effects(shown, split)
    return Drawn("effects", "Main effects", caption, figure, effects)


def _total(part: pd.DataFrame) -> float:
    """Mean over all configurations, which each row of a setting holds."""
    return float((part["mean"] - part["effect"]).iloc[0])
