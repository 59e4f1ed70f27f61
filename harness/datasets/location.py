"""Where datasets are looked for, and which of them are there."""

import os
from pathlib import Path
from typing import NamedTuple

from harness.config import DATASETS, DatasetSettings
from harness.datasets import imagenet
from harness.datasets.published import PUBLISHED, fetch_command, missing_file


class DatasetStatus(NamedTuple):
    """A row of ``harness datasets``."""

    name: str
    """Name of the dataset in the settings."""
    path: str
    """Where it is looked for."""
    there: bool
    """Whether its files are there; they are not opened."""
    note: str
    """What it holds, or how to get it."""


def data_root(settings: DatasetSettings) -> Path:
    """Return the folder that datasets lie in: ``root``, else $HARNESS_DATA, else ``./data``.

    Returns:
        An absolute path, ``~`` expanded, which may not exist.
    """
    root = settings.root or os.environ.get("HARNESS_DATA") or "data"
    return Path(root).expanduser().absolute()


def dataset_status(root: str | None = None) -> list[DatasetStatus]:
    """Look for every dataset.

    Args:
        root: As ``dataset.root``; ``imagefolder`` has no other place.

    Returns:
        One row for each name in ``harness.config.DATASETS``, in that order.
    """
    return [_locate(DatasetSettings(name=name, root=root)) for name in DATASETS]


def _locate(settings: DatasetSettings) -> DatasetStatus:
    name, root = settings.name, data_root(settings)
    if name == "digits":
        return DatasetStatus(name, "scikit-learn", True, "1x28x28, 10 classes; needs no files")
    if name == "imagefolder":
        if not settings.root:
            note = "your own images in train/<class>/ and test/<class>/; set dataset.root"
            return DatasetStatus(name, "dataset.root", False, note)
        there = all((root / part).is_dir() for part in ("train", "test"))
        note = "your own images" if there else "no train/<class>/ and test/<class>/ in it"
        return DatasetStatus(name, str(root), there, note)
    if name in imagenet.NAMES:
        folder = imagenet.locate(name, root)
        there = all((folder / part).is_dir() for part in ("train", "val"))
        note = imagenet.describe(name) if there else imagenet.expected(name)
        return DatasetStatus(name, str(folder), there, note)
    known = PUBLISHED[name]
    path = str(root / known.folder)
    if lacking := missing_file(name, root):
        return DatasetStatus(
            name, path, False, f"no {lacking.name}; run {fetch_command(name, root)}"
        )
    shape = "x".join(map(str, known.shape))
    return DatasetStatus(name, path, True, f"{shape}, {known.num_classes} classes")
