"""Pairwise effects: mean accuracy by the values of two settings, and where they interact.

Means and intervals are those of ``analysis.figures.effects``.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.aggregate import metric_split
from analysis.answers import setting_title
from analysis.bootstrap import bootstrap_interval
from analysis.figures.drawing import Drawn
from analysis.figures.levels import Levels, several_levels
from analysis.figures.measured import Joined, measure
from analysis.figures.style import (
    SMALL,
    WIDTH,
    finish,
    limit,
    plain,
    reach,
    series_style,
    shorten,
    spread_words,
    tell_apart,
    wrap,
)
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

PAIR_COLUMNS = (
    "first", "first_level", "first_place", "second", "second_level", "second_place", "mean", "low",
    "high", "n", "configurations", "interaction", "strength",
)  # fmt: skip
"""Columns of ``pair_effects``."""
MAX_PAIRS = 4
MAX_LINES = 7
_SUM = 1e-12
"""Interactions below this are the arithmetic's."""


def pair_effects(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the mean accuracy over unseen students for each two levels of two settings.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each two levels with results, of each pair of settings that can interact: neither
        of which is told by the other. The pair that interacts most comes first.

        - ``first``, ``first_level``, ``second``, ``second_level``: as in ``main_effects``; the
          first is the one of numbers where one is
        - ``first_place``, ``second_place``: the level's place among those of its setting, 0 ...
        - ``mean`` to ``n``, ``configurations``: as there
        - ``interaction``: ``mean`` minus what the best sum of an effect of the first and one of the
          second gives (least squares), a difference of fractions
        - ``strength``: root of the mean square of the pair's interactions
    """
    measured = measure(results, metric)
    joined = Joined(measured)
    levels = several_levels([one.configuration for one in measured])
    frames = []
    for first, second in map(_numbers_first, combinations(levels, 2)):
        cells: dict[tuple[str, str], list[int]] = {}
        for place in np.flatnonzero(joined.has_results):
            cells.setdefault((first.of[place], second.of[place]), []).append(int(place))
        order = [(a, b) for a in first.order for b in second.order if (a, b) in cells]
        places = {key: np.array(cells[key], dtype="int64") for key in order}
        residuals = _residuals(order, [float(joined.means[places[key]].mean()) for key in order])
        if residuals is not None:
            strength = math.sqrt(float((residuals**2).mean()))
            rows = [
                (
                    first.setting, a, first.order.index(a), second.setting, b,
                    second.order.index(b), *bootstrap_interval(joined.mean(places[a, b])),
                    len(places[a, b]), residual, strength,
                )
                for (a, b), residual in zip(order, residuals, strict=True)
            ]  # fmt: skip
            frames.append(pd.DataFrame(rows, columns=list(PAIR_COLUMNS)))
    frames.sort(key=lambda frame: -float(frame["strength"].iloc[0]))
    return pd.concat(frames or [pd.DataFrame(columns=list(PAIR_COLUMNS))], ignore_index=True)


def draw_pair_effects(effects: pd.DataFrame, split: str = VALIDATION) -> Figure:
    """Draw a panel for each pair: the first setting along x, a line a level of the second.

    Args:
        effects: As ``pair_effects`` returns them, at least one.
        split: Images that the accuracies are on.
    """
    pairs = list(dict.fromkeys(zip(effects["first"], effects["second"], strict=True)))
    figure = Figure(figsize=(WIDTH, 0.3 + 2.9 * len(pairs)), layout="constrained")
    panels = figure.subplots(len(pairs), 1, sharey=True, squeeze=False)[:, 0]
    for panel, (first, second) in zip(panels, pairs, strict=True):
        part = effects[(effects["first"] == first) & (effects["second"] == second)]
        levels = list(part.sort_values("first_place")["first_level"].unique())
        lines = list(part.sort_values("second_place")["second_level"].unique())
        labels = tell_apart(lines, lambda text: wrap(text, 20, 2))
        for place, (level, label) in enumerate(zip(lines, labels, strict=True)):
            own = part[part["second_level"] == level]
            style = series_style(place)
            aside = 0.05 * (place - (len(lines) - 1) / 2)
            panel.errorbar(
                np.array([levels.index(name) for name in own["first_level"]]) + aside,
                100 * own["mean"],
                yerr=reach(own),
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                linewidth=1.3,
                elinewidth=0.9,
                markersize=5,
                capsize=2,
                label=label,
            )
        _set_levels(panel, levels)
        panel.set_xlabel(plain(setting_title(first)))
        panel.set_ylabel(f"{split} accuracy, %")
        panel.legend(
            title=wrap(setting_title(second), 20), fontsize=SMALL, title_fontsize=SMALL,
            frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
        )  # fmt: skip
        finish(panel)
    limit(panels[0].set_ylim, effects)
    return figure


def pair_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the pairwise effects of a search.

    Args:
        results: A search, finished or not.
        settings: Empty: the pairs that interact most.

    Raises:
        ResultError: No two settings were searched together.
    """
    del settings
    effects = pair_effects(results)
    if not len(effects):
        raise ResultError(
            f"{results.name}: no two settings have two values each that were searched together; "
            "draw the effects instead"
        )
    pairs = list(dict.fromkeys(zip(effects["first"], effects["second"], strict=True)))
    kept = pairs[:MAX_PAIRS]
    chosen = [pair in kept for pair in zip(effects["first"], effects["second"], strict=True)]
    shown, words = _fewer_lines(effects[chosen])
    split = metric_split(results)
    over = spread_words(effects, "distillation seed")
    caption = (
        f"Mean accuracy of unseen students on {split} images by the values of two settings, over "
        f"all configurations that have them, {over}: parallel lines do not "
        f"interact. The pair that interacts most is on top.{words}"
    )
    if len(pairs) > len(kept):
        caption += f" The first {len(kept)} of {len(pairs)} pairs."
    figure = draw_pair_effects(shown, split)
    return Drawn("interactions", "Pairwise effects", caption, figure, effects)


def _numbers_first(pair: tuple[Levels, Levels]) -> tuple[Levels, Levels]:
    """Put the setting of numbers along x, or else the one whose levels are shorter."""
    first, second = pair
    if bool(first.ordered) == bool(second.ordered):
        swap = not first.ordered and max(map(len, second.order)) < max(map(len, first.order))
    else:
        swap = bool(second.ordered)
    return (second, first) if swap else pair


def _residuals(
    keys: Sequence[tuple[str, str]], means: Sequence[float]
) -> NDArray[np.float64] | None:
    """What is left of means when an effect of each level is taken away; None: nothing can be."""
    design = np.array(
        [
            [float(a == name) for name in dict.fromkeys(a for a, _ in keys)]
            + [float(b == name) for name in dict.fromkeys(b for _, b in keys)]
            for a, b in keys
        ]
    )
    if not len(keys) or np.linalg.matrix_rank(design) == len(keys):
        return None
    values = np.array(means)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    residuals: NDArray[np.float64] = np.where(abs(values - fitted) < _SUM, 0.0, values - fitted)
    return residuals


def _fewer_lines(effects: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Leave out levels of second settings that there is no room for."""
    lines = effects.groupby(["first", "second"], sort=False)["second_level"]
    places = lines.transform(lambda part: pd.factorize(part)[0])
    most = int(places.max()) + 1
    words = f" At most {MAX_LINES} lines a panel, of up to {most}." if most > MAX_LINES else ""
    return effects[places < MAX_LINES], words


def _set_levels(panel: Axes, levels: Sequence[str]) -> None:
    """Name the levels below a panel, at a slant where they do not fit beside each other."""
    crowded = sum(len(level) + 3 for level in levels) > 46
    panel.set_xticks(
        range(len(levels)),
        tell_apart(levels, lambda text: shorten(text, 20)),
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
        fontsize=SMALL,
    )
    panel.set_xlim(-0.5, len(levels) - 0.5)
