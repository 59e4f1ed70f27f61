"""Verifying: whether every file of a dataset is there and holds what it should."""

import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.config import DatasetSettings
from harness.datasets.fetch import md5_of, resources
from harness.datasets.listing import Listing, read_pixels
from harness.datasets.location import data_root
from harness.datasets.published import PUBLISHED, fetch_command, missing_file, read_published
from harness.datasets.reading import list_files, resize_of
from harness.errors import DataError
from harness.numerics import available_cpus

_MAX_THREADS = 8


def verify(settings: DatasetSettings) -> str:
    """Check a dataset's files.

    Published files are compared with their published checksums; image files are each decoded.

    Args:
        settings: Which dataset, and where; ``skip_bad`` counts unreadable images where there would
            be an error for the first.

    Returns:
        What was checked, in one sentence.

    Raises:
        DataError: A file is missing or does not hold what it should.
    """
    if settings.name == "digits":
        return "digits: needs no files"
    if settings.name in PUBLISHED:
        return _verify_published(settings.name, data_root(settings))
    listing, _ = list_files(settings)
    return _verify_images(listing, resize_of(settings), settings.skip_bad)


def _verify_published(name: str, root: Path) -> str:
    again = f"run {fetch_command(name, root)}"
    if lacking := missing_file(name, root):
        raise DataError(f"{name}: no file {lacking}; {again}")
    checked = 0
    for path, md5 in _checksums(name, root):
        if not path.exists():  # an archive that its owner removed
            continue
        if (found := md5_of(path)) != md5:
            raise DataError(
                f"{name}: {path} has MD5 {found}, expected {md5}; remove it, then {again}"
            )
        _compare_unpacked(name, path, again)
        checked += 1
    read = read_published(name, root)
    return (
        f"{name}: {len(read.train.labels)} training and {len(read.test.labels)} test images in "
        f"{root / PUBLISHED[name].folder}, {checked} files with the published checksum"
    )


def _checksums(name: str, root: Path) -> list[tuple[Path, str]]:
    """Files with a published checksum."""
    if name.startswith("cifar"):
        from torchvision import datasets

        known: Any = getattr(datasets, PUBLISHED[name].factory)
        folder = root / known.base_folder
        files = [*known.train_list, *known.test_list, (known.meta["filename"], known.meta["md5"])]
        return [(folder / file, md5) for file, md5 in files]
    return [
        (root / resource.folder / resource.file, resource.md5)
        for resource in resources(name)
        if resource.md5 is not None
    ]


def _compare_unpacked(name: str, path: Path, again: str) -> None:
    """Compare a .gz file with what was unpacked from it."""
    if path.suffix != ".gz":
        return
    unpacked = path.with_suffix("")
    try:
        with gzip.open(path) as content:
            same = content.read() == unpacked.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{name}: {path} cannot be unpacked ({error}); {again}") from error
    if not same:
        raise DataError(f"{name}: {unpacked} differs from {path.name}; remove it, then {again}")


def _verify_images(listing: Listing, resize: int | None, skip_bad: bool) -> str:
    from PIL import Image

    Image.init()

    def look(place: int) -> tuple[tuple[int, ...], str | None]:
        try:
            pixels, _ = read_pixels(listing.path(place), listing.name, resize)
        except DataError as error:
            return (), str(error)
        return pixels.shape[:2], None

    total = len(listing.files)
    with ThreadPoolExecutor(min(available_cpus(), _MAX_THREADS)) as pool:
        found = list(pool.map(look, range(total), chunksize=256))
    bad = [error for _, error in found if error is not None]
    if bad and not skip_bad:
        raise DataError(bad[0])
    sizes = {shape for shape, error in found if error is None}
    if len(sizes) > 1:
        raise DataError(
            f"{listing.name}: images have {len(sizes)} sizes; set dataset.resize to use them"
        )
    skipped = f", {len(bad)} of them unreadable (the first: {bad[0]})" if bad else ""
    return (
        f"{listing.name}: {listing.num_train} training and {total - listing.num_train} test images "
        f"of {len(listing.classes)} classes below {listing.root}{skipped}"
    )
