"""ImageData: a dataset ready for training, and how raw pixels become one.

Shape letters: N images, C channels, H height, W width.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from harness.datasets.cache import Stored
from harness.datasets.pixels import (
    Constants,
    Pixels,
    check_spread,
    chunks,
    per_channel,
    take,
)
from harness.datasets.whitening import Whitened, Whitening

Images = Tensor | Pixels | Whitened
"""Images of a split: float32 [N, C, H, W], or bytes that give float32 when indexed along N."""


_AT_HAND_BYTES = 2**29
_at_hand: "WeakKeyDictionary[Pixels | Whitened, Tensor]" = WeakKeyDictionary()


class Split(NamedTuple):
    """Images of one purpose: training, validation or test."""

    images: Images
    """[N, C, H, W] in the pixel space of the dataset; indexing along N gives a float32 tensor."""
    labels: Tensor
    """Class of each image, int64 [N], values 0 .. classes - 1, in no particular order."""


def at_hand(images: Images) -> Images:
    """Images that are read again and again, as floats: made once, and kept as long as they live.

    More than half a GiB of floats stay bytes, which are turned into floats each time.
    """
    if isinstance(images, Tensor) or 4 * math.prod(images.shape) > _AT_HAND_BYTES:
        return images
    if images not in _at_hand:
        _at_hand[images] = images.tensor()
    return _at_hand[images]


class RawSplit(NamedTuple):
    """Images as read, before normalisation."""

    images: Tensor
    """uint8 [M, C, H, W] with values 0 .. 255, or float32 [M, C, H, W] in [0, 1]."""
    labels: Tensor
    """Class of each image, int64 [N]."""
    rows: Tensor | None = None
    """Which of the M images these are, int64 [N]; None: all. So a part of a file is no copy."""


class RawData(NamedTuple):
    """What a reader returns."""

    train: RawSplit
    test: RawSplit
    classes: tuple[str, ...]
    constants: Constants | None = None
    """The dataset's own; None: to be measured on the training images."""
    validation: RawSplit | None = None
    """None: not split off yet, or not wanted."""
    stored: Stored | None = None
    """The cache file that the splits are parts of; None: there is none."""
    notes: tuple[str, ...] = ()
    """What a user should know, one sentence each."""


# eq=False: comparing tensors with == gives tensors, so a generated __eq__ could only fail.
@dataclass(frozen=True, eq=False)
class ImageData:
    """A dataset: three splits and how their pixels were normalised."""

    name: str
    """Name of the dataset in the settings."""
    train: Split
    """Images to distil."""
    validation: Split | None
    """Images that a search judges on, disjoint from ``train``; None under protocol ``paper``."""
    test: Split
    """Images that are only reported on."""
    mean: tuple[float, ...]
    """Subtracted from each channel of pixels in [0, 1]."""
    std: tuple[float, ...]
    """What each channel is then divided by."""
    classes: tuple[str, ...]
    """Name of each class."""
    checksum: str
    """SHA-256 (64 hex digits) of pixels, labels, mean and std, wherever the files lie."""
    whitening: Whitening | None = None
    """Of the pixel space ``zca``; None: the images are normalised per channel."""
    notes: tuple[str, ...] = ()
    """What a user should know of the images, for example how many were skipped."""

    @property
    def pixels(self) -> str:
        """Name of the pixel space: ``normalised`` or ``zca``."""
        return "normalised" if self.whitening is None else "zca"

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def provenance(self) -> dict[str, Any]:
        """What a set made of these images records of them, as plain data."""
        return {
            "pixels": self.pixels,
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": list(self.classes),
            "dataset_checksum": self.checksum,
        }

    def to(self, device: torch.device | str) -> "ImageData":
        """Return the same data with every tensor on ``device``."""

        def move(split: Split) -> Split:
            return Split(split.images.to(device), split.labels.to(device))

        return replace(
            self,
            train=move(self.train),
            validation=None if self.validation is None else move(self.validation),
            test=move(self.test),
        )

    def denormalise(self, images: Tensor) -> Tensor:
        """Turn images of this dataset's pixel space back into pixels.

        Args:
            images: Float [..., C, H, W], normalised or whitened like this dataset's, on any device.

        Returns:
            Float32 [..., C, H, W] in [0, 1]: values beyond black and white are clamped.
        """
        return self.to_unit(images).clamp(0.0, 1.0)

    def to_unit(self, images: Tensor) -> Tensor:
        """As ``denormalise``, but without the clamp."""
        if self.whitening is not None:
            return self.whitening.inverse(images.float())
        mean, std = (per_channel(values, images.device) for values in (self.mean, self.std))
        return images.float() * std + mean

    def from_unit(self, images: Tensor) -> Tensor:
        """Turn pixels into this dataset's pixel space.

        Args:
            images: Float [..., C, H, W], 0 black and 1 white, on any device.

        Returns:
            Float32 [..., C, H, W].
        """
        if self.whitening is not None:
            return self.whitening.apply(images.float())
        mean, std = (per_channel(values, images.device) for values in (self.mean, self.std))
        return (images.float() - mean) / std


def assemble(
    name: str,
    raw: RawData,
    constants: Constants,
    *,
    checksum: str,
    whitening: Whitening | None = None,
) -> ImageData:
    """Put the pixels into the pixel space of the dataset.

    Args:
        name: Name of the dataset in the settings.
        raw: Pixels and labels, split.
        constants: Mean and std, one value for each channel of the images.
        checksum: Of pixels, labels and pixel space.
        whitening: Of ZCA; None: images are ``(pixel - mean) / std`` in float32, by the steps of
            torchvision's ``ToTensor`` and ``Normalize``, so that they equal those of published
            code bit for bit.

    Raises:
        DataError: A channel has a std of 0: all its training pixels are equal.
    """
    check_spread(name, constants)

    def prepare(split: RawSplit) -> Split:
        if whitening is not None:
            return Split(Whitened(split.images, whitening, split.rows), split.labels)
        if split.images.dtype == torch.uint8:
            return Split(Pixels(split.images, constants, split.rows), split.labels)
        images = take(split.images, split.rows).clone(memory_format=torch.contiguous_format)
        images.sub_(per_channel(constants.mean, images.device))
        images.div_(per_channel(constants.std, images.device))
        return Split(images, split.labels)

    return ImageData(
        name=name,
        train=prepare(raw.train),
        validation=None if raw.validation is None else prepare(raw.validation),
        test=prepare(raw.test),
        mean=constants.mean,
        std=constants.std,
        classes=raw.classes,
        checksum=checksum,
        whitening=whitening,
        notes=raw.notes,
    )


def measure(images: Tensor, rows: Tensor | None = None) -> Constants:
    """Compute mean and (population) std of each channel.

    The sums are exact, so that the result, which is part of the checksum, depends neither on the
    number of threads nor on the order of the images.

    Args:
        images: uint8 [M, C, H, W], or float32 [M, C, H, W] in [0, 1].
        rows: The images that count, int64 [N]; None: all.

    Returns:
        The constants, of pixels in [0, 1].
    """
    if images.dtype == torch.uint8:
        pairs = _measure_bytes(images, rows)
    else:
        pairs = [
            _measure_floats(take(images, rows)[:, c].flatten()) for c in range(images.shape[1])
        ]
    return Constants(tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs))


def _measure_bytes(images: Tensor, rows: Tensor | None) -> list[tuple[float, float]]:
    histograms = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in chunks(images, rows):
        for c, histogram in enumerate(histograms):
            histogram += torch.bincount(part[:, c].flatten(), minlength=256)
    return [_moments(histogram.tolist()) for histogram in histograms]


def _moments(histogram: list[int]) -> tuple[float, float]:
    """Mean and std, in [0, 1], of bytes that occur so often."""
    count = sum(histogram)
    total = sum(value * times for value, times in enumerate(histogram))
    squares = sum(value * value * times for value, times in enumerate(histogram))
    spread = math.sqrt(count * squares - total * total)
    return total / (255 * count), spread / (255 * count)


def _measure_floats(pixels: Tensor) -> tuple[float, float]:
    values = pixels.double()
    mean = math.fsum(values.tolist()) / len(values)
    return mean, math.sqrt(math.fsum((values - mean).square().tolist()) / len(values))


def content_checksum(raw: RawData, constants: Constants, whitening: str | None = None) -> str:
    """Hash the content: no names, no paths, nothing of how the files were stored.

    Args:
        raw: Pixels and labels, split.
        constants: Mean and std.
        whitening: What ZCA depends on besides the pixels; None: normalised images.

    Returns:
        SHA-256, 64 hex digits.
    """
    digest = hashlib.sha256(repr(tuple(constants)).encode())
    if whitening is not None:
        digest.update(whitening.encode())
    for role, split in (("train", raw.train), ("validation", raw.validation), ("test", raw.test)):
        if split is None:
            continue
        shape = (len(split.labels), *split.images.shape[1:])
        # The header keeps neighbours apart: bytes may not move from one tensor to the next.
        digest.update(f"{role}/{split.images.dtype}/{shape}".encode())
        for part in chunks(split.images, split.rows):
            digest.update(part.flatten().numpy().data)
        digest.update(f"{role}/{split.labels.dtype}/{tuple(split.labels.shape)}".encode())
        digest.update(split.labels.numpy().data)
    return digest.hexdigest()
