"""The distilled images of several configurations side by side, a class a row."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from analysis.aggregate import configuration_text, is_missing, metric_split
from analysis.figures.drawing import Drawn
from analysis.figures.learning import OF_STUDENTS
from analysis.figures.measured import measure
from analysis.figures.style import SMALL, WIDTH, wrap
from analysis.load import SearchResults
from analysis.words import percent
from harness.errors import ResultError
from harness.schema import IMAGES_FILE, TRIALS_FOLDER, UNSEEN_MEAN

IMAGE_COLUMNS = (
    "distillation", "trial_id", "replicate", "mean", "n", "path", "per_class", "classes", "place",
)  # fmt: skip
"""Columns of ``distilled_images``."""
MAX_SETS = 5
_MAX_ACROSS = 10
"""Images in a row of the figure."""
_MAX_CLASSES = 10
_FACTOR = "idc.factor"
_MAX_HEIGHT = 6.0
"""Inches, of the pictures."""


def distilled_images(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return the pictures of distilled sets, best first.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each distillation with a picture: trials that differ in their students alone show
        the same images.

        - ``distillation``: the varied settings that the set depends on, as text
        - ``trial_id``, ``replicate``: of the picture, its first finished trial
        - ``mean``: fraction, 0..1, of unseen students, of the best of its configurations over
          distilled sets; NaN without one
        - ``n``: distilled sets in the mean
        - ``path``: of ``images.png``: images one pixel apart, a row a class, in fixed class order
        - ``per_class``: images in a row: the set's ipc, of IDC those that it is decoded to
        - ``classes``: rows
        - ``place``: among the distillations in the order of their settings, 0 ...
    """
    per_class = _images_per_class(results)
    rows: dict[str, tuple[Any, ...]] = {}
    for one, _, found in measure(results, metric):
        own = {k: v for k, v in one.settings.items() if not k.startswith(OF_STUDENTS)}
        name = configuration_text(list(own), own.values())
        if name in rows and not found.mean > rows[name][3]:
            continue
        for trial in one.trials.sort_values("replicate").to_dict("records"):
            trial_id = trial["trial_id"]
            path = results.folder / TRIALS_FOLDER / trial_id / IMAGES_FILE
            classes = _classes(path, per_class.get(trial_id, 0))
            if trial["status"] == "ok" and classes:
                ends = (found.mean, found.n, str(path), per_class[trial_id], classes)
                rows[name] = (name, trial_id, trial["replicate"], *ends)
                break
    frame = pd.DataFrame(list(rows.values()), columns=list(IMAGE_COLUMNS[:-1]))
    frame["place"] = range(len(frame))
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def draw_images(sets: pd.DataFrame) -> Figure:
    """Draw sets side by side, numbered, a row a class, with a key below.

    Args:
        sets: Rows of ``distilled_images``, at least one, from left to right.

    Raises:
        ResultError: A picture cannot be read.
    """
    across = max(1, _MAX_ACROSS // len(sets))
    pictures = [_pixels(row, across) for row in sets.to_dict("records")]
    key = "\n".join(
        wrap(f"{number}: {text}; {_accuracy_text(mean)}", 74, 3)
        for number, (text, mean) in enumerate(
            zip(sets["distillation"], sets["mean"], strict=True), start=1
        )
    )
    tallest = max(len(picture) / picture.shape[1] for picture in pictures)
    height = min(WIDTH / len(sets) * tallest, _MAX_HEIGHT)
    figure = Figure(
        figsize=(WIDTH, height + 0.5 + 0.16 * (key.count("\n") + 1)), layout="constrained"
    )
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for number, (panel, picture) in enumerate(zip(panels, pictures, strict=True), start=1):
        panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none")
        panel.set_title(str(number), fontsize=9, fontweight="bold")
        panel.set_axis_off()
    figure.supxlabel(key, fontsize=SMALL, x=0.02, ha="left", ma="left")
    return figure


def image_figure(results: SearchResults, settings: Sequence[str] = ()) -> Drawn:
    """Draw the distilled images of a search.

    Args:
        results: A search, finished or not.
        settings: Empty: all distillations, or the three best and the two worst.

    Raises:
        ResultError: No finished trial has a picture, or one cannot be read.
    """
    del settings
    sets = distilled_images(results)
    if not len(sets):
        raise ResultError(
            f"{results.name}: no finished trial has {IMAGES_FILE}; wait for one, or bring the "
            f"folders {TRIALS_FOLDER}/ along"
        )
    caption = (
        "Distilled images of the first finished seed of each configuration, a row a class, in the "
        f"same order; mean accuracy of unseen students on {metric_split(results)} images below."
    )
    shown = sets.sort_values("place", kind="stable")
    if len(sets) > MAX_SETS:
        shown = pd.concat([sets.head(MAX_SETS - 2), sets.tail(2)])
        caption += f" The {MAX_SETS - 2} best and the 2 worst of {len(sets)}."
    across = max(1, _MAX_ACROSS // len(shown))
    if shown["per_class"].max() > across:
        caption += f" The first {across} images of a class."
    if shown["classes"].max() > _MAX_CLASSES:
        caption += f" The first {_MAX_CLASSES} classes."
    return Drawn("images", "Distilled images", caption, draw_images(shown), sets)


def _images_per_class(results: SearchResults) -> dict[str, int]:
    """Images in a row of the picture of each trial that has rows."""
    rows = results.rows.drop_duplicates("trial_id").set_index("trial_id")
    found = {str(name): int(ipc) for name, ipc in rows["ipc"].dropna().items()}
    if _FACTOR in results.settings.columns:
        factors = results.settings.set_index("trial_id")[_FACTOR]
        for name in rows.index[rows["method"] == "idc"]:
            if name in found and not is_missing(factors[name]):
                found[name] *= int(factors[name]) ** 2
    return found


def _classes(path: Path, per_class: int) -> int:
    """Rows of square images in a picture; 0 where there is none, or it is no such grid."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            width, height = picture.size
    except (OSError, Image.DecompressionBombError):
        return 0
    side = width // per_class if per_class and width % per_class == 0 else 0
    return height // side if side and height % side == 0 else 0


def _pixels(row: Mapping[Any, Any], across: int) -> NDArray[np.uint8]:
    """The first classes and images of a set, [H, W] or [H, W, 3]."""
    try:
        with Image.open(row["path"], formats=["PNG"]) as picture:
            pixels: NDArray[np.uint8] = np.asarray(picture)
    except OSError as error:
        raise ResultError(
            f"{row['path']}: cannot be read ({error}); restore the file from a copy"
        ) from error
    height, width = pixels.shape[:2]
    tall = height // row["classes"] * min(row["classes"], _MAX_CLASSES)
    wide = width // row["per_class"] * min(row["per_class"], across)
    return pixels[:tall, :wide]


def _accuracy_text(mean: float) -> str:
    return "no accuracy" if math.isnan(mean) else f"{percent(mean)}%"
