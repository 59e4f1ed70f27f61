"""Real images: dataset settings -> ``ImageData`` (train, validation and test tensors).

Nothing here downloads but ``fetch``; a missing dataset is an error that says how to fetch it.
torchvision, scikit-learn and PIL are imported by the reader that needs them, when it runs. Images
are decoded once, into a cache file that every process maps (``harness.datasets.cache``).
"""

from harness.config import DatasetSettings
from harness.datasets.digits import digits_constants, read_digits
from harness.datasets.image_data import (
    ImageData,
    Images,
    RawData,
    Split,
    assemble,
    at_hand,
    content_checksum,
    measure,
)
from harness.datasets.location import DatasetStatus, data_root, dataset_status
from harness.datasets.pixels import Constants
from harness.datasets.published import PUBLISHED
from harness.datasets.reading import cached_facts, cached_whitening, read_stored
from harness.datasets.splits import hold_out
from harness.errors import ConfigError, suggest

__all__ = [
    "Constants",
    "DatasetStatus",
    "ImageData",
    "Images",
    "Split",
    "at_hand",
    "data_root",
    "dataset_status",
    "load_dataset",
]

PROTOCOLS = ("held-out", "paper")


def load_dataset(settings: DatasetSettings, *, protocol: str) -> ImageData:
    """Read, split and normalise a dataset.

    Args:
        settings: Which dataset, where its files are, how it is split and normalised.
        protocol: ``held-out`` takes a stratified validation split from the training images, the
            same one for every trial; ``paper`` trains on all of them and has no validation split.

    Returns:
        The images on the CPU, in the order of the files, in the pixel space of
        ``settings.pixels``. All but ``digits`` are bytes of a mapped file, normalised as they are
        indexed.

    Raises:
        ConfigError: The protocol is unknown, ``imagefolder`` has no root, or ``normalise_as``
            names a dataset with another number of channels.
        DataError: Files are missing, corrupt, or do not fit together.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol: got '{protocol}'; {suggest(protocol, PROTOCOLS)}")
    raw = read_digits(protocol) if settings.name == "digits" else read_stored(settings)
    whitening = cached_whitening(settings, raw)
    if protocol == "held-out" and raw.validation is None:
        train, validation = hold_out(
            raw.train, raw.classes, settings.validation_fraction, name=settings.name
        )
        raw = raw._replace(train=train, validation=validation)

    def compute() -> tuple[Constants, str]:
        constants = _choose_constants(settings, raw)
        return constants, content_checksum(raw, constants, "zca" if whitening else None)

    constants, checksum = cached_facts(settings, protocol, raw, compute)
    return assemble(settings.name, raw, constants, checksum=checksum, whitening=whitening)


def _choose_constants(settings: DatasetSettings, raw: RawData) -> Constants:
    """Take the mean and std of ``normalise_as``, else the dataset's own, else measure them."""
    if settings.normalise_as is None:
        return raw.constants or measure(raw.train.images, raw.train.rows)
    other = settings.normalise_as
    constants = digits_constants() if other == "digits" else PUBLISHED[other].constants
    channels = raw.train.images.shape[1]
    if len(constants.mean) != channels:
        raise ConfigError(
            f"dataset.normalise_as: '{other}' has {len(constants.mean)} channel(s), but the images "
            f"of '{settings.name}' have {channels}; remove it or name a dataset with {channels}"
        )
    return constants
