"""Pictures of distilled sets, small enough to stand inside a page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from analysis.figures.images import distilled_images
from analysis.load import SearchResults
from analysis.stopped import without_stopped
from analysis.words import percent
from harness.schema import IMAGES_FILE, TRIALS_FOLDER

BEST, WORST = 4, 2
"""How many sets are shown where there are more."""
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
    """Return pictures of distilled sets, best first; one that cannot be read is left out.

    Args:
        results: A search, finished or not.
        share: Part of ``ROOM`` that they may take, 0..1.
    """
    compared = without_stopped(results)
    sets = distilled_images(compared)
    caption = (
        "The first distilled set of each configuration, best first: a column a class, its images "
        "below each other. All images are in "
        f"{results.name}/{TRIALS_FOLDER}/<trial>/{IMAGES_FILE}."
    )
    if len(sets) > BEST + WORST:
        caption = f"The {BEST} best and the {WORST} worst of {len(sets)}. {caption}"
        sets = pd.concat([sets.head(BEST), sets.tail(WORST)])
    room = share * ROOM
    pictures = []
    for row in sets.to_dict("records"):
        text = f"{row['distillation']}, replicate {row['replicate']}"
        if row["n"]:
            text += f": {percent(row['mean'])}%, n = {row['n']}"
        picture = _read(Path(row["path"]), text, row["per_class"])
        if picture is not None and len(picture.address) <= room:
            room -= len(picture.address)
            pictures.append(picture)
    return Gallery(pictures, caption)


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
