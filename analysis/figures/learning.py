"""Learning curves: the quick validation score and the matching loss against the iteration.

From ``trial.json``, which holds both for a trial that finished or was stopped. The scores in
``decisions.jsonl`` are some of the same, and events are a view that analysis does not read; so a
trial shows its curves when it has ended.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.aggregate import configuration_text
from analysis.bootstrap import bootstrap_interval
from analysis.figures.drawing import Drawn
from analysis.figures.measured import configurations_of
from analysis.figures.style import (
    GREY,
    SMALL,
    WIDTH,
    finish,
    reach,
    series_style,
    spread_words,
    wrap,
)
from analysis.load import SearchResults, read_record
from harness.errors import ResultError
from harness.schema import FINISHED, QUICK, UNSEEN_MEAN

LOSS = "matching_loss"
CURVE_COLUMNS = ("curve", "distillation", "iteration", "mean", "low", "high", "n", "stopped")
"""Columns of ``learning_curves``."""
MAX_CURVES = 6
MAX_FAINT = 60
OF_STUDENTS = ("kd.", "evaluation.", "elf.", "run.")
"""Starts of the names of settings that a distilled set does not depend on."""
_BINS = 20
_TITLES = {QUICK: "quick validation accuracy, %", LOSS: "matching loss, main model"}


def learning_curves(results: SearchResults) -> pd.DataFrame:
    """Return the curves of each distillation against the iteration.

    Trials that differ in their students alone share a distillation, and count once.

    Args:
        results: A search, finished or not; stopped trials included.

    Returns:
        A row for each curve, distillation and iteration; within a curve the distillation whose
        unseen students are best first, those that were stopped last.

        - ``curve``: ``validation/quick``, the mean validation accuracy of one MLP and one LeNet
          trained on the set as it stood, or ``matching_loss``, of the iterations that drew the
          main model, as losses of different networks cannot be compared
        - ``distillation``: the varied settings that the set depends on, as text
        - ``iteration``: iterations that were done; of the loss the last of a twentieth of them
        - ``mean``: over distillation seeds: a fraction, 0..1, or the mean loss of the twentieth
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distillation seeds that have a value there
        - ``stopped``: bool, whether one of them was stopped early

    Raises:
        ResultError: A record cannot be read.
    """
    curves: dict[tuple[str, str], list[pd.Series]] = {}
    best: dict[str, float] = {}
    ended: set[str] = set()
    for name, trials in _distillations(results).items():
        best[name] = float(trials[UNSEEN_MEAN].fillna(-1.0).mean())
        if (trials["status"] == "stopped_early").any():
            ended.add(name)
        for trial_id in trials.drop_duplicates("replicate")["trial_id"]:
            record = read_record(results, trial_id)
            for curve, values in ((QUICK, _scores(record)), (LOSS, _losses(record, results))):
                if len(values):
                    curves.setdefault((curve, name), []).append(values)
    rows = []
    for curve, name in sorted(curves, key=lambda key: (key[0] == LOSS, -best[key[1]])):
        table = pd.concat(curves[curve, name], axis=1).sort_index()
        for iteration, row in zip(table.index, table.to_numpy(), strict=True):
            found = bootstrap_interval(row[~np.isnan(row)])
            rows.append((curve, name, int(iteration), *found, name in ended))
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def draw_learning(curves: pd.DataFrame, num_named: int = MAX_CURVES) -> Figure:
    """Draw a panel for each curve, the first distillations with intervals, the others faint.

    Args:
        curves: As ``learning_curves`` returns them, at least one.
        num_named: How many distillations have a colour and a name.
    """
    kinds = list(dict.fromkeys(curves["curve"]))
    names = list(dict.fromkeys(curves["distillation"]))[: num_named + MAX_FAINT]
    labels = [wrap(name, 68, 3) for name in names[:num_named]]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(WIDTH, 0.3 + 2.7 * len(kinds) + 0.19 * lines), layout="constrained")
    panels = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    handles: dict[str, Any] = {}
    for panel, kind in zip(panels, kinds, strict=True):
        scale = 100.0 if kind == QUICK else 1.0
        for place, name in enumerate(names):
            part = curves[(curves["curve"] == kind) & (curves["distillation"] == name)]
            if not len(part):
                continue
            if place >= num_named:
                panel.plot(part["iteration"], scale * part["mean"], color=GREY, lw=0.7, zorder=1)
                continue
            style = series_style(place)
            handles[name] = panel.errorbar(
                part["iteration"],
                scale * part["mean"],
                yerr=scale * reach(part) / 100,
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                markersize=4.5,
                linewidth=1.4,
                elinewidth=0.6,
                capsize=0,
            )
            if part["stopped"].any():
                end = part.iloc[-1]
                panel.plot(end["iteration"], scale * end["mean"], "kx", markersize=10, zorder=4)
        panel.set_ylabel(_TITLES[kind])
        _limit(panel, curves[curves["curve"] == kind], scale)
        finish(panel)
    panels[-1].set_xlabel("iteration")
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    chosen = [(handles[name], label) for name, label in zip(names, labels, strict=False)]
    figure.legend(
        [handle for handle, _ in chosen],
        [label for _, label in chosen],
        loc="outside lower left",
        fontsize=SMALL,
        frameon=False,
    )
    return figure


def learning_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the learning curves of a search.

    Args:
        results: A search, finished or not; stopped trials included.
        settings: Empty: the best distillations in colour.

    Raises:
        ResultError: No trial recorded a curve.
    """
    del settings
    curves = learning_curves(results)
    if not len(curves):
        raise ResultError(
            f"{results.name}: no trial that has ended recorded a quick score or a matching loss; "
            "wait for one, or set run.report_every below iterations"
        )
    kinds = set(curves["curve"])
    caption = ""
    if QUICK in kinds:
        caption += (
            "Quick validation score against the iteration: mean accuracy of one MLP and one LeNet "
            "trained on the set as it stood. "
        )
    if LOSS in kinds:
        caption += "Matching loss of the main model, mean of each twentieth of the iterations. "
    caption += (
        f"Means over distillation seeds {spread_words(curves, 'distillation seed')}. Trials that "
        "differ in their students alone are one curve."
    )
    count = curves["distillation"].nunique()
    if count > MAX_CURVES:
        caption += f" In colour the {MAX_CURVES} of {count} whose unseen students are best"
        more = count - MAX_CURVES - MAX_FAINT
        caption += f"; without the {more} last." if more > 0 else "."
    if (curves["high"] - curves["low"]).max() > 0:
        caption += " Long intervals are cut off."
    if curves["stopped"].any():
        caption += " x: stopped early."
    return Drawn("learning", "Learning curves", caption, draw_learning(curves), curves)


def _limit(panel: Axes, part: pd.DataFrame, scale: float) -> None:
    """Show the means with room around them; an interval of few seeds may be far longer."""
    means = scale * part["mean"]
    room = max(float(means.max() - means.min()), 0.1 * float(means.max()))
    low = np.nanmin([scale * part["low"].min(), means.min() - 0.05 * room])
    high = np.nanmax([scale * part["high"].max(), means.max() + 0.05 * room])
    most = 100.0 if scale == 100.0 else np.inf
    panel.set_ylim(
        max(low, float(means.min()) - room, 0.0), min(high, float(means.max()) + room, most)
    )


def _distillations(results: SearchResults) -> dict[str, pd.DataFrame]:
    """The trials of each distillation that have ended, those that came to their end first."""
    found: dict[str, list[pd.DataFrame]] = {}
    for one in configurations_of(results):
        own = {k: v for k, v in one.settings.items() if not k.startswith(OF_STUDENTS)}
        done = one.trials[one.trials["status"].isin(FINISHED)]
        if len(done):
            found.setdefault(configuration_text(list(own), own.values()), []).append(done)
    return {
        name: pd.concat(parts).sort_values("status", key=lambda s: s != "ok", kind="stable")
        for name, parts in found.items()
    }


def _scores(record: Mapping[str, Any]) -> "pd.Series[float]":
    """Quick scores by iteration."""
    try:
        scores = {int(iteration): float(score) for iteration, score in record.get(QUICK) or ()}
    except (TypeError, ValueError):
        scores = {}
    return pd.Series(scores, dtype="float64")


def _losses(record: Mapping[str, Any], results: SearchResults) -> "pd.Series[float]":
    """Mean matching loss of the main model in each twentieth, by its last iteration."""
    try:
        draws = record["pool_draws"]
        losses = np.array(record.get(LOSS) or (), dtype="float64")
        main = draws["architectures"].index(_main_model(record, results))
        drawn = np.array(draws["draws"], dtype="int64") == main
        losses = np.where(drawn[: len(losses)], losses, np.nan)
    except (TypeError, KeyError, ValueError):
        return pd.Series(dtype="float64")
    ends = np.unique(np.linspace(0, len(losses), _BINS + 1).round().astype("int64")[1:])
    means = {
        int(end): float(np.nanmean(part))
        for end, part in zip(ends, np.split(losses, ends[:-1]), strict=True)
        if np.isfinite(part).any()
    }
    return pd.Series(means, dtype="float64")


def _main_model(record: Mapping[str, Any], results: SearchResults) -> str:
    """Label of a trial's main model: of a stopped one, which has no rows, that of all others."""
    rows = results.rows
    own = rows.loc[rows["trial_id"] == record.get("trial_id"), "main_model"].unique()
    (label,) = own if len(own) else rows["main_model"].unique()
    return str(label)
