"""Importance: how much of the accuracy's variance a random forest needs each setting for.

Permutation importance (Breiman 2001) of scikit-learn's forest, on configurations that the forest
was not trained on: what its squared error rises by when a setting's values are shuffled among
them, over the variance of the accuracies. Missing values are values of their own, so that no
trial with KD off is left out, which the evaluators of Optuna would do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.aggregate import is_missing, metric_split, setting_text
from analysis.answers import is_number, setting_title
from analysis.figures.drawing import Drawn
from analysis.figures.measured import measure
from analysis.figures.style import COLOURS, SMALL, WIDTH, finish, wrap
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN

IMPORTANCE_COLUMNS = ("setting", "importance", "std", "explained", "configurations", "n")
"""Columns of ``importances``."""
LEAST_CONFIGURATIONS = 8
MAX_SETTINGS = 15
_SEED = 20240213
_FOLDS = 5
_TREES = 48
_REPEATS = 5


def importances(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return how important each varied setting is for the accuracy over unseen students.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each setting that has two values or more, the most important first.

        - ``setting``: dotted name
        - ``importance``: rise of the squared error on held-out configurations when the setting's
          values are shuffled, as a share of the variance of the accuracies; about 0, or a little
          below, for a setting that tells nothing, above 1 where shuffling misleads the forest.
          Settings that tell the same (whether KD is on, its temperature) share theirs.
        - ``std``: standard deviation over folds of the mean over shuffles
        - ``explained``: share of the variance that the forest explains on held-out configurations
          (R squared, the same in each row): where it is near 0 or below, importances mean nothing
        - ``configurations``, ``n``: configurations and distilled sets that it learned from

    Raises:
        ResultError: Fewer than two settings are varied, or fewer than 8 configurations have
            results.
    """
    table, accuracy, groups = _samples(results, metric)
    count = len(np.unique(groups))
    if table.shape[1] < 2 or count < LEAST_CONFIGURATIONS:
        raise ResultError(
            f"{results.name}: {table.shape[1]} settings with several values and {count} "
            f"configurations with results, expected at least 2 and {LEAST_CONFIGURATIONS} to judge "
            "importance; wait for trials, or draw the effects instead"
        )
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GroupKFold

    # Shuffled, or a fold would be all configurations of one value of the last setting.
    shuffled = np.random.default_rng(_SEED).permutation(groups.max() + 1)[groups]
    variance = float(accuracy.var()) or 1.0
    rises, errors = [], np.empty(len(accuracy))
    values = table.to_numpy(dtype="float64")
    for train, held_out in GroupKFold(_FOLDS).split(values, accuracy, shuffled):
        forest = RandomForestRegressor(_TREES, random_state=_SEED)
        forest.fit(values[train], accuracy[train])
        errors[held_out] = (forest.predict(values[held_out]) - accuracy[held_out]) ** 2
        found = permutation_importance(
            forest,
            values[held_out],
            accuracy[held_out],
            scoring="neg_mean_squared_error",
            n_repeats=_REPEATS,
            random_state=_SEED,
        )
        rises.append(found.importances_mean / variance)
    frame = pd.DataFrame(
        {
            "setting": table.columns,
            "importance": np.mean(rises, axis=0),
            "std": np.std(rises, axis=0, ddof=1),
            "explained": 1.0 - float(errors.mean()) / variance,
            "configurations": count,
            "n": len(accuracy),
        },
        columns=list(IMPORTANCE_COLUMNS),
    )
    return frame.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def draw_importances(frame: pd.DataFrame) -> Figure:
    """Draw a bar for each setting, the first on top, with the spread between folds.

    Args:
        frame: As ``importances`` returns it.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.36 * len(frame)), layout="constrained")
    panel = figure.subplots()
    at = np.arange(len(frame))[::-1]
    panel.barh(at, 100 * frame["importance"], height=0.55, color=COLOURS[5], edgecolor=COLOURS[0])
    panel.errorbar(
        100 * frame["importance"],
        at,
        xerr=100 * frame["std"],
        color="#000000",
        linestyle="none",
        elinewidth=1.2,
        capsize=3,
    )
    panel.axvline(0.0, color="#000000", linewidth=0.8)
    names = [wrap(setting_title(name), 26, 1) for name in frame["setting"]]
    panel.set_yticks(at, names, fontsize=SMALL)
    panel.set_xlabel("rise of the squared error, % of the variance", fontsize=9)
    finish(panel)
    panel.grid(visible=False, axis="y")
    return figure


def importance_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the importance of the settings of a search.

    Args:
        results: A search, finished or not.
        settings: Empty: all of them.

    Raises:
        ResultError: There are too few settings or configurations.
    """
    del settings
    frame = importances(results)
    explained = float(frame["explained"].iloc[0])
    caption = (
        f"Importance of each setting for the accuracy of unseen students on "
        f"{metric_split(results)} images: by how much the squared error of a random forest rises "
        "on held-out configurations when the setting's values are shuffled, with the standard "
        f"deviation over {_FOLDS} folds. From n = {frame['n'].iloc[0]} distilled sets of "
        f"{frame['configurations'].iloc[0]} configurations, of whose variance it explains "
        f"{100 * explained:.0f}%. Settings that tell the same share their importance."
    )
    if explained < 0.1:
        caption += " It explains next to nothing: do not read anything into the bars."
    if len(frame) > MAX_SETTINGS:
        caption += f" The first {MAX_SETTINGS} of {len(frame)} settings."
    figure = draw_importances(frame.head(MAX_SETTINGS))
    return Drawn("importance", "Importance of the settings", caption, figure, frame)


def _samples(
    results: SearchResults, metric: str
) -> tuple[pd.DataFrame, "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """A row for each distilled set: its settings, its accuracy, and its configuration."""
    settings, values, groups = [], [], []
    for place, (one, sample, _) in enumerate(measure(results, metric)):
        for value in sample.mean(axis=1):
            settings.append(one.settings)
            values.append(float(value))
            groups.append(place)
    columns = {}
    for name in results.varied:
        own = [row[name] for row in settings]
        if len({setting_text(value) for value in own}) > 1:
            columns[name] = _column(own)
    return pd.DataFrame(columns), np.array(values), np.array(groups, dtype="int64")


def _column(values: Sequence[Any]) -> Any:
    """Numbers, NaN where the setting does not apply; texts numbered, which trees can take apart."""
    if all(is_number(value) or is_missing(value) for value in values):
        return np.array([np.nan if is_missing(value) else value for value in values], dtype="f8")
    return pd.factorize(np.array([setting_text(v) for v in values], dtype="object"), sort=True)[0]
