"""Listing: the image files of a dataset, before any is opened, and how they become a cache file.

Shape letters: M images, C channels, H height, W width.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.datasets.cache import LAYOUT, Write, write_store
from harness.errors import DataError
from harness.numerics import available_cpus

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GRAYSCALE = ("1", "L", "LA")
_HINT = "replace or remove it, or leave such images out with dataset.skip_bad=true"
_CHUNK = 256
# More threads decode no faster, since each image takes the interpreter's lock for a while.
_MAX_THREADS = 8


@dataclass
class Listing:
    """Image files of a dataset, in the order in which they are stored."""

    name: str
    """Name of the dataset in the settings."""
    root: Path
    """Folder that the files lie below."""
    classes: tuple[str, ...] = ()
    num_train: int = 0
    """The first files are for training, the rest for testing."""
    files: list[str] = field(default_factory=list)
    """Paths below ``root``."""
    labels: list[int] = field(default_factory=list)
    stats: list[tuple[int, int]] = field(default_factory=list)
    """Size in bytes and time of change in ns of each file."""

    def add_folder(self, folder: str, label: int) -> int:
        """Add a folder's images, sorted by name; hidden and other files are passed over.

        Returns:
            How many there were.
        """
        found = []
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                name = entry.name
                if name.lower().endswith(EXTENSIONS) and name[0] != "." and entry.is_file():
                    status = entry.stat()
                    found.append((name, status.st_size, status.st_mtime_ns))
        for name, size, changed in sorted(found):
            self.add(f"{folder}/{name}", label, size, changed)
        return len(found)

    def add(self, file: str, label: int, size: int, changed: int) -> None:
        """Add one file, by its path below ``root``."""
        self.files.append(file)
        self.labels.append(label)
        self.stats.append((size, changed))

    def key(self, *more: object) -> str:
        """Hash all that the decoded images depend on, ``more`` included: 64 hex digits."""
        digest = hashlib.sha256(repr((LAYOUT, self.name, str(self.root), more)).encode())
        digest.update(repr((self.classes, self.num_train, self.labels)).encode())
        digest.update(repr((self.files, self.stats)).encode())
        return digest.hexdigest()

    def path(self, place: int) -> Path:
        """Where a file is."""
        return self.root / self.files[place]


class _NotGrayscaleError(Exception):
    """An image has colours where only grayscale ones were expected."""


def decode(listing: Listing, to: Path, *, resize: int | None, skip_bad: bool) -> None:
    """Decode every image of a listing into a cache file, on the cores of the process.

    Args:
        listing: At least one file.
        to: The file.
        resize: Side in pixels: the shorter side is brought to it (bilinear), the middle is cut
            out. None: images are taken as stored, and all must have one size.
        skip_bad: Leave out images that cannot be read; the default is an error.

    Raises:
        DataError: Of the first file, in order, that does not fit.
    """
    from PIL import Image

    # Pillow loads rarer decoders on first use, which is not safe to race for.
    Image.init()
    pixels, gray = _first(listing, resize, skip_bad)
    for channels in (1, 3) if gray else (3,):
        shape = (len(listing.files), channels, pixels.shape[0], pixels.shape[1])
        try:
            write_store(
                to,
                shape,
                listing.labels,
                num_train=listing.num_train,
                classes=listing.classes,
                fill=_Filler(listing, shape, resize, skip_bad),
            )
        except _NotGrayscaleError:
            continue
        return


def _first(listing: Listing, resize: int | None, skip_bad: bool) -> tuple[NDArray[np.uint8], bool]:
    """The first image that can be read, which gives the size that the others must have."""
    for place in range(len(listing.files)):
        try:
            return read_pixels(listing.path(place), listing.name, resize)
        except DataError:
            if not skip_bad:
                raise
    raise DataError(
        f"{listing.name}: none of the {len(listing.files)} images below {listing.root} can be read;"
        " check dataset.root"
    )


class _Filler:
    """Decodes a listing's images to their places."""

    def __init__(
        self, listing: Listing, shape: tuple[int, ...], resize: int | None, skip_bad: bool
    ) -> None:
        self._listing = listing
        self._shape = shape
        self._resize = resize
        self._skip_bad = skip_bad

    def __call__(self, write: Write) -> Sequence[int]:
        """Decode all; return the places of those that were skipped."""

        def work(start: int) -> list[int]:
            return list(self._fill(start, write))

        starts = range(0, self._shape[0], _CHUNK)
        with ThreadPoolExecutor(min(available_cpus(), _MAX_THREADS)) as pool:
            try:
                # map yields in order, so it is the first file's error that is raised.
                return [place for skipped in pool.map(work, starts) for place in skipped]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _fill(self, start: int, write: Write) -> Iterator[int]:
        _, channels, height, width = self._shape
        for place in range(start, min(start + _CHUNK, self._shape[0])):
            path = self._listing.path(place)
            try:
                pixels, gray = read_pixels(path, self._listing.name, self._resize)
            except DataError:
                if not self._skip_bad:
                    raise
                yield place
                continue
            if channels == 1 and not gray:
                raise _NotGrayscaleError
            if pixels.shape[:2] != (height, width):
                raise DataError(
                    f"{self._listing.name}: {path} is {pixels.shape[1]}x{pixels.shape[0]} (width x "
                    f"height), expected {width}x{height} as {self._listing.path(0)}; set "
                    "dataset.resize, or resize the images to one size"
                )
            write(place, pixels[:, :, :channels].transpose(2, 0, 1))


def read_pixels(
    path: Path, name: str, resize: int | None = None, *, hint: str = _HINT
) -> tuple[NDArray[np.uint8], bool]:
    """Read one image.

    Args:
        path: PNG, JPEG, BMP or WebP of 8 bits a channel; transparency is dropped.
        name: Of the dataset, for messages.
        resize: As for ``decode``.
        hint: What to do about an image that cannot be read, for messages.

    Returns:
        uint8 [H, W, 3], and whether it is grayscale.

    Raises:
        DataError: It cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check_depth(image, path, name)
            gray = image.mode in _GRAYSCALE
            plain = image if image.mode == "RGB" else image.convert("RGB")
            return np.asarray(_fit(plain, resize)), gray
    except (
        EOFError,
        LookupError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(
            f"{name}: {path} cannot be read as an image ({' '.join(str(error).split())}); {hint}"
        ) from error


def _fit(image: "Image", side: int | None) -> "Image":
    """Bring the shorter side to ``side`` and cut the middle out, as torchvision's transforms do."""
    from PIL import Image

    if side is None:
        return image
    width, height = image.size
    if width <= height:
        size = (side, int(side * height / width))
    else:
        size = (int(side * width / height), side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _check_depth(image: "Image", path: Path, name: str) -> None:
    # Pillow would clip such values to 255, not scale them.
    if image.mode.startswith(("I", "F")):
        raise DataError(
            f"{name}: {path} has more than 8 bits a channel (mode {image.mode}), expected 8; "
            "convert it"
        )
