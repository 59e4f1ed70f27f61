"""From dataset settings to stored bytes and back to splits: every dataset but the digits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from harness.config import DatasetSettings
from harness.datasets import imagenet
from harness.datasets.cache import (
    ABSENT,
    LAYOUT,
    Stored,
    Write,
    get_or_build,
    remember,
    write_store,
)
from harness.datasets.folder import list_image_folder
from harness.datasets.image_data import RawData, RawSplit
from harness.datasets.listing import Listing, decode
from harness.datasets.location import data_root
from harness.datasets.pixels import CHUNK, Constants
from harness.datasets.published import PUBLISHED, published_key, read_published
from harness.datasets.splits import SPLIT_SEED
from harness.datasets.whitening import EPSILON, Whitening, load_or_fit
from harness.errors import ConfigError, DataError


def read_stored(settings: DatasetSettings) -> RawData:
    """Read a dataset through the cache.

    Args:
        settings: Any dataset but ``digits``.

    Returns:
        Training and test images as parts of one mapped file, and the dataset's own constants
        where it has some.

    Raises:
        ConfigError: ``imagefolder`` has no root.
        DataError: Files are missing, corrupt, or do not fit together.
    """
    if settings.name in PUBLISHED:
        return _read_published(settings.name, data_root(settings))
    listing, constants = list_files(settings)
    side = resize_of(settings)
    stored = get_or_build(
        settings.name,
        listing.key(side, settings.skip_bad),
        lambda to: decode(listing, to, resize=side, skip_bad=settings.skip_bad),
    )
    return _split(stored, settings, constants, listing)


def list_files(settings: DatasetSettings) -> tuple[Listing, Constants | None]:
    """List the image files of ``imagefolder`` or of ImageNet, and give its constants, if any."""
    if settings.name in imagenet.NAMES:
        return imagenet.list_imagenet(settings.name, data_root(settings)), imagenet.CONSTANTS
    if not settings.root:
        raise ConfigError(
            "dataset.root: not set, but 'imagefolder' needs it; set dataset.root to a folder "
            "that holds train/<class>/ and test/<class>/"
        )
    return list_image_folder(data_root(settings)), None


def resize_of(settings: DatasetSettings) -> int | None:
    """Side that images are brought to, in pixels; None: they are taken as stored."""
    if settings.resize is None and settings.name in imagenet.SUBSETS:
        return imagenet.SIDE
    return settings.resize


def cached_facts(
    settings: DatasetSettings,
    protocol: str,
    raw: RawData,
    compute: Callable[[], tuple[Constants, str]],
) -> tuple[Constants, str]:
    """Return constants and checksum of a split dataset, from the cache where they are known.

    Args:
        settings: How it is split and normalised.
        protocol: The same.
        raw: The split dataset.
        compute: Computes them.
    """
    if raw.stored is None:
        return compute()
    fraction = settings.validation_fraction if protocol == "held-out" else None
    split = (SPLIT_SEED, protocol, fraction)
    question = json.dumps([split, raw.constants, settings.normalise_as, settings.pixels])

    def answer() -> dict[str, object]:
        constants, checksum = compute()
        return {"mean": constants.mean, "std": constants.std, "checksum": checksum}

    found = cast("dict[str, Any]", remember(raw.stored, question, answer))
    return Constants(tuple(found["mean"]), tuple(found["std"])), found["checksum"]


def cached_whitening(settings: DatasetSettings, raw: RawData) -> Whitening | None:
    """Return the ZCA transform of a dataset where its pixel space is ``zca``.

    It is fitted on all training images, held-out ones included, so that a dataset has one such
    space, whatever the protocol.
    """
    if settings.pixels != "zca":
        return None
    images, rows = raw.train.images, raw.train.rows
    if raw.validation is not None:  # a dataset with a split of its own
        assert rows is not None
        assert raw.validation.rows is not None
        rows = torch.cat([rows, raw.validation.rows]).sort().values
    path = None
    if raw.stored is not None and raw.stored.path is not None:
        stem = f"{raw.stored.path.stem}-zca{EPSILON:g}-{raw.stored.content[:12]}"
        path = raw.stored.path.with_name(f"{stem}.safetensors")
    return load_or_fit(path, images, rows, name=settings.name)


def _read_published(name: str, root: Path) -> RawData:
    known = PUBLISHED[name]

    def build(to: Path) -> None:
        read = read_published(name, root)
        parts = (read.train, read.test)
        labels = [label for part in parts for label in part.labels.tolist()]

        def fill(write: Write) -> tuple[int, ...]:
            place = 0
            for part in parts:
                for chunk in torch.split(part.images, CHUNK):
                    write(place, chunk.numpy())
                    place += len(chunk)
            return ()

        write_store(
            to,
            (len(labels), *known.shape),
            labels,
            num_train=len(read.train.labels),
            classes=read.classes,
            fill=fill,
        )

    stored = get_or_build(name, published_key(name, root, LAYOUT), build)
    return _split(stored, DatasetSettings(name=name), known.constants, None)


def _split(
    stored: Stored,
    settings: DatasetSettings,
    constants: Constants | None,
    listing: Listing | None,
) -> RawData:
    """Take the training and the test part of a stored dataset."""
    there = stored.labels != ABSENT

    def part(start: int, stop: int) -> RawSplit:
        rows = start + torch.nonzero(there[start:stop]).flatten()
        return RawSplit(stored.images, stored.labels[rows], rows)

    total = len(stored.labels)
    train, test = part(0, stored.num_train), part(stored.num_train, total)
    notes: tuple[str, ...] = ()
    if listing is not None and (skipped := torch.nonzero(~there).flatten()).numel():
        notes = (
            f"{settings.name}: {len(skipped)} of {total} images cannot be read and are left out "
            f"(the first is {listing.path(int(skipped[0]))})",
        )
        _check_whole(settings.name, stored.classes, train.labels, test.labels)
    return RawData(train, test, stored.classes, constants, stored=stored, notes=notes)


def _check_whole(name: str, classes: tuple[str, ...], train: Tensor, test: Tensor) -> None:
    for part, labels in (("training", train), ("test", test)):
        counts = torch.bincount(labels, minlength=len(classes))
        if int(counts.min()) == 0:
            title = classes[int(counts.argmin())]
            raise DataError(
                f"{name}: no {part} image of class '{title}' can be read; replace its files"
            )
