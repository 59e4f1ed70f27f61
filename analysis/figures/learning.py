"""Learning curves: the quick validation score against the iteration.

From ``trial.json``, which holds all scores of a trial that finished, failed or was stopped. Those
in ``decisions.jsonl`` are some of the same, and events are a view that analysis does not read; so
a trial shows its curve when it has ended.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.aggregate import configuration_text, list_configurations
from analysis.bootstrap import bootstrap_interval
from analysis.figures.drawing import Drawn
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
from harness.schema import QUICK

CURVE_COLUMNS = ("distillation", "iteration", "mean", "low", "high", "n", "stopped")
"""Columns of ``learning_curves``."""
MAX_CURVES = 6
OF_STUDENTS = ("kd.", "evaluation.", "elf.", "run.")
"""Starts of the names of settings that a distilled set does not depend on."""


def learning_curves(results: SearchResults) -> pd.DataFrame:
    """Return the quick validation score of each distillation against the iteration.

    Trials that differ in their students alone share a distillation, and count once.

    Args:
        results: A search, finished or not; stopped trials included.

    Returns:
        A row for each distillation and iteration with a score; the best at its end first, and of
        equally many iterations.

        - ``distillation``: the varied settings that the set depends on, as text
        - ``iteration``: iterations that were done
        - ``mean``: fraction, 0..1: mean validation accuracy of one MLP and one LeNet trained on the
          set as it stood, over distillation seeds
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distillation seeds that have a score there
        - ``stopped``: bool, whether one of them was stopped early

    Raises:
        ResultError: A record cannot be read.
    """
    scores: dict[str, dict[int, dict[int, float]]] = {}
    stopped = set(results.stopped["trial_id"])
    ended: set[str] = set()
    for one in list_configurations(results):
        own = {k: v for k, v in one.settings.items() if not k.startswith(OF_STUDENTS)}
        name = configuration_text(list(own), own.values())
        known = one.trials[one.trials[QUICK].notna()]
        for trial_id, replicate in zip(known["trial_id"], known["replicate"], strict=True):
            if trial_id in stopped:
                ended.add(name)
            curve = scores.setdefault(name, {}).setdefault(int(replicate), {})
            curve.update(_scores(results, trial_id))
    frames = []
    for name, curves in scores.items():
        table = pd.DataFrame({replicate: pd.Series(curve) for replicate, curve in curves.items()})
        rows = [
            (name, iteration, *bootstrap_interval(table.loc[iteration].dropna()), name in ended)
            for iteration in sorted(table.index)
        ]
        frames.append(pd.DataFrame(rows, columns=list(CURVE_COLUMNS)))
    frames.sort(key=lambda frame: (-frame["iteration"].iloc[-1], -frame["mean"].iloc[-1]))
    return pd.concat(frames or [pd.DataFrame(columns=list(CURVE_COLUMNS))], ignore_index=True)


def draw_learning(curves: pd.DataFrame, num_named: int = MAX_CURVES) -> Figure:
    """Draw the first curves with intervals, and the others faint.

    Args:
        curves: As ``learning_curves`` returns them, at least one.
        num_named: How many have a colour and a name.
    """
    names = list(dict.fromkeys(curves["distillation"]))
    labels = [wrap(name, 68, 3) for name in names[:num_named]]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(WIDTH, 3.1 + 0.19 * lines), layout="constrained")
    panel = figure.subplots()
    handles: list[Any] = []
    for place, name in enumerate(names):
        part = curves[curves["distillation"] == name]
        if place >= num_named:
            panel.plot(part["iteration"], 100 * part["mean"], color=GREY, linewidth=0.7, zorder=1)
            continue
        style = series_style(place)
        handles.append(
            panel.errorbar(
                part["iteration"],
                100 * part["mean"],
                yerr=reach(part),
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                markersize=4.5,
                linewidth=1.4,
                elinewidth=0.8,
                capsize=2,
            )
        )
        if part["stopped"].any():
            end = part.iloc[-1]
            panel.plot(end["iteration"], 100 * end["mean"], "kx", markersize=10, zorder=4)
    panel.set_xlabel("iteration")
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    panel.set_ylabel("quick validation accuracy, %")
    bottom, top = panel.get_ylim()
    panel.set_ylim(max(bottom, 0.0), min(top, 100.0))
    finish(panel)
    figure.legend(handles, labels, loc="outside lower left", ncols=1, fontsize=SMALL, frameon=False)
    return figure


def learning_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the learning curves of a search.

    Args:
        results: A search, finished or not; stopped trials included.
        settings: Empty: the best distillations in colour.

    Raises:
        ResultError: No trial recorded a quick score.
    """
    del settings
    curves = learning_curves(results)
    if not len(curves):
        raise ResultError(
            f"{results.name}: no trial has a quick score; run it with run.report_every below "
            "iterations"
        )
    caption = (
        "Quick validation score against the iteration: mean accuracy of one MLP and one LeNet "
        f"trained on the set as it stood, means {spread_words(curves, 'distillation seed')}. Of "
        "trials that have ended; those that differ in their students alone are one curve."
    )
    count = curves["distillation"].nunique()
    if count > MAX_CURVES:
        caption += (
            f" In colour the {MAX_CURVES} best of the {count} that went furthest, others grey."
        )
    if curves["stopped"].any():
        caption += " x: stopped early."
    return Drawn("learning", "Learning curves", caption, draw_learning(curves), curves)


def _scores(results: SearchResults, trial_id: str) -> dict[int, float]:
    """Quick scores by iteration."""
    found = read_record(results, trial_id).get(QUICK)
    try:
        return {int(iteration): float(score) for iteration, score in found or ()}
    except (TypeError, ValueError):
        return {}
