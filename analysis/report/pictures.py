"""Pictures of distilled sets, small enough to stand inside a page."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from analysis.aggregate import by_setting, configuration_text, is_missing, list_configurations
from analysis.load import SearchResults
from analysis.stopped import without_stopped
from analysis.words import percent
from harness.schema import IMAGES_FILE, TRIALS_FOLDER

MOST_SETS = 6
ROOM = 1_500_000
"""Characters that all pictures of a page may take."""
_PIXELS = 2**16
"""Of a picture; noise takes up to three bytes each."""
_CELL = 66
"""Pixels of an image's side with its border; larger ones are shrunk."""
_LEAST_SHOWN = 24
"""Pixels of an image's side on the page: more classes scroll."""
_TOO_LARGE = 2**27
_PREFIX = "data:image/png;base64,"


class Picture(NamedTuple):
    """A distilled set: a column a class, its images below each other."""

    address: str
    """A ``data:`` address, of PNG."""
    text: str
    """Which set it is."""
    width: int
    height: int
    """Pixels."""
    least_width: int
    """Pixels on the page."""


class Gallery(NamedTuple):
    """Some distilled sets of a search."""

    pictures: list[Picture]
    caption: str


def make_gallery(results: SearchResults, share: float = 1.0) -> Gallery:
    """Return pictures of the best configurations' first sets; one that cannot be read is left out.

    Args:
        results: A search, finished or not.
        share: Part of ``ROOM`` that they may take, 0..1.
    """
    room = share * ROOM
    pictures: list[Picture] = []
    for path, text, columns in _sets(results):
        picture = _read(path, text, columns)
        if picture is None:
            continue
        room -= len(picture.address)
        if room < 0:
            break
        pictures.append(picture)
        if len(pictures) == MOST_SETS:
            break
    caption = (
        "The first distilled set of each of the best configurations, best first: a column a class, "
        "some of its images below each other. All of them are in "
        f"{results.name}/{TRIALS_FOLDER}/<trial>/{IMAGES_FILE}."
    )
    return Gallery(pictures, caption)


def _sets(results: SearchResults) -> Iterator[tuple[Path, str, int]]:
    """Picture, description and images a class of a set of each configuration, best first."""
    compared = without_stopped(results)
    found = list_configurations(compared)
    means = by_setting(compared)["mean"]
    settings = results.settings.set_index("trial_id") if len(results.settings) else None
    rows = compared.rows.drop_duplicates("trial_id").set_index("trial_id")
    for place in means.dropna().sort_values(ascending=False, kind="stable").index:
        trials = found[place].trials
        done = trials[trials["trial_id"].isin(rows.index) & (trials["status"] == "ok")]
        for trial_id, replicate in zip(done["trial_id"], done["replicate"], strict=True):
            path = results.folder / TRIALS_FOLDER / trial_id / IMAGES_FILE
            if not path.is_file():
                continue
            row = rows.loc[trial_id]
            columns = int(row["ipc"])
            if row["method"] == "idc" and settings is not None and "idc.factor" in settings:
                factor = settings.loc[trial_id, "idc.factor"]
                columns *= 1 if is_missing(factor) else int(factor) ** 2
            text = configuration_text(list(results.varied), found[place].settings.values())
            yield path, f"{text}, replicate {replicate}: mean {percent(means[place])}%", columns
            break


def _read(path: Path, text: str, columns: int) -> Picture | None:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > _TOO_LARGE or image.mode not in ("L", "RGB"):
                return None
            shown, classes = _turn(image, columns)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    encoded = io.BytesIO()
    shown.save(encoded, format="png", optimize=True)
    address = _PREFIX + base64.b64encode(encoded.getvalue()).decode()
    return Picture(address, text, shown.width, shown.height, _LEAST_SHOWN * classes)


def _turn(image: Image.Image, columns: int) -> tuple[Image.Image, int]:
    """Turn a row a class, as trials draw it, into a column a class; as many as there is room for.

    Returns:
        The picture, and how many classes it shows. An image that is no such grid stays as it is,
        cut to the room.
    """
    side = image.width // columns
    if side == 0 or image.width % columns or image.height % side:
        side = max(1, min(image.width, image.height))
    classes, each = image.height // side, image.width // side
    own = min(side, _CELL)
    classes = max(1, min(classes, _PIXELS // own**2))
    each = max(1, min(each, _PIXELS // (classes * own**2)))
    turned = Image.new(image.mode, (classes * own, each * own))
    for label in range(classes):
        for number in range(each):
            box = (number * side, label * side, (number + 1) * side, (label + 1) * side)
            cell = image.crop(box)
            if own < side:
                cell = cell.resize((own, own), Image.Resampling.BOX)
            turned.paste(cell, (label * own, number * own))
    return turned, classes
