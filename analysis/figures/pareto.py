"""Pareto fronts: accuracy against what a set costs to make, and against its size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.aggregate import metric_split
from analysis.figures.drawing import Drawn
from analysis.figures.measured import measure
from analysis.figures.style import (
    BLACK,
    GREY,
    SMALL,
    WIDTH,
    finish,
    is_logarithmic,
    limit,
    reach,
    sets_words,
    wrap,
)
from analysis.load import SearchResults
from harness.errors import ResultError
from harness.schema import UNSEEN_MEAN, VALIDATION

COST, IPC = "distill_cost_s", "ipc"
"""What accuracy is paid with."""
TITLES = {COST: "cost of the distilled set, s", IPC: "images per class"}
FRONT_COLUMNS = ("against", "configuration", "price", "mean", "low", "high", "n", "dominated")
"""Columns of ``pareto_points``."""
_MAX_NAMED = 8
_MAX_TICKS = 6
_ENDS = ("low", "high")


def pareto_points(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return which configurations no other beats in accuracy at the same price or less.

    Accuracies are means: that one is on the front says nothing of how sure its place is.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each price and configuration with an accuracy, the cheapest first; without those
        of which the price is not known.

        - ``against``: ``distill_cost_s``, what the set costs to make, also where it came from a
          store; or ``ipc``, where that differs between configurations
        - ``configuration``: the varied settings as text
        - ``price``: seconds (mean over trials), or images per class
        - ``mean``: fraction, 0..1, of unseen students over distilled sets
        - ``low``, ``high``: ends of the 95% interval; NaN where n < 2
        - ``n``: distilled sets in the mean
        - ``dominated``: whether another costs no more and is no worse, and is better in one
    """
    records: list[dict[str, Any]] = []
    ipc = results.rows.drop_duplicates("trial_id").set_index("trial_id")[IPC]
    for one, _, found in measure(results, metric):
        if not found.n:
            continue
        head = {"configuration": one.text, **found._asdict()}
        done = one.trials[one.trials["status"] == "ok"]
        sizes = ipc.reindex(done["trial_id"]).dropna()
        prices = {COST: done[COST].mean(), IPC: sizes.mean() if len(sizes) else np.nan}
        records += [{"against": name, "price": float(p), **head} for name, p in prices.items()]
    frame = pd.DataFrame(records, columns=list(FRONT_COLUMNS[:-1]))
    frame = frame[frame["price"].notna()]
    parts = [part for name in (COST, IPC) if len(part := frame[frame["against"] == name])]
    parts = [
        part for part in parts if part["against"].iloc[0] == COST or part["price"].nunique() > 1
    ]
    found_parts = [
        part.assign(dominated=_dominated(part)).sort_values(["price", "mean"], kind="stable")
        for part in parts
    ]
    empty = pd.DataFrame(columns=list(FRONT_COLUMNS))
    return pd.concat(found_parts, ignore_index=True) if found_parts else empty


def draw_pareto(points: pd.DataFrame, split: str = VALIDATION) -> Figure:
    """Draw a panel for each price: the front joined in steps and named, the others faint.

    Args:
        points: As ``pareto_points`` returns them, at least one.
        split: Images that the accuracies are on.
    """
    prices = list(dict.fromkeys(points["against"]))
    keys = {price: _front(points[points["against"] == price]) for price in prices}
    texts = {price: _names(front) for price, front in keys.items()}
    num_lines = sum(text.count("\n") + 1 for text in texts.values())
    figure = Figure(figsize=(WIDTH, 2.7 * len(prices) + 0.16 * num_lines), layout="constrained")
    panels = figure.subplots(len(prices), 1, sharey=True, squeeze=False)[:, 0]
    for panel, price in zip(panels, prices, strict=True):
        part = points[points["against"] == price]
        front, others = keys[price], part[part["dominated"]]
        panel.plot(
            others["price"], 100 * others["mean"], color=GREY, marker="o", linestyle="none",
            markersize=4, markerfacecolor="white",
        )  # fmt: skip
        panel.step(front["price"], 100 * front["mean"], where="post", color=BLACK, linewidth=1.0)
        panel.errorbar(
            front["price"], 100 * front["mean"], yerr=reach(front), color=BLACK, marker="o",
            linestyle="none", markersize=6, elinewidth=1.3, capsize=3,
        )  # fmt: skip
        named = front.tail(_MAX_NAMED)
        places = zip(named["price"], 100 * named["mean"], strict=True)
        for number, place in enumerate(places, start=1):
            panel.annotate(
                str(number), place, xytext=(5, -10),
                textcoords="offset points", fontsize=SMALL, fontweight="bold",
            )  # fmt: skip
        _scale(panel, part["price"])
        panel.set_xlabel(f"{TITLES[price]}\n{texts[price]}", fontsize=SMALL, loc="left", ma="left")
        panel.set_ylabel(f"{split} accuracy, %")
        finish(panel)
    # Intervals are drawn of the front alone.
    shown = {name: points[name].where(~points["dominated"], points["mean"]) for name in _ENDS}
    limit(panels[0].set_ylim, points.assign(**shown))
    return figure


def pareto_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the Pareto fronts of a search.

    Args:
        results: A search, finished or not.
        settings: Empty: all configurations.

    Raises:
        ResultError: Fewer than two configurations have an accuracy and a price.
    """
    del settings
    points = pareto_points(results)
    if len(points) < 2:
        raise ResultError(
            f"{results.name}: fewer than two configurations have an accuracy and a cost; wait for "
            "trials"
        )
    split = metric_split(results)
    caption = (
        f"Accuracy of unseen students on {split} images against what the set costs: "
        f"{sets_words(points)}. Black, numbered: no other is as good for as little; faint, without "
        "intervals: dominated. Places on the front are by means and may be chance."
    )
    fronts = points[~points["dominated"]]["against"].value_counts()
    if fronts.max() > _MAX_NAMED:
        caption += f" The {_MAX_NAMED} best of a front are named."
    return Drawn("pareto", "Accuracy against cost", caption, draw_pareto(points, split), points)


def _dominated(part: pd.DataFrame) -> pd.Series:
    """Whether another row costs no more and is no worse, and is better in one of both."""
    best = part.groupby("price")["mean"].max()
    cheaper = best.cummax().shift(1, fill_value=float("-inf"))
    mean, price = part["mean"], part["price"]
    return (mean < price.map(best)) | (mean <= price.map(cheaper))


def _names(front: pd.DataFrame) -> str:
    """The numbered configurations of a front, as lines."""
    texts = front["configuration"].tail(_MAX_NAMED)
    return "\n".join(wrap(f"{number}: {text}", 74, 3) for number, text in enumerate(texts, start=1))


def _scale(panel: Axes, prices: pd.Series) -> None:
    if is_logarithmic(prices.tolist()):
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    values = sorted(prices.unique())
    if len(values) <= _MAX_TICKS and all(value == int(value) for value in values):
        panel.set_xticks(values, [f"{value:g}" for value in values])
        panel.minorticks_off()


def _front(part: pd.DataFrame) -> pd.DataFrame:
    return part[~part["dominated"]].sort_values("price", kind="stable")
